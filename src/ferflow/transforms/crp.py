"""Recipe ``crp``: a flip half of the time, a crop out of 4 pixels of padding, a rotation of up to 10 degrees."""

from ferflow.registry import register
from ferflow.transforms import Recipe
from ferflow.transforms._steps import crp, recipe


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    return recipe(crp(size), seed)

"""Recipe ``flip_rotate15``: a flip half of the time, a rotation of up to 15 degrees."""

from ferflow.registry import register
from ferflow.transforms import Recipe
from ferflow.transforms._steps import Move, recipe


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    return recipe([Move(turn=15)], seed)

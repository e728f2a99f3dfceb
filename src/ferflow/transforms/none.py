"""Recipe ``none``: the face as it is."""

from ferflow.registry import register
from ferflow.transforms import Recipe


@register
def build(size: int, seed: int) -> Recipe:
    """The identity."""
    return Recipe(lambda face: face, batch=lambda faces: faces)

"""What recipes are made of: albumentations' transforms, and one of our own for all that moves pixels.

Of such steps a recipe becomes two functions: one for a face, by albumentations, which is what a CPU has time for; and one
for a whole batch on any device, as one face after the other cannot feed a GPU. Ranges and chances are read off the same
steps. Both follow the same law; their random numbers are not the same. A step that has no form for batches here is no error:
its recipe goes face by face everywhere.
"""

from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ferflow.transforms import Recipe


def recipe(steps: Sequence[Any], seed: int, **mixing: float) -> Recipe:
    """The recipe of these steps; the same seed gives the same changes. ``mixing``: ``mixup``, ``cutmix``, ``mix_share``."""
    pipeline = A.Compose(list(steps), seed=seed)

    def augment(face: np.ndarray) -> np.ndarray:
        return np.asarray(pipeline(image=face)["image"]).reshape(face.shape)

    return Recipe(augment, batch=batched(steps, seed), **mixing)


class Move(A.ImageOnlyTransform):
    """A mirror image half of the time, and a turn, a shift, another size and a slant in one: a single interpolation.

    Beyond the edge pixels are reflected. ``turn`` and ``slant`` in degrees, ``shift`` and ``zoom`` as shares of the side; each
    to either side, evenly. ``whole`` shifts by whole pixels, as a crop out of padding does. albumentations' own transforms,
    one after the other, take four times as long for a small face, and as many interpolations.
    """

    def __init__(self, turn: float = 0, shift: float = 0, zoom: float = 0, slant: float = 0, whole: bool = False) -> None:
        super().__init__(p=1.0)
        self.turn, self.shift, self.zoom, self.slant, self.whole = turn, shift, zoom, slant, whole

    def change(self, uniform: Callable[[float, float], Any], size: int) -> tuple[np.ndarray, np.ndarray]:
        """A random change about the centre of a face of ``size`` x ``size`` pixels.

        What its pixels' places are multiplied with (2 x 2), and then moved by (2). Where ``uniform(low, high)`` draws N numbers
        at once, of N faces (2 x 2 x N and 2 x N).
        """
        angle, slant = np.deg2rad(uniform(-self.turn, self.turn)), np.tan(np.deg2rad(uniform(-self.slant, self.slant)))
        scale = 1 + uniform(-self.zoom, self.zoom)
        shift = np.array([uniform(-self.shift, self.shift) * size, uniform(-self.shift, self.shift) * size])
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        mirror = np.where(np.asarray(uniform(0.0, 1.0)) < 0.5, -1.0, 1.0)
        linear = np.array([[cos * mirror, cos * slant - sin], [sin * mirror, sin * slant + cos]])
        return linear, np.round(shift) if self.whole else shift

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The matrix of this face's change, 2 x 3."""
        size = params["shape"][0]
        linear, shift = self.change(self.py_random.uniform, size)
        centre = np.full(2, (size - 1) / 2)
        return {"matrix": np.column_stack([linear, centre - linear @ centre + shift])}

    def apply(self, img: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
        """The changed face."""
        size = (img.shape[1], img.shape[0])
        return np.asarray(cv2.warpAffine(img, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def crp(size: int) -> list[Any]:
    """The changes of the recipe ``crp``, for faces of ``size`` x ``size`` pixels; other recipes add to them."""
    return [Move(turn=10, shift=4 / size, whole=True)]


Change = Callable[[Any, Tensor, np.random.Generator], Tensor]  # a step, faces (N x C x S x S, 0 to 255): each changed anew

_CHANGES: dict[type, tuple[Change, Callable[[Any], bool]]] = {}


def changes(kind: type, when: Callable[[Any], bool] = lambda step: True) -> Callable[[Change], Change]:
    """Registers how steps of a kind change a batch, where their options are such that it can."""

    def register(change: Change) -> Change:
        _CHANGES[kind] = (change, when)
        return change

    return register


def batched(steps: Sequence[Any], seed: int) -> Callable[[Tensor], Tensor] | None:
    """Steps as a function of faces (N x S x S x C, uint8, on any device); None where one of them has no form for batches.

    The random numbers are numpy's, so that every device makes the same changes, but for rounding.
    """
    if not all(type(step) in _CHANGES and _CHANGES[type(step)][1](step) for step in steps):
        return None
    draw = np.random.default_rng(seed)

    def augment(faces: Tensor) -> Tensor:
        found = faces.permute(0, 3, 1, 2).float()
        for step in steps:
            chosen = _for_each(draw.random(len(found)) < step.p, found) > 0
            found = torch.where(chosen, _CHANGES[type(step)][0](step, found, draw), found)
        return found.round().to(torch.uint8).permute(0, 2, 3, 1)

    return augment


@changes(Move)
def moved(step: Move, faces: Tensor, draw: np.random.Generator) -> Tensor:
    """As ``Move`` moves one."""
    linear, shift = step.change(lambda low, high: draw.uniform(low, high, len(faces)), faces.shape[-1])
    back = np.linalg.inv(np.moveaxis(linear, 2, 0))  # from a place in the new picture to the one where it comes from
    from_centre = back @ (shift.T[:, :, None] / ((faces.shape[-1] - 1) / 2))  # for torch the face reaches from -1 to 1
    matrix = torch.from_numpy(np.concatenate([back, -from_centre], axis=2)).to(faces, non_blocking=True)
    places = F.affine_grid(matrix, list(faces.shape), align_corners=True)
    return F.grid_sample(faces, places, padding_mode="reflection", align_corners=True)


@changes(A.RandomBrightnessContrast, when=lambda step: step.brightness_by_max and not step.ensure_safe_range)
def shone_on(step: A.RandomBrightnessContrast, faces: Tensor, draw: np.random.Generator) -> Tensor:
    """Brighter or darker, and with more contrast or less."""
    contrast, brightness = (
        _for_each(draw.uniform(low, high, len(faces)), faces) for low, high in (step.contrast_limit, step.brightness_limit)
    )
    return (faces * (1 + contrast) + 255 * brightness).clamp(0, 255)


@changes(
    A.Erasing, when=lambda step: isinstance(step.fill, int | float) and step.scale[0] <= min(step.ratio[0], 1 / step.ratio[1])
)
def erased(step: A.Erasing, faces: Tensor, draw: np.random.Generator) -> Tensor:
    """Without a rectangle."""
    count, side = len(faces), faces.shape[-1]
    low, high = step.ratio  # width / height
    area = draw.uniform(step.scale[0], min(step.scale[1], low, 1 / high), count)  # shares of a face, within which it lies
    ratio = draw.uniform(np.maximum(low, area), np.minimum(high, 1 / area))
    height, width = np.round(side * np.sqrt(area / ratio)), np.round(side * np.sqrt(area * ratio))
    top, left = (np.floor(draw.random(count) * (side - length + 1)) for length in (height, width))
    places = torch.arange(side, device=faces.device)
    rows, columns = places[:, None], places[None, :]
    down = (rows >= _for_each(top, faces)) & (rows < _for_each(top + height, faces))
    across = (columns >= _for_each(left, faces)) & (columns < _for_each(left + width, faces))
    return faces.masked_fill(down & across, step.fill)


def _for_each(values: np.ndarray, faces: Tensor) -> Tensor:
    """A number for every face, on its device; nobody waits for what that device is doing."""
    return torch.from_numpy(values).to(faces, non_blocking=True)[:, None, None, None]

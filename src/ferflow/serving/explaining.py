"""Which parts of a face an answer hangs on, for any model: parts are covered one after the other.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014), section 4.2. It knows no HTTP.
"""

from collections.abc import Callable

import cv2
import numpy as np

from ferflow.images import encode_png

_STEPS = 9  # places of the cover, on each axis
_COVER = 0.25  # its side, a share of the face's


def heat_map(face: np.ndarray, probability: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How far the probability falls where a part of the face is covered, S x S, from 0 (not at all) to 1 (most).

    ``face``: S x S x 3, uint8; ``probability`` gives that of the class in question for N faces. All 0 where nothing changes it.
    """
    size = len(face)
    side = max(1, round(_COVER * size))
    starts = np.linspace(0, size - side, _STEPS).round().astype(int)
    places = [(y, x) for y in starts for x in starts]
    covered = np.repeat(face[None], len(places) + 1, axis=0)
    grey = face.mean(axis=(0, 1)).round().astype(np.uint8)
    for number, (y, x) in enumerate(places):
        covered[number, y : y + side, x : x + side] = grey
    found = probability(covered)
    falls, times = np.zeros((size, size)), np.zeros((size, size))
    for number, (y, x) in enumerate(places):
        falls[y : y + side, x : x + side] += max(0.0, float(found[-1] - found[number]))
        times[y : y + side, x : x + side] += 1
    heat = falls / np.maximum(times, 1)
    return np.asarray(heat / heat.max()) if heat.max() > 1e-6 else np.zeros_like(heat)


def overlay(face: np.ndarray, heat: np.ndarray, side: int = 240) -> bytes:
    """The face with the heat over it, as PNG, ``side`` x ``side``: the brighter, the more hangs on it."""
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    warm = cv2.resize(heat.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.cvtColor(cv2.applyColorMap((warm * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = 0.6 * warm[..., None]
    return encode_png(np.ascontiguousarray((large * (1 - share) + colours * share).round().astype(np.uint8)))

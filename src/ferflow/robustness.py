"""How answers hold when pictures get worse: the corruptions, five strengths each, and the table of what is left.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(ICLR 2019), with the ones a face meets. It knows no network and no file.
"""

from collections.abc import Callable

import cv2
import numpy as np

STRENGTHS = (1, 2, 3, 4, 5)
Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _as_pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def darker(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """Light times 0.8 down to 0.15."""
    return _as_pixels(face * (0.8, 0.6, 0.45, 0.3, 0.15)[strength - 1])


def brighter(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """30 to 150 levels more, cut at white."""
    return _as_pixels(face.astype(np.float32) + 30.0 * strength)


def contrast(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """Distance from the mean times 0.75 down to 0.1."""
    mean = face.mean()
    return _as_pixels((face - mean) * (0.75, 0.55, 0.4, 0.25, 0.1)[strength - 1] + mean)


def blur(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """Gaussian, with a standard deviation of 1 to 6 % of the face's side."""
    return np.asarray(cv2.GaussianBlur(face, (0, 0), (0.01, 0.02, 0.03, 0.045, 0.06)[strength - 1] * face.shape[0]))


def noise(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """Gaussian, with a standard deviation of 8 to 60 levels."""
    return _as_pixels(face + draw.normal(0, (8, 16, 26, 40, 60)[strength - 1], face.shape))


def jpeg(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """JPEG of quality 40 down to 4."""
    _, data = cv2.imencode(".jpg", face[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, (40, 25, 15, 8, 4)[strength - 1]])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1])


def rotation(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """10 to 60 degrees, to either side."""
    height, width = face.shape[:2]
    angle = (10, 20, 30, 45, 60)[strength - 1] * draw.choice([-1, 1])
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(angle), 1.0)
    return np.asarray(cv2.warpAffine(face, turn, (width, height), borderMode=cv2.BORDER_REPLICATE))


def _band(face: np.ndarray, top: float, bottom: float, share: float) -> np.ndarray:
    """A grey bar between two heights, over a share of the width, in the middle."""
    height, width = face.shape[:2]
    covered, side = face.copy(), round(width * (1 - share) / 2)
    covered[round(top * height) : round(bottom * height), side : width - side] = 127
    return covered


def no_eyes(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """A bar over the height of the eyes, over 30 to 100 % of the width."""
    return _band(face, 0.25, 0.5, (0.3, 0.5, 0.7, 0.85, 1.0)[strength - 1])


def no_mouth(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """A bar over the height of the mouth, over 20 to 100 % of the width."""
    return _band(face, 0.62, 0.92, (0.2, 0.4, 0.6, 0.8, 1.0)[strength - 1])


def low_resolution(face: np.ndarray, strength: int, draw: np.random.Generator) -> np.ndarray:
    """Seen with 32 down to 8 pixels a side."""
    side = min((32, 24, 16, 12, 8)[strength - 1], face.shape[0])
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (face.shape[1], face.shape[0]), interpolation=cv2.INTER_LINEAR))


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (darker, brighter, contrast, blur, noise, jpeg, rotation, no_eyes, no_mouth, low_resolution)
}


def corrupted(faces: np.ndarray, name: str, strength: int, seed: int) -> np.ndarray:
    """Faces (N x S x S x 3, uint8, RGB), each made worse by the corruption ``name`` at a strength of 1 to 5."""
    draw = np.random.default_rng([seed, strength])
    return np.stack([CORRUPTIONS[name](face, strength, draw) for face in faces])

import cv2
import numpy as np
import pytest

from ferflow.serving.explaining import heat_map, overlay


def test_the_heat_lies_where_the_answer_hangs_on():
    face = np.full((48, 48, 3), 100, np.uint8)
    face[8:16, 30:40] = 250

    def bright_patch(faces: np.ndarray) -> np.ndarray:
        return faces[:, 8:16, 30:40].mean(axis=(1, 2, 3)) / 255

    heat = heat_map(face, bright_patch)
    assert heat.shape == (48, 48)
    assert heat.max() == 1
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert (abs(y - 12), abs(x - 35)) <= (6, 6)
    assert heat[30:, :20].max() == 0


def test_nothing_is_hot_where_nothing_changes_the_answer():
    face = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    assert heat_map(face, lambda faces: np.full(len(faces), 0.4)).max() == 0


@pytest.mark.parametrize("side", [32, 48, 112])
def test_the_overlay_is_a_picture(side):
    face = np.zeros((side, side, 3), np.uint8)
    drawn = cv2.imdecode(np.frombuffer(overlay(face, np.ones((side, side))), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (240, 240, 3)
    assert drawn.mean() > 50

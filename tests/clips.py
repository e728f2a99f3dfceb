"""Clips of drawn faces that move and change their expression."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from conftest import ACTION_UNITS

from ferflow.datasets.synthetic import UNITS, draw_face, random_person, read_action_units

HOLD = 25  # frames that an expression is kept, a third of them on the way to it


def frames(count: int, size_wh: tuple[int, int] = (320, 240), order: tuple[str, ...] = ("neutral", "happy"), people: int = 1):
    """BGR frames: ``people`` faces that wander from side to side, each one step further in ``order``."""
    table = read_action_units(ACTION_UNITS)
    width, height = size_wh
    side = round(min(height * 0.62, width / people * 0.7))
    persons = [random_person(np.random.default_rng(seed)) for seed in (11, 4, 23)[:people]]
    for index in range(count):
        picture = np.full((height, width, 3), (150, 140, 120), np.uint8)
        for place, person in enumerate(persons):
            step, phase = divmod(index, HOLD)
            share = min(1.0, 3 * phase / HOLD)
            before, after = (table[order[(step + place + add) % len(order)]] for add in (-1 if step else 0, 0))
            units = {unit: before.get(unit, 0.0) * (1 - share) + after.get(unit, 0.0) * share for unit in UNITS}
            face = draw_face(person, units, side, np.random.default_rng(2))
            middle = width * (place + 0.5) / people + 0.12 * width / people * np.sin(index / 20 + place)
            left, top = int(middle - side / 2), int((height - side) / 2 + 0.06 * height * np.sin(index / 15))
            picture[top : top + side, left : left + side] = face
        yield picture


def write(path: Path, pictures: Iterator[np.ndarray] | list[np.ndarray], fps: float = 25, codec: str = "mp4v") -> Path:
    writer = None
    for picture in pictures:
        if writer is None:
            size_wh = picture.shape[1::-1]
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, size_wh)
            assert writer.isOpened()
        writer.write(picture)
    assert writer is not None
    writer.release()
    return path

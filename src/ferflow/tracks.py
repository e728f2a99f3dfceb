"""Who is who from frame to frame: faces matched between detections, boxes in between, outputs smoothed in time.

Values in, values out: it knows no video, no model and no picture, and what it remembers is bounded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ferflow.detectors import Detection

Box = tuple[float, float, float, float]
_MOST = 1000  # tracks remembered at once


@dataclass(frozen=True)
class Tracked:
    """A detected face and the number of its track; numbers start at 0 and are never used twice."""

    track: int
    face: Detection


@dataclass
class _Track:
    number: int
    face: Detection
    seen: int  # the frame
    velocity: np.ndarray  # of the four sides, pixels a frame

    def at(self, frame: int) -> Detection:
        """The face where it should be if it goes on as before."""
        box = np.array(self.face.box_xyxy) + self.velocity * (frame - self.seen)
        return moved(self.face, tuple(map(float, box)))  # type: ignore[arg-type]


class Tracker:
    """Gives the same number to the same face, by how much boxes overlap (intersection over union, greedily, best first).

    Boxes are moved on with constant velocity before they are compared. ``least_overlap`` is what a match needs; a face
    that is not seen for more than ``lost_after`` frames gets a new number when it comes back.
    """

    def __init__(self, lost_after: int = 30, least_overlap: float = 0.2) -> None:
        if lost_after < 1 or not 0 < least_overlap < 1:
            raise ValueError(f"lost_after {lost_after} must be 1 or more, least_overlap {least_overlap} between 0 and 1")
        self.lost_after, self.least_overlap = lost_after, least_overlap
        self._tracks: list[_Track] = []
        self._next = 0
        self._last = -1

    def update(self, frame: int, found: Sequence[Detection]) -> list[Tracked]:
        """The detections of frame number ``frame`` with their tracks, in the same order; frames must go forward."""
        if frame <= self._last:
            raise ValueError(f"frame {frame} comes after frame {self._last}: frames must go forward")
        self._last = frame
        self._tracks = [track for track in self._tracks if frame - track.seen <= self.lost_after]
        same = self._matched(frame, found)
        answer = []
        for place, face in enumerate(found):
            track = same.get(place)
            if track is None:
                track = _Track(self._next, face, frame, np.zeros(4))
                self._next += 1
                self._tracks.append(track)
            else:
                measured = (np.array(face.box_xyxy) - np.array(track.face.box_xyxy)) / (frame - track.seen)
                track.velocity = (track.velocity + measured) / 2
                track.face, track.seen = face, frame
            answer.append(Tracked(track.number, face))
        self._tracks = sorted(self._tracks, key=lambda track: -track.seen)[:_MOST]
        return answer

    def predicted(self, frame: int) -> list[Tracked]:
        """The faces of the last detection, moved on to frame number ``frame`` with constant velocity."""
        return [Tracked(track.number, track.at(frame)) for track in self._tracks if track.seen == self._last]

    def _matched(self, frame: int, found: Sequence[Detection]) -> dict[int, _Track]:
        expected = [track.at(frame).box_xyxy for track in self._tracks]
        pairs = overlaps([face.box_xyxy for face in found], expected)
        same: dict[int, _Track] = {}
        while pairs.size and pairs.max() >= self.least_overlap:
            place, number = divmod(int(pairs.argmax()), pairs.shape[1])
            same[place] = self._tracks[number]
            pairs[place, :] = pairs[:, number] = 0
        return same


def overlaps(first: Sequence[Box], second: Sequence[Box]) -> np.ndarray:
    """Intersection over union of every box of ``first`` (N) with every one of ``second`` (M): N x M."""
    a, b = np.reshape(np.array(first, float), (-1, 1, 4)), np.reshape(np.array(second, float), (1, -1, 4))
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    areas = np.prod(np.maximum(a[..., 2:] - a[..., :2], 0), axis=-1) + np.prod(np.maximum(b[..., 2:] - b[..., :2], 0), axis=-1)
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))


def moved(face: Detection, box_xyxy: Box) -> Detection:
    """The face with its box there, and its eyes moved and scaled with the box."""
    if face.eyes_xy is None:
        return replace(face, box_xyxy=box_xyxy)
    old, new = face.box_xyxy, box_xyxy
    scale = [(new[side + 2] - new[side]) / max(old[side + 2] - old[side], 1e-6) for side in (0, 1)]
    right, left = ((new[0] + (x - old[0]) * scale[0], new[1] + (y - old[1]) * scale[1]) for x, y in face.eyes_xy)
    return replace(face, box_xyxy=box_xyxy, eyes_xy=(right, left))


def between(before: Sequence[Tracked], after: Sequence[Tracked], share: float) -> list[Tracked]:
    """The faces ``share`` (0 to 1) of the way from one detection to the next.

    A face that both saw lies on the line between them; one that only one of them saw stays for the nearer half.
    """
    later = {face.track: face for face in after}
    earlier = {face.track for face in before}
    found = []
    for one in before:
        other = later.get(one.track)
        if other is not None:
            a, b = np.array(one.face.box_xyxy), np.array(other.face.box_xyxy)
            nearest = one if share < 0.5 else other
            box = tuple(map(float, a + (b - a) * share))
            found.append(Tracked(one.track, moved(nearest.face, box)))  # type: ignore[arg-type]
        elif share < 0.5:
            found.append(one)
    return found + [one for one in after if one.track not in earlier and share >= 0.5]


class Smoother:
    """Exponential moving averages of the outputs of every track, with a time constant in seconds.

    After ``seconds`` a change has reached 63 % of its size, after three times that 95 %; 0 smooths nothing. Time may pass
    unevenly: the new value's weight is 1 - exp(-passed / seconds). A track that was not seen for ``forget`` seconds starts
    anew, and is forgotten.
    """

    def __init__(self, seconds: float = 0.3, forget: float = 5.0) -> None:
        if seconds < 0 or not math.isfinite(seconds):
            raise ValueError(f"the time constant must be 0 seconds or more; it is {seconds}")
        self.seconds, self.forget = seconds, forget
        self._values: dict[int, tuple[float, dict[str, np.ndarray]]] = {}

    def smoothed(self, track: int, time_s: float, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a face (task -> K values) averaged with the earlier ones of its track.

        Averages of probabilities are probabilities: they still add up to 1.
        """
        if self.seconds == 0:
            return dict(outputs)
        then, before = self._values.pop(track, (-math.inf, {}))
        if 0 <= time_s - then <= self.forget:
            weight = 1 - math.exp(-(time_s - then) / self.seconds)
            outputs = {task: before[task] + weight * (new - before[task]) for task, new in outputs.items()}
        self._values[track] = (time_s, dict(outputs))
        while (oldest := next(iter(self._values))) != track and time_s - self._values[oldest][0] > self.forget:
            del self._values[oldest]  # popped and put back when seen, so the first is the one unseen longest
        return dict(outputs)

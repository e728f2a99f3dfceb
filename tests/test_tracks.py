import numpy as np
import pytest

from ferflow.detectors import Detection
from ferflow.tracks import Smoother, Tracked, Tracker, between, moved, overlaps


def face(x: float, y: float = 0, side: float = 20) -> Detection:
    return Detection((x, y, x + side, y + side), 0.9, ((x + 5, y + 8), (x + 15, y + 8)))


def numbers(tracked: list[Tracked]) -> list[int]:
    return [one.track for one in tracked]


def test_overlaps_are_those_of_paper_and_pencil():
    assert overlaps([(0, 0, 10, 10)], [(5, 0, 15, 10), (0, 0, 10, 10), (20, 20, 30, 30)])[0] == pytest.approx([1 / 3, 1, 0])
    assert overlaps([], [(0, 0, 1, 1)]).shape == (0, 1)


def test_a_face_keeps_its_number_when_the_order_of_detections_changes():
    tracker = Tracker()
    assert numbers(tracker.update(0, [face(0), face(100)])) == [0, 1]
    assert numbers(tracker.update(1, [face(103), face(2), face(200)])) == [1, 0, 2]


def test_constant_velocity_carries_a_fast_face_where_overlap_alone_would_not():
    tracker = Tracker()
    tracker.update(0, [face(0)])
    tracker.update(1, [face(10)])
    tracker.update(2, [face(22)])
    (one,) = tracker.update(4, [face(43)])  # 21 pixels on: no overlap with where it was
    assert one.track == 0
    (still,) = Tracker().update(0, [face(43)])
    assert overlaps([face(22).box_xyxy], [still.face.box_xyxy])[0, 0] < 0.01


def test_two_faces_that_pass_each_other_keep_their_numbers():
    tracker = Tracker()
    for frame in range(0, 40, 2):
        left, right = tracker.update(frame, [face(4 * frame, 0), face(160 - 4 * frame, 12)])
        assert (left.track, right.track) == (0, 1)


def test_a_lost_face_comes_back_with_a_new_number_and_memory_is_bounded():
    tracker = Tracker(lost_after=5)
    tracker.update(0, [face(0)])
    tracker.update(3, [])
    assert numbers(tracker.update(5, [face(0)])) == [0]
    assert numbers(tracker.update(11, [face(0)])) == [1]
    for frame in range(12, 120):
        tracker.update(frame, [face(1000 * (frame % 7) + 50 * i) for i in range(10)])
    assert len(tracker._tracks) <= 70
    with pytest.raises(ValueError, match="forward"):
        tracker.update(3, [])


def test_predicted_boxes_go_on_and_take_the_eyes_along():
    tracker = Tracker()
    tracker.update(0, [face(0)])
    tracker.update(2, [face(8)])
    (one,) = tracker.predicted(4)
    assert one.face.box_xyxy[0] == pytest.approx(8 + 2 * 2)  # half the measured velocity: it was 0 before
    assert one.face.eyes_xy[0] == pytest.approx((12 + 5, 8))
    assert moved(face(0), (0, 0, 40, 40)).eyes_xy == ((10, 16), (30, 16))


def test_between_two_detections_a_face_lies_on_the_line_and_one_seen_once_stays_for_the_nearer_half():
    before, after = [Tracked(0, face(0)), Tracked(1, face(50))], [Tracked(0, face(10)), Tracked(2, face(90))]
    early, late = between(before, after, 0.25), between(before, after, 0.75)
    assert (numbers(early), numbers(late)) == ([0, 1], [0, 2])
    assert early[0].face.box_xyxy == (2.5, 0, 22.5, 20)
    assert early[1].face == face(50)


def test_averages_follow_the_time_constant_whatever_the_frame_rate():
    for step in (0.01, 0.05):
        smoother = Smoother(0.5)
        value = smoother.smoothed(7, 0.0, {"expression": np.array([1.0, 0.0])})
        for moment in np.arange(step, 0.5 + step / 2, step):
            value = smoother.smoothed(7, float(moment), {"expression": np.array([0.0, 1.0])})
        assert value["expression"] == pytest.approx([np.exp(-1), 1 - np.exp(-1)])


def test_tracks_are_averaged_apart_forgotten_and_zero_seconds_average_nothing():
    smoother = Smoother(1.0, forget=2.0)
    a, b = {"affect": np.array([1.0])}, {"affect": np.array([-1.0])}
    smoother.smoothed(0, 0.0, a)
    assert smoother.smoothed(1, 0.1, b)["affect"] == -1
    assert smoother.smoothed(0, 5.0, b)["affect"] == -1
    assert set(smoother._values) == {0}
    assert Smoother(0).smoothed(0, 0.0, a)["affect"] == 1
    with pytest.raises(ValueError, match="0 seconds or more"):
        Smoother(-1)

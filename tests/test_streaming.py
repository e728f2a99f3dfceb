import threading
import time

import clips
import numpy as np
import pytest

from ferflow.detectors import Detection
from ferflow.finding import Finder, Finding
from ferflow.images import ImageError
from ferflow.inference import Predictor
from ferflow.streaming import Ahead, Shot, Streaming, close, numbered, stream


@pytest.fixture(scope="module")
def rgb() -> list[np.ndarray]:
    return [picture[..., ::-1].copy() for picture in clips.frames(40)]


@pytest.fixture(scope="module")
def predictor(release) -> Predictor:
    return Predictor(release, Finder(Finding("haar")))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    for _ in range(60):
        if threading.active_count() <= before:
            return
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_without_averages_a_stream_says_what_predict_says(predictor, rgb):
    frames = list(predictor.stream(rgb[:10], detect_every=1, smooth_s=0))
    assert [frame.index for frame in frames] == list(range(10))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 25 for index in range(10)])
    for frame, picture in zip(frames, rgb, strict=False):
        (one,), (alone,) = frame.faces, predictor.predict(picture)
        assert one.face.box_xyxy == alone.box_xyxy
        assert one.face.expression == alone.expression
        assert one.face.probabilities["expression"] == pytest.approx(alone.probabilities["expression"], abs=1e-5)


def test_a_face_is_in_every_frame_under_one_number_though_detected_in_few(predictor, rgb):
    looked = []
    finder = Finder(detector=lambda picture: looked.append(1) or predictor.finder.find(picture))
    few = Predictor.__new__(Predictor)
    few.__dict__.update(predictor.__dict__, finder=finder)
    frames = list(few.stream(rgb, detect_every=6))
    assert len(looked) == 8  # frames 0, 6, ... 36, and the last
    assert {one.track for frame in frames for one in frame.faces} == {0}
    assert all(len(frame.faces) == 1 for frame in frames)
    every = list(predictor.stream(rgb, detect_every=1))
    far = [
        np.abs(np.subtract(a.faces[0].face.box_xyxy, b.faces[0].face.box_xyxy)).max() for a, b in zip(frames, every, strict=True)
    ]
    assert np.median(far) < 6  # pixels, of a face about 110 wide


def test_smoothed_predictions_agree_with_themselves_and_change_less(predictor, rgb):
    def change(frames):
        values = np.array([list(frame.faces[0].face.probabilities["expression"].values()) for frame in frames])
        return np.abs(np.diff(values, axis=0)).mean()

    smooth, rough = list(predictor.stream(rgb, detect_every=1)), list(predictor.stream(rgb, detect_every=1, smooth_s=0))
    assert change(smooth) < change(rough) / 2
    for frame in smooth:
        face = frame.faces[0].face
        probabilities = face.probabilities["expression"]
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert face.expression == max(probabilities, key=probabilities.get) == face.top3[0][0]
        assert face.confidence == max(probabilities.values())
        assert face.certain == (face.confidence >= predictor.card.certain_above)


def test_bgr_frames_give_what_rgb_frames_give(predictor, rgb):
    shots = [Shot(shot.index, shot.time_s, shot.pixels[..., ::-1].copy()) for shot in numbered(rgb[:6], 25)]
    for one, two in zip(stream(predictor, shots, Streaming(bgr=True)), predictor.stream(rgb[:6]), strict=True):
        assert one.faces == two.faces


def test_live_answers_before_the_next_frame_comes(predictor, rgb):
    answered = [threading.Event() for _ in range(6)]

    def slow():
        for shot in numbered(rgb[:6], 25):
            yield shot
            assert answered[shot.index].wait(20), f"frame {shot.index} was not answered before the next one came"

    for frame in stream(predictor, slow(), Streaming(detect_every=3, live=True)):
        answered[frame.index].set()
    assert all(one.is_set() for one in answered)


def test_frames_without_a_face_and_no_frames_at_all(release):
    predictor = Predictor(release, Finder(detector=lambda picture: []))
    assert [frame.faces for frame in predictor.stream([np.zeros((30, 40, 3), np.uint8)] * 7)] == [[]] * 7
    assert list(predictor.stream([])) == []


def test_a_box_that_leaves_the_picture_is_left_out_live(release):
    boxes = iter([0, 0, 60, 120])  # runs off a picture 150 wide
    predictor = Predictor(release, Finder(detector=lambda picture: [Detection((x := next(boxes), 0, x + 40, 40), 0.9)]))
    shots = numbered([np.zeros((50, 150, 3), np.uint8)] * 12, 25)
    frames = list(stream(predictor, shots, Streaming(detect_every=3, live=True)))
    assert len(frames) == 12


@pytest.mark.parametrize("stage", ["frames", "finder", "network"])
def test_an_error_in_any_thread_ends_all_and_is_raised_here(release, rgb, stage):
    closed = []

    def source():
        try:
            for number in range(1000):
                if stage == "frames" and number == 30:
                    raise OSError("in frames")
                yield rgb[0]
        finally:
            closed.append(True)

    def find(picture):
        if stage == "finder" and threading.active_count() and find.calls == 9:
            raise OSError("in finder")
        find.calls += 1
        return [Detection((0, 0, 40, 40), 0.9)]

    find.calls = 0
    predictor = Predictor(release, Finder(detector=find))
    if stage == "network":
        predictor.outputs = lambda faces: (_ for _ in ()).throw(OSError("in network"))
    with pytest.raises(OSError, match=f"in {stage}"):
        list(predictor.stream(source(), detect_every=2))
    assert closed == [True]


def test_closing_early_stops_the_threads_and_the_source(predictor, rgb):
    taken = []

    def source():
        try:
            while True:
                taken.append(1)
                yield rgb[0]
        finally:
            taken.append("closed")

    frames = predictor.stream(source())
    next(frames)
    frames.close()
    assert taken[-1] == "closed"
    assert len(taken) < 100  # the queues are bounded


def test_ahead_works_ahead_but_not_further_than_asked():
    made = []
    line = Ahead(lambda: (made.append(number) or number for number in range(100)), 5)
    items = iter(line)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(made) <= 8
    close(line)
    assert len(made) <= 9


def test_wrong_settings_are_refused(predictor):
    with pytest.raises(ValueError, match="detect_every"):
        Streaming(detect_every=0)
    with pytest.raises(ValueError, match="fps"):
        predictor.stream([], fps=0)


@pytest.mark.parametrize("frame", [None, np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))], ids=["nothing", "empty", "float"])
def test_a_frame_that_is_no_picture_is_named(frame):
    with pytest.raises(ImageError, match="frame 1: "):
        list(numbered([np.zeros((4, 4), np.uint8), frame], 25))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_makes_no_sense_is_refused(fps):
    with pytest.raises(ValueError, match="fps must be above 0"):
        Streaming(fps)

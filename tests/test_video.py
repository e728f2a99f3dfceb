import os
import shutil
import struct
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import clips
import cv2
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from typer.testing import CliRunner

from ferflow.cli import app
from ferflow.drawing import draw, label
from ferflow.finding import Finder, Finding
from ferflow.inference import Predictor
from ferflow.sprites import paste, sprite
from ferflow.streaming import TrackedFace
from ferflow.timeline import main_track
from ferflow.video import Video, VideoError, Writer, annotate, found_in, is_video
from ferflow.vocabulary import EXPRESSIONS

run = CliRunner().invoke


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return clips.write(tmp_path_factory.mktemp("clips") / "drawn.mp4", clips.frames(60, people=2, size_wh=(480, 240)), fps=20)


@pytest.fixture(scope="module")
def predictor(release) -> Predictor:
    return Predictor(release, Finder(Finding("haar")))


def read(path: Path) -> list[np.ndarray]:
    with Video(path) as video:
        return [shot.pixels for shot in video.shots()]


def test_what_begins_as_no_video_is_none(tmp_path):
    for name, codec in (("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.webm", "VP80")):
        assert is_video(clips.write(tmp_path / name, clips.frames(3), codec=codec)), name
    for words in (b"", b"GIF", b"ffconcat version 1.0\nfile /etc/passwd\n", b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", b"#EXTM3U\n"):
        (tmp_path / "file").write_bytes(words)
        assert not is_video(tmp_path / "file")


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_video_becomes_an_annotated_one_a_timeline_and_a_plot(predictor, clip, tmp_path, ending):
    out, table, plot = tmp_path / "a.mp4", tmp_path / f"t.{ending}", tmp_path / "p.png"
    heard = []
    done = annotate(predictor, clip, video=out, timeline=table, plot=plot, told=lambda frames, of: heard.append((frames, of)))
    assert (done.frames, done.skipped) == (60, 0)
    assert heard[-1] == (60, 60)
    with Video(out) as video:
        assert video.fps == pytest.approx(20)
        pictures = [shot.pixels for shot in video.shots()]
    assert len(pictures) == 60
    assert pictures[0].shape == (240, 480, 3)
    assert np.abs(pictures[30].astype(int) - read(clip)[30]).max() > 150  # something was drawn
    rows = pd.read_parquet(table) if ending == "parquet" else pd.read_csv(table)
    assert len(rows) == done.faces
    assert set(rows["track"]) >= {0, 1}
    assert rows["time_s"].to_numpy() == pytest.approx(rows["frame"] / 20, abs=0.002)
    probabilities = rows[[f"p_expression_{name}" for name in EXPRESSIONS]]
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)
    assert (probabilities.idxmax(axis=1) == "p_expression_" + rows["expression"]).all()
    assert probabilities.max(axis=1).to_numpy() == pytest.approx(rows["confidence"], abs=1e-6)
    assert rows["valence"].between(-1, 1).all()
    assert set(rows["gender"]) <= {"male", "female"}
    assert "age" not in rows  # this model has no such head
    assert cv2.imread(str(plot)).shape[0] > 300
    assert not list(tmp_path.glob("*.part*"))


def test_main_track_has_the_most_rows_and_its_means_are_in_order(tmp_path):
    rows = pd.DataFrame(
        {"time_s": np.arange(5000) / 25, "track": [3] * 3000 + [9] * 2000, "p_expression_sad": 0.5, "valence": 0.0}
    )
    rows.loc[rows["track"] == 3, "p_expression_sad"] = np.linspace(0, 1, 3000)
    rows.to_csv(tmp_path / "t.csv", index=False)
    track, means = main_track(tmp_path / "t.csv", bins=100)
    assert (track, len(means)) == (3, 100)
    assert means["time_s"].is_monotonic_increasing
    assert means["p_expression_sad"].iloc[[0, 50, -1]].to_list() == pytest.approx([0, 0.5, 1], abs=0.02)


def test_no_face_at_all_is_said_and_is_no_error(release, clip, tmp_path):
    nobody = Predictor(release, Finder(detector=lambda picture: []))
    done = annotate(nobody, clip, timeline=tmp_path / "t.parquet", plot=tmp_path / "p.png")
    assert (done.faces, done.notes) == (0, ("no plot: no face was found",))
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == 0


def test_odd_sizes_get_a_row_and_a_column_more(tmp_path):
    with Writer(tmp_path / "o.mp4", 25) as writer:
        for _ in range(5):
            writer.write(np.full((61, 83, 3), 90, np.uint8))
    assert [picture.shape for picture in read(tmp_path / "o.mp4")] == [(62, 84, 3)] * 5


def test_a_turned_video_is_turned(clip, tmp_path):
    data = bytearray(clip.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # the matrix of a track header, version 0
    data[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    (upright, *_), (first, *_) = read(turned), read(clip)
    assert upright.shape == (480, 240, 3)
    assert np.array_equal(upright, cv2.rotate(first, cv2.ROTATE_90_CLOCKWISE))


def test_a_broken_frame_is_skipped_and_counted(release, tmp_path):
    moving = [np.roll(np.tile(np.arange(96, dtype=np.uint8) * 2, (64, 1))[..., None].repeat(3, 2), 3 * i, 1) for i in range(30)]
    whole = clips.write(tmp_path / "whole.avi", moving, codec="MJPG")
    data = bytearray(whole.read_bytes())
    starts = [place for place in range(len(data) - 3) if data[place : place + 3] == b"\xff\xd8\xff"]
    for number in (7, 8, 20):
        data[starts[number] : starts[number + 1] - 8] = bytes(starts[number + 1] - 8 - starts[number])
    broken = tmp_path / "broken.avi"
    broken.write_bytes(data)
    done = annotate(Predictor(release, Finder(Finding("none"))), broken, timeline=tmp_path / "t.csv")
    assert (done.frames, done.skipped) == (27, 3)


BAD = {
    "missing.mp4": None,
    "empty.mp4": b"",
    "words.mp4": b"these are no pictures" * 50,
    "header.mp4": b"\0\0\0\x20ftypisom" + bytes(200),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_is_refused_by_name(tmp_path, name):
    path = tmp_path / name
    if BAD[name] is not None:
        path.write_bytes(BAD[name])
    with pytest.raises(VideoError, match=name):
        Video(path)


def test_a_video_cut_off_without_frames_and_a_huge_one_are_refused(clip, tmp_path, predictor):
    cut = tmp_path / "cut.avi"
    whole = clips.write(tmp_path / "whole.avi", [np.zeros((64, 64, 3), np.uint8)] * 5, codec="MJPG").read_bytes()
    cut.write_bytes(whole[: whole.index(b"movi") + 4])
    with pytest.raises(VideoError, match=r"cut\.avi"):
        annotate(predictor, cut, video=tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()
    with pytest.raises(VideoError, match="480 x 240 pixels; at most 1000"):
        Video(clip, max_pixels=1000)
    with pytest.raises(VideoError, match=r"\.mp4, \.webm"):
        annotate(predictor, clip, video=tmp_path / "a.mkv")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    pictures = [np.full((48, 64, 3), value * 9, np.uint8) for value in range(20)]
    return clips.write(tmp_path_factory.mktemp("small") / "small.mp4", pictures).read_bytes()


@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=20))
@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_any_damage_gives_frames_or_a_clear_error(small, cut, flips):
    data = bytearray(small)
    for place, value in flips:
        data[int(place * len(data))] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.mp4"
        path.write_bytes(data[: round(len(data) * max(cut, 0.2))] if cut < 0.9 else data)
        try:
            with Video(path) as video:
                frames = [shot for _, shot in zip(range(100), video.shots(), strict=False)]
        except VideoError as error:
            assert "damaged.mp4" in str(error)
        else:
            assert frames
            assert all(b.time_s > a.time_s for a, b in pairwise(frames))


def resident() -> float:
    """MB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_length_of_a_video(release, tmp_path):
    pictures = [np.random.default_rng(seed).integers(0, 255, (96, 128, 3), dtype=np.uint8) for seed in range(10)]
    clip = clips.write(tmp_path / "long.mp4", (pictures[index % 10] for index in range(5000)))
    predictor = Predictor(release, Finder(Finding("none")))
    seen = {}
    done = annotate(
        predictor,
        clip,
        video=tmp_path / "a.mp4",
        timeline=tmp_path / "t.parquet",
        told=lambda n, of: seen.setdefault(n // 500, resident()),
    )
    assert done.frames == 5000
    print(f"after 1000 frames {seen[2]:.0f} MB, after 5000 {seen[10]:.0f} MB")
    assert seen[10] - seen[2] < 15


def test_every_expression_has_a_drawing_of_its_own_at_every_size():
    for size in (32, 48, 96):
        drawn = [sprite(name, size)[0].astype(int) for name in EXPRESSIONS]
        apart = [np.abs(a - b).mean() for place, a in enumerate(drawn) for b in drawn[:place]]
        assert min(apart) > 3
    picture = np.zeros((40, 40, 3), np.uint8)
    for corner in ((-20, -20), (30, 30), (200, 0)):
        paste(picture, "happy", *corner, 32)
    assert picture[:5, :5].any()
    assert not picture[20, 25].any()
    with pytest.raises(ValueError, match="known: neutral"):
        sprite("bored", 32)


def test_drawing_stays_inside_any_picture_and_says_uncertain(predictor):
    (face,) = predictor.predict_faces([np.full((60, 60, 3), 99, np.uint8)])
    unsure = replace(face, certain=False)
    assert label(unsure).startswith("uncertain")
    assert label(replace(face, certain=True)) == f"{face.expression} {face.confidence:.0%}"
    for shape in ((20, 30), (360, 640), (2000, 3000)):
        picture = np.full((*shape, 3), 128, np.uint8)
        for box in (
            (-50.0, -50.0, 20.0, 20.0),
            (0.0, 0.0, float(shape[1]), float(shape[0])),
            (shape[1] - 5.0, 5.0, shape[1] + 90.0, 99.0),
        ):
            draw(picture, [TrackedFace(0, replace(face, box_xyxy=box)), TrackedFace(1, replace(unsure, box_xyxy=box))])
        assert picture.std() > 0


def test_files_folders_and_patterns_are_found_under_their_own_names(tmp_path):
    for name in ("a/x.mp4", "b/c/x.MOV", "b/x.annotated.mp4", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(name) for _, name in found_in([str(tmp_path)])] == ["a/x.mp4", "b/c/x.MOV"]
    assert [str(name) for _, name in found_in([str(tmp_path / "*" / "*.mp4")])] == ["a/x.mp4", "b/x.annotated.mp4"]
    assert [str(name) for _, name in found_in([str(tmp_path / "a/x.mp4"), "no*.mp4"])] == ["x.mp4", "no*.mp4"]


def test_the_command_goes_on_after_a_bad_file_and_skips_what_is_done(release, clip, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "day").mkdir(parents=True)
    shutil.copy(clip, folder / "day/good.mp4")
    (folder / "bad.mp4").write_bytes(b"junk")
    command = ["video", str(folder), "--out", str(out), "--model", str(release), "--detector", "none", "--timeline", "csv"]
    first = run(app, command)
    assert first.exit_code == 1
    assert "1 of 2 could not be done" in first.stderr
    assert "bad.mp4: no video" in first.stderr
    assert "60 frames, 60 faces" in first.stdout
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {"day/good.annotated.mp4", "day/good.timeline.csv", "day/good.emotions.png"}
    (folder / "bad.mp4").unlink()
    second = run(app, command)
    assert (second.exit_code, "done before" in second.stdout) == (0, True)
    again = run(app, [*command, "--again", "--no-video", "--no-smooth", "--detect-every", "3"])
    assert (again.exit_code, "60 frames" in again.stdout) == (0, True)


def test_mistakes_of_the_command_are_one_line(release, clip, tmp_path):
    model = ["--model", str(release), "--detector", "none", "--out", str(tmp_path)]
    nothing = run(app, ["video", str(clip), *model, "--no-video", "--timeline", "none"])
    assert (nothing.exit_code, "nothing is left to write" in nothing.stderr) == (1, True)
    empty = run(app, ["video", str(tmp_path), *model])
    assert (empty.exit_code, "no video was found" in empty.stderr) == (1, True)
    twice = run(app, ["video", str(clip), str(clip.parent / "." / ".." / clip.parent.name / clip.name), *model, "--no-video"])
    assert (twice.exit_code, "another --out" in twice.stderr) == (1, True)
    assert run(app, ["video", str(clip), "--model", "nowhere"]).exit_code == 1


def test_a_video_that_could_not_be_written_whole_is_an_error(tmp_path, monkeypatch):
    frame = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(VideoError, match="is the disk full"), Writer(tmp_path / "v.mp4", 25) as writer:
        for _ in range(5):
            writer.write(frame)
        monkeypatch.setattr(writer, "_frames", 50)
    with pytest.raises(VideoError, match="only 0 of 1"), Writer(tmp_path / "w.mp4", 25) as writer:
        writer.write(frame)
        monkeypatch.setattr(writer, "path", tmp_path / "away.mp4")


def test_videos_of_one_name_keep_their_endings_and_shell_patterns_are_taken(tmp_path):
    for name in ("a.mp4", "a.mkv", "b.part.mp4", "b.annotated.mp4"):
        (tmp_path / name).touch()
    names = {path.name: str(name) for path, name in found_in([str(tmp_path)])}
    assert names == {"a.mp4": "a.mp4.mp4", "a.mkv": "a.mkv.mkv", "b.part.mp4": "b.part.mp4"}
    assert [path.name for path, _ in found_in([f"{tmp_path}/**mkv"])] == ["a.mkv"]

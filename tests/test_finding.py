"""Which faces are kept and how they are cut out: every option, on drawn pictures and on two people."""

import cv2
import numpy as np
import pytest

from ferflow.detectors import Detection, asset, shrink
from ferflow.finding import Finder, Finding, align_face, crop_face
from ferflow.images import read
from ferflow.registry import get

PICTURE = np.zeros((100, 200, 3), np.uint8)
MANY = [
    Detection((10, 10, 30, 40), 0.9),
    Detection((50, 10, 110, 60), 0.8, ((65, 30), (95, 30))),
    Detection((150, 50, 158, 58), 0.7),
]


def found(faces=MANY, **options) -> list[Detection]:
    return Finder(Finding(**options), lambda _: list(faces)).find(PICTURE)


def test_the_smallest_side_the_largest_face_and_how_many():
    assert found() == MANY
    assert found(min_size=9) == MANY[:2]
    assert found(min_size=20) == MANY[:2], "a side of exactly that many pixels counts"
    assert found(min_size=21) == [MANY[1]], "the shorter side counts"
    assert found(largest=True) == [MANY[1]]
    assert found(max_faces=2) == MANY[:2]
    assert found(min_size=99, largest=True) == []


@pytest.mark.parametrize(
    "box",
    [
        (-50, 0, -10, 20),
        (200, 0, 240, 20),
        (0, 100, 20, 140),
        (30, 30, 30, 60),
        (60, 30, 30, 60),
        (0, 0, 0.2, 0.2),
        (float("nan"), 0, 20, 20),
        (0, 0, float("inf"), 20),
        (-1e9, -1e9, 1e9, 1e9),
    ],
)
def test_boxes_outside_degenerate_or_wild_are_dropped(box):
    assert found([Detection(box, 0.9)]) == []
    assert found([Detection((0, 0, 20, 20), float("nan"))]) == []


@pytest.mark.parametrize("eyes", [((1, 1), (1, 1)), ((float("nan"), 1), (9, 1)), ((-1e9, 0), (1e9, 0))])
def test_eyes_that_cannot_be_are_forgotten(eyes):
    (face,) = found([Detection((0, 0, 20, 20), 0.9, eyes)], align=True)
    assert face == Detection((0, 0, 20, 20), 0.9)


@pytest.mark.parametrize(
    "options",
    [{"threshold": 2}, {"threshold": float("nan")}, {"min_size": -1}, {"margin": 2}, {"max_faces": 0}, {"longest_side": 5}],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Finding(**options)


def test_a_margin_is_a_share_of_the_longer_side():
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[50:150, 80:120] = 255
    assert crop_face(picture, (80, 50, 120, 150), 50, 0)[:, 25].min() == 255
    wide = crop_face(picture, (80, 50, 120, 150), 60, 0.1)[:, 30, 0]
    assert np.flatnonzero(wide > 127).tolist() == list(range(5, 55))


def test_a_face_far_larger_than_the_picture_is_cut_out_without_its_memory():
    strip = np.full((1, 60_000, 3), 7, np.uint8)
    assert (crop_face(strip, (0, -10, 60_000, 10), 24) == 7).all()


def drawn_face(angle: float, side: int) -> tuple[np.ndarray, tuple[tuple[float, float], tuple[float, float]]]:
    """A fine board with two eyes, turned around the middle."""
    board = (np.indices((side, side)).sum(axis=0) // 2 % 2 * 255).astype(np.uint8)
    picture = np.dstack([board] * 3)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1)
    eyes = [(side * 0.4, side * 0.45), (side * 0.6, side * 0.45)]
    for x, y in eyes:
        cv2.circle(picture, (round(x), round(y)), side // 25, (255, 0, 0), -1)
    turned = [tuple(turn @ (x, y, 1)) for x, y in eyes]
    return cv2.warpAffine(picture, turn, (side, side), borderMode=cv2.BORDER_REPLICATE), (turned[0], turned[1])


@pytest.mark.parametrize("angle", [-40, 0, 25])
@pytest.mark.parametrize("side", [60, 1000])
@pytest.mark.parametrize("margin", [0, 0.1, 0.5])
def test_an_aligned_face_has_level_eyes_in_their_place(angle, side, margin):
    picture, eyes = drawn_face(angle, side)
    crop = align_face(picture, eyes, 100, margin).astype(int)
    red = (crop[..., 0] - crop[..., 1]) > 100
    inner = 100 / (1 + 2 * margin)
    for half, share in ((slice(0, 50), -0.21), (slice(50, 100), 0.21)):
        y, x = np.nonzero(red[:, half])
        assert x.mean() + half.start == pytest.approx(50 + share * inner, abs=1.5)
        assert y.mean() == pytest.approx(50 - 0.1 * inner, abs=1.5)


def test_a_large_face_is_aligned_without_steps():
    picture, eyes = drawn_face(10, 1000)
    crop = align_face(picture, eyes, 48)
    assert crop[30:, :, 1].std() < 20, "a board far finer than a pixel is grey"


def test_a_picture_wider_than_opencv_can_turn():
    wide = np.full((40, 40_000, 3), 9, np.uint8)
    assert (align_face(wide, ((35_000, 20), (35_010, 20)), 48) == 9).all()


def test_align_and_longest_side_on_two_people(shared):
    rgb = read(shared / "media/two_people.jpg").rgb
    files = (("yunet", shared / "models/face_detection_yunet_2023mar.onnx"),)
    finder = Finder(Finding("yunet", files, align=True))
    faces = finder.find(rgb)
    assert len(faces) == 2
    small = Finder(Finding("yunet", files, longest_side=400)).find(rgb)
    for face in faces:
        crop = finder.crop(rgb, face, 112)
        (again,) = Finder(Finding("yunet", files, largest=True)).find(crop)
        (_, y0), (_, y1) = again.eyes_xy
        assert abs(y1 - y0) < 6, "its eyes are level"
        assert min(np.abs(np.subtract(other.box_xyxy, face.box_xyxy)).max() for other in small) < 12
    assert Finder(Finding("yunet", files, threshold=0.99)).find(rgb) == []


def test_small_faces_in_a_large_picture_are_found(shared):
    group = read(shared / "media/group_8.jpg").rgb
    files = (("yunet", shared / "models/face_detection_yunet_2023mar.onnx"),)
    many = np.tile(group, (4, 4, 1))  # 2,400 x 1,600, faces of 20 to 30 pixels
    assert len(Finder(Finding("yunet", files, max_faces=200)).find(many)) == 128
    assert len(Finder(Finding("yunet", files, max_faces=200, longest_side=640)).find(many)) < 100, "what 640 would lose"


def test_auto_takes_yunet_where_its_asset_is_and_refuses_another_file(shared, tmp_path, monkeypatch):
    rgb = read(shared / "media/two_people.jpg").rgb
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Finder().find(rgb) == Finder(Finding("haar")).find(rgb)
    monkeypatch.setenv("FERFLOW_ASSETS", str(shared / "models"))
    assert Finder().find(rgb) == Finder(Finding("yunet")).find(rgb) != Finder(Finding("haar")).find(rgb)
    monkeypatch.setenv("FERFLOW_ASSETS", str(tmp_path))
    (tmp_path / asset("yunet").file).write_bytes(b"junk")
    with pytest.raises(OSError, match="is not the face_detection_yunet"):
        Finder()


@pytest.mark.parametrize("size_wh", [None, (301, 203), (33, 300)])  # of tiny ones OpenCV says now this, now that
@pytest.mark.parametrize("name", ["group_8.jpg", "two_people.jpg"])
def test_yunet_finds_what_opencv_s_own_runtime_finds(shared, name, size_wh):
    file = shared / "models/face_detection_yunet_2023mar.onnx"
    bgr = cv2.imread(str(shared / "media" / name))
    bgr = shrink(bgr if size_wh is None else cv2.resize(bgr, size_wh), 1280)[0]
    network = cv2.FaceDetectorYN.create(str(file), "", bgr.shape[1::-1], score_threshold=0.6)
    _, rows = network.detect(bgr)
    expected = [] if rows is None else sorted((row for row in rows if np.isfinite(row).all()), key=lambda row: -row[14])
    found = get("detectors", "yunet")(file)(np.ascontiguousarray(bgr[:, :, ::-1]))
    assert len(found) == len(expected)
    for face, row in zip(found, expected, strict=True):
        assert face.box_xyxy == pytest.approx((row[0], row[1], row[0] + row[2], row[1] + row[3]), abs=1e-2)
        assert np.ravel(face.eyes_xy) == pytest.approx(row[4:8], abs=1e-2)
        assert face.score == pytest.approx(row[14], abs=1e-5)

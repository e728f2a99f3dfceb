"""Anything at all given as a picture: either a picture within the limit comes out, or ``ImageError``, and nothing else."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ferflow.detectors import Detection
from ferflow.finding import Finder, Finding
from ferflow.images import ImageError, decode, read

LIMIT = 20_000
SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def corpus() -> dict[str, bytes]:
    """A small valid file of every kind that is read."""
    rgb = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8), (0, 0), 3)
    one = Image.fromarray(rgb)
    wide = (rgb.astype(np.uint16) << 8)[..., ::-1]
    made = {}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000"):
        file = BytesIO()
        one.save(file, kind)
        made[kind] = file.getvalue()
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "MPO"):
        file = BytesIO()
        one.save(file, kind, save_all=True, append_images=[one.rotate(9), one.rotate(20)])
        made[f"{kind} of three"] = file.getvalue()
    for name, mode, kind, options in (
        ("alpha", "RGBA", "PNG", {}),
        ("palette", "P", "PNG", {"transparency": 0}),
        ("bits", "1", "TIFF", {"compression": "group4"}),
        ("inks", "CMYK", "JPEG", {}),
        ("packed", "RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("deflated", "CMYK", "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("stepwise", "RGB", "JPEG", {"progressive": True}),
    ):
        file = BytesIO()
        one.convert(mode).save(file, kind, **options)
        made[name] = file.getvalue()
    made["wide png"], made["wide tiff"] = (cv2.imencode(end, wide)[1].tobytes() for end in (".png", ".tif"))
    return made


FILES = corpus()


def outcome(image) -> str:
    try:
        picture = read(image, max_pixels=LIMIT)
    except ImageError as error:
        assert str(error)
        return "refused"
    rgb = picture.rgb
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3
    assert rgb.flags.c_contiguous
    assert 0 < rgb.shape[0] * rgb.shape[1] <= LIMIT
    return "read"


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_good_before_they_are_broken(name):
    assert outcome(FILES[name]) == "read"


@SOME
@given(st.binary(max_size=300))
@example(b"")
def test_any_bytes(data):
    outcome(data)


@SOME
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=200), st.integers(2, 40))
def test_any_bytes_behind_a_true_beginning(name, data, kept):
    outcome(FILES[name][:kept] + data)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_is_never_taken_for_whole(name):
    data = FILES[name]
    for share in (0.02, 0.2, 0.5, 0.7):
        # pages, and a table of contents at the end, lie behind the first picture: that one may be there
        allowed = {"refused", "read"} if "three" in name else {"refused"}
        assert outcome(data[: int(len(data) * share)]) in allowed


@settings(SOME, max_examples=300)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_prefix(name, draw):
    outcome(FILES[name][: draw.draw(st.integers(0, len(FILES[name]) - 1))])


@settings(SOME, max_examples=600)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_flipped_bits(name, draw):
    data = bytearray(FILES[name])
    early = draw.draw(st.booleans())  # headers are where it hurts
    places = st.integers(0, min(len(data) - 1, 120) if early else len(data) - 1)
    for place in draw.draw(st.lists(places, min_size=1, max_size=6)):
        data[place] ^= 1 << draw.draw(st.integers(0, 7))
    outcome(bytes(data))


@SOME
@given(st.sampled_from(sorted(FILES)), st.sampled_from(sorted(FILES)), st.integers(1, 200))
def test_two_files_in_one(one, other, where):
    outcome(FILES[one][:where] + FILES[other])
    outcome(FILES[one] + FILES[other])


@SOME
@given(
    st.one_of(arrays.scalar_dtypes(), st.just(np.dtype(np.uint8)), st.just(np.dtype(object))).flatmap(
        lambda dtype: st.builds(lambda shape: np.zeros(shape, dtype), st.lists(st.integers(0, 6), max_size=5).map(tuple))
    )
)
def test_any_array(pixels):
    shape, good = pixels.shape, pixels.dtype == np.uint8 and pixels.size > 0
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    assert outcome(pixels) == ("read" if good and fits else "refused")


@pytest.mark.parametrize("size", [(200_000, 200_000), (1, 2**31 - 1), (60_000, 1)])
def test_a_header_that_asks_for_much_gets_nothing(size):
    import zlib

    head = b"IHDR" + size[0].to_bytes(4) + size[1].to_bytes(4) + b"\x08\x02\0\0\0"
    data = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + head + zlib.crc32(head).to_bytes(4) + FILES["PNG"][33:]
    with pytest.raises(ImageError, match=r"too large|at most"):
        read(data, max_pixels=LIMIT)
    bitmap = bytearray(FILES["BMP"])
    bitmap[18:26] = size[0].to_bytes(4, "little") + size[1].to_bytes(4, "little")
    assert outcome(bytes(bitmap)) == "refused"
    gif = bytearray(FILES["GIF"])
    gif[6:10] = b"\xff\xff\xff\xff"
    assert outcome(bytes(gif)) == "refused"
    with pytest.raises(ImageError):
        decode(data)


NUMBERS = st.one_of(st.floats(-500, 500), st.floats(width=32), st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.5]))
FACES = st.builds(
    Detection, st.tuples(*[NUMBERS] * 4), NUMBERS, st.none() | st.tuples(st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS))
)


@settings(SOME, max_examples=300)
@given(st.lists(FACES, max_size=5), st.integers(1, 60), st.integers(1, 60), st.booleans(), st.sampled_from([0, 0.1, 1]))
def test_a_detector_that_gives_nonsense_ends_in_faces_that_can_be_cut_out(faces, height, width, align, margin):
    rgb = np.zeros((height, width, 3), np.uint8)
    finder = Finder(Finding(align=align, margin=margin), lambda _: faces)
    for face in finder.find(rgb):
        assert face in faces or face.eyes_xy is None
        assert np.isfinite(face.box_xyxy).all()
        assume(max(face.size_wh) < 10_000)
        assert finder.crop(rgb, face, 24).shape == (24, 24, 3)

"""Kinds of pictures, each against Pillow's own reading: rotation, alpha, palettes, 16 bits, inks, pages."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ferflow.images import ImageError, decode, read

RNG = np.random.default_rng(0)
RGB = cv2.GaussianBlur(RNG.integers(0, 255, (40, 60, 3), dtype=np.uint8), (0, 0), 4)
PICTURE = Image.fromarray(RGB)


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def farthest(one, other) -> int:
    assert np.shape(one) == np.shape(other)
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_exif_rotation_is_undone(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(PICTURE, kind, exif=exif if kind == "TIFF" else exif.tobytes())
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")
    assert decode(data).shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    assert farthest(decode(data), expected) <= 1
    assert np.array_equal(read(Image.open(BytesIO(data))).rgb, np.asarray(expected))


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("PNG", {"optimize": 1})]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_pictures_are_what_opencv_makes_of_them(kind, options, mode):
    data = saved(PICTURE.convert(mode), kind, **options)
    picture = read(data)
    assert np.array_equal(picture.rgb, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    assert picture.notes == ()


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000", "GIF", "MPO"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_other_formats(kind, mode):
    data = saved(PICTURE.convert(mode), kind)
    assert farthest(read(data).rgb, Image.open(BytesIO(data)).convert("RGB")) <= 1
    assert read(data).notes == ()


def alpha(mode: str) -> Image.Image:
    picture = PICTURE.convert(mode)
    picture.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))))
    return picture


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_can_be_seen_through_lies_over_white_and_is_noted(kind, mode):
    data = saved(alpha(mode), kind, **({"lossless": True} if kind == "WEBP" else {}))
    colours = np.asarray(PICTURE.convert(mode).convert("RGB"), float)
    share = np.linspace(0, 255, 60).astype(np.uint8)[None, :, None] / 255
    assert farthest(read(data).rgb, np.round(colours * share + 255 * (1 - share))) <= 2
    assert read(data).notes == ("transparent: laid over white",)
    assert (decode(data)[:, 0] == 255).all()
    opaque = PICTURE.convert(mode)
    opaque.putalpha(255)
    assert read(saved(opaque, "PNG")).notes == ()
    assert np.array_equal(decode(saved(opaque, "PNG")), colours)


def test_palettes_single_bits_and_a_colour_that_is_transparent():
    palette = PICTURE.quantize(16)
    assert np.array_equal(decode(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))
    assert read(saved(palette, "PNG")).notes == ()
    through = read(saved(palette, "PNG", transparency=3))
    assert through.notes == ("transparent: laid over white",)
    assert (through.rgb[np.asarray(palette) == 3] == 255).all()
    bits = PICTURE.convert("1")
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(decode(saved(bits, kind)), np.asarray(bits.convert("RGB")))
    keyed = Image.new("RGB", (4, 4), (9, 9, 9))
    keyed.putpixel((1, 1), (200, 0, 0))
    assert decode(saved(keyed, "PNG", transparency=(200, 0, 0)))[1, 1].tolist() == [255] * 3


WIDE = RNG.integers(0, 65536, (40, 60, 3)).astype(np.uint16)
WIDE[0, 0], WIDE[0, 1] = 65535, 0


@pytest.mark.parametrize("extension", [".png", ".tif", ".ppm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_upper_8_are_used(extension, channels):
    pixels = WIDE if channels == 3 else WIDE[:, :, 0]
    data = cv2.imencode(
        ".pgm" if (extension, channels) == (".ppm", 1) else extension, pixels[..., ::-1] if channels == 3 else pixels
    )
    found = read(data[1].tobytes())
    assert farthest(found.rgb, np.broadcast_to((pixels >> 8).reshape(40, 60, channels), (40, 60, 3))) <= 1
    assert found.rgb[0, :2, 0].tolist() == [255, 0]
    if extension in (".png", ".tif"):
        assert found.notes == ("16 bit: the upper 8 are used",)


def test_inks_of_a_cmyk_jpeg_keep_their_colours_whether_inverted_or_not():
    inks = PICTURE.convert("CMYK")
    adobe = saved(inks, "JPEG", quality=100)
    assert farthest(decode(adobe), PICTURE) <= 3
    assert farthest(decode(adobe), Image.open(BytesIO(adobe)).convert("RGB")) == 0
    upright = saved(Image.fromarray(255 - np.asarray(inks), "CMYK"), "JPEG", quality=100)
    marker = upright.index(b"\xff\xee")
    assert upright[marker + 4 : marker + 9] == b"Adobe"
    plain = upright[:marker] + upright[marker + 2 + int.from_bytes(upright[marker + 2 : marker + 4]) :]
    assert farthest(decode(plain), PICTURE) <= 3
    assert read(adobe).notes == read(plain).notes == ("converted from CMYK without a colour profile",)
    assert farthest(decode(saved(inks, "TIFF")), PICTURE) <= 1


@pytest.mark.parametrize(
    ("kind", "unit"),
    [("GIF", "frames"), ("WEBP", "frames"), ("PNG", "frames"), ("AVIF", "frames"), ("TIFF", "pages"), ("MPO", "pages")],
)
def test_of_several_pages_the_first_is_read_and_it_is_said(kind, unit):
    pages = [Image.new("RGB", (60, 40), colour) for colour in ("red", "green", "blue")]
    found = read(saved(pages[0], kind, save_all=True, append_images=pages[1:]))
    assert found.notes == (f"first of 3 {unit}",)
    assert farthest(found.rgb, pages[0]) <= 2


def test_of_a_pil_picture_the_page_that_it_shows_is_read():
    pages = [Image.new("RGB", (60, 40), colour) for colour in ("red", "green", "blue")]
    opened = Image.open(BytesIO(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])))
    opened.seek(2)
    assert read(opened).notes == ("number 3 of 3 pages",)
    assert read(opened).rgb[0, 0].tolist() == [0, 0, 255]


def test_values_without_a_known_range_are_refused():
    unit = np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)
    with pytest.raises(ImageError, match=r"range is not known \(floating point\); save it with 8 or 16 bits"):
        decode(cv2.imencode(".tif", unit)[1].tobytes())
    with pytest.raises(ImageError, match="floating point"):
        decode(cv2.imencode(".tif", np.dstack([unit] * 3))[1].tobytes())
    for mode in ("F", "I"):
        with pytest.raises(ImageError, match="range is not known"):
            read(Image.new(mode, (4, 4)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "it is HEIC; save it as JPEG or PNG"),
        (b"\0\0\0\x18ftypmif1" + b"\0" * 40, "HEIC or HEIF"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 40, "a video"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"<svg xmlns='x'/>", "an SVG"),
        (b"", "it is empty"),
        (b"\xff\xd8\xff\xe0", "its header is damaged or cut off"),
        (b"hello", "no known image format"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(data, words, tmp_path):
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=words) as error:
        read(tmp_path / "x.jpg")
    assert str(tmp_path / "x.jpg") in str(error.value)


def test_arrays_and_pil_pictures():
    assert np.array_equal(read(PICTURE).rgb, RGB)
    assert read(RGB).rgb is RGB
    for view in (RGB[::-1], RGB[:, ::2], np.asfortranarray(RGB)):
        assert read(view).rgb.flags.c_contiguous
        assert np.array_equal(read(view).rgb, view)
    gray = RGB[:, :, 0]
    assert np.array_equal(read(gray).rgb, np.dstack([gray] * 3))
    assert np.array_equal(read(gray[:, :, None]).rgb, read(gray).rgb)
    assert read(np.asarray(alpha("RGB"))).notes == ("transparent: laid over white",)
    assert np.array_equal(read(np.asarray(alpha("RGB"))).rgb, read(alpha("RGB")).rgb)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (RGB / 255, r"float64 \(40, 60, 3\)\. Values from 0 to 1: \(pixels \* 255\)"),
        (RGB.astype(np.uint16) << 8, r"\(pixels >> 8\)"),
        (RGB.transpose(2, 0, 1), r"Channels come last: pixels\.transpose"),
        (RGB[None], "one picture at a time"),
        (RGB[:, :, :2], r"uint8 \(40, 60, 2\)"),
        (np.dstack([RGB, RGB]), r"\(40, 60, 6\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (RGB > 9, "bool"),
        (None, "this is NoneType"),
        (7, "this is int"),
        ("\0", "null byte|null character"),
    ],
)
def test_what_is_no_picture_says_what_one_is(pixels, words):
    with pytest.raises(ImageError, match=words):
        read(pixels)


def test_the_limit_on_pixels_holds_for_arrays_and_pil_pictures_too():
    endless = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (10**6, 10**6, 3))
    with pytest.raises(ImageError, match="at most"):
        read(endless)
    bomb = Image.open(BytesIO(saved(Image.new("1", (8000, 8000)), "PNG")))
    with pytest.raises(ImageError, match="8000 x 8000 pixels; at most"):
        read(bomb)
    with pytest.raises(ImageError, match="at most 100"):
        read(PICTURE, max_pixels=100)

from io import BytesIO

import cv2
import numpy as np
import pytest
from conftest import png
from PIL import Image

from ferflow.images import ImageError, decode, encode_png, image_size, image_statistics, read, resize, to_gray


def test_png_round_trip_keeps_every_pixel_and_the_order_of_colours():
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels[..., 0] = 200  # red
    assert np.array_equal(decode(encode_png(pixels)), pixels)
    assert image_size(encode_png(pixels)) == (7, 5)


def test_grey_has_one_channel():
    assert to_gray(decode(png(channels=1))).shape == (48, 48, 1)
    assert decode(png(channels=1)).shape == (48, 48, 3)


def test_a_photograph_is_turned_as_its_exif_says():
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, :8] = 255
    file = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    Image.fromarray(upright).save(file, "JPEG", quality=100, exif=exif.tobytes())
    found = decode(file.getvalue())
    assert found.shape == (16, 8, 3)
    assert found[:6].mean() > 250 > 5 > found[10:].mean()


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", png()[:60]])
def test_bytes_that_are_no_whole_picture_are_an_image_error(data):
    with pytest.raises(ImageError):
        decode(data)


def test_a_jpeg_that_is_cut_off_is_an_image_error_also_with_a_thumbnail_inside():
    face = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = cv2.imencode(".jpg", face)[1].tobytes()
    thumbnail = whole[:2] + b"\xff\xe1" + (len(whole) + 2).to_bytes(2) + whole + whole[2:]
    for data in (whole, thumbnail, whole + b"trailing bytes"):
        assert decode(data).shape == (64, 64, 3)
    for data in (whole[: len(whole) // 2], thumbnail[:-500], whole[:-2]):
        with pytest.raises(ImageError, match="cut off"):
            decode(data)


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="48 x 48"):
        decode(png(), max_pixels=100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="too large"):
        decode(png())


def test_resize_keeps_a_face_of_the_right_size_and_the_channel_axis():
    face = to_gray(decode(png()))
    assert resize(face, 48) is face
    assert resize(face, 32).shape == (32, 32, 1)


def test_statistics_tell_dark_flat_and_sharp_pictures_apart():
    flat = np.full((20, 20), 40, np.uint8)
    board = (np.indices((20, 20)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert image_statistics(flat) == {"brightness": 40.0, "contrast": 0.0, "sharpness": 0.0}
    assert image_statistics(board)["sharpness"] > image_statistics(cv2.blur(board, (3, 3)))["sharpness"]


def test_what_follows_a_jpeg_does_not_make_it_cut_off_and_its_thumbnail_does_not_make_it_whole():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    small, file = BytesIO(), BytesIO()
    picture.resize((16, 16)).save(small, "jpeg")
    picture.save(file, "jpeg", exif=b"Exif\0\0" + small.getvalue(), quality=95)
    data = file.getvalue()
    motion = data + b"ftypmp42" + b"\xff\xda" * 50  # phones put a film behind a picture
    assert (decode(motion) == decode(data)).all()
    for share in (0.5, 0.8, 0.98):
        with pytest.raises(ImageError, match="cut off"):
            decode(data[: int(len(data) * share)])


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2_000_000_000)
    with pytest.raises(ImageError, match=r"huge.jpg: the file has 2,000 MB; at most 512"):
        read(tmp_path / "huge.jpg")

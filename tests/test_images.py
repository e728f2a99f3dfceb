import cv2
import numpy as np
import pytest
from conftest import png

from ferflow.images import ImageError, decode, encode_png, image_size, image_statistics, resize


def test_png_round_trip_keeps_every_pixel_and_the_order_of_colours():
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels[..., 0] = 200  # red
    assert np.array_equal(decode(encode_png(pixels)), pixels)
    assert image_size(encode_png(pixels)) == (7, 5)


def test_grey_has_one_channel():
    assert decode(png(channels=1), gray=True).shape == (48, 48, 1)
    assert decode(png(channels=1)).shape == (48, 48, 3)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", png()[:60]])
def test_bytes_that_are_no_whole_picture_are_an_image_error(data):
    with pytest.raises(ImageError):
        decode(data)


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="48 x 48"):
        decode(png(), max_pixels=100)


def test_resize_keeps_a_face_of_the_right_size_and_the_channel_axis():
    face = decode(png(), gray=True)
    assert resize(face, 48) is face
    assert resize(face, 32).shape == (32, 32, 1)


def test_statistics_tell_dark_flat_and_sharp_pictures_apart():
    flat = np.full((20, 20), 40, np.uint8)
    board = (np.indices((20, 20)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert image_statistics(flat) == {"brightness": 40.0, "contrast": 0.0, "sharpness": 0.0}
    assert image_statistics(board)["sharpness"] > image_statistics(cv2.blur(board, (3, 3)))["sharpness"]

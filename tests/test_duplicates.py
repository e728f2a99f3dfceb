import cv2
import numpy as np
import pandas as pd

from ferflow import duplicates
from ferflow.duplicates import connect, duplicate_groups, near_pairs
from ferflow.measuring import perceptual_hash


def flipped(hash_: np.uint64, bits) -> np.uint64:
    for bit in bits:
        hash_ ^= np.uint64(1) << np.uint64(bit)
    return hash_


def brute(hashes, distance):
    differ = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    return np.argwhere(np.triu(differ <= distance, k=1))


def test_no_pair_within_the_distance_is_missed_whichever_bits_differ():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 600, dtype=np.uint64)
    for row in range(0, 600, 2):
        hashes[row + 1] = flipped(hashes[row], rng.choice(64, rng.integers(0, 9), replace=False))
    same = np.tile(rng.integers(0, 255, 256, dtype=np.uint8), (600, 1))
    for distance in (0, 3, 4, 7):
        assert np.array_equal(near_pairs(hashes, same, distance, 0.9), brute(hashes, distance))


def test_a_bucket_larger_than_a_block_is_searched_whole(monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", 128)
    hashes = np.full(900, 7, np.uint64)
    thumbnails = np.tile(np.arange(256, dtype=np.uint8), (900, 1))
    hashes[:300] += np.arange(300, dtype=np.uint64) << np.uint64(32)  # 300 hashes that share their low half, and a crowd
    pairs = near_pairs(hashes, thumbnails, 16, 0.9)
    differ = np.bitwise_count(hashes[:300, None] ^ hashes[None, :300]) <= 16
    assert len(pairs) == np.triu(differ, 1).sum() + 600, "all pairs outside the crowd, and the crowd through its first"


def test_a_crowd_of_one_hash_is_joined_without_listing_its_pairs():
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 255, (3, 256))
    which = rng.integers(0, 3, 6000)
    thumbnails = np.clip(scenes[which] + rng.integers(-3, 4, (6000, 256)), 0, 255).astype(np.uint8)
    pairs = near_pairs(np.full(6000, 7, np.uint64), thumbnails, 4, 0.9)
    assert len(pairs) == 6000 - 3
    groups = connect(6000, pairs)
    assert len({(a, b) for a, b in zip(groups, which, strict=True)}) == len(set(groups)) == 3, "a scene is a group"


def test_thumbnails_decide_and_a_flat_one_is_like_nothing():
    rng = np.random.default_rng(0)
    base = rng.integers(50, 150, 256)
    thumbnails = np.stack([base, base + 90, 255 - base, np.full(256, 9)]).astype(np.uint8)
    pairs = near_pairs(np.zeros(4, np.uint64), thumbnails, 4, 0.9)
    assert pairs.tolist() == [[0, 1]], "lighter is alike, the negative and the flat one are not"


def test_groups_are_joined_through_others_and_identical_images_are_alike():
    assert connect(5, np.array([[0, 1], [1, 2]])).tolist() == [0, 0, 0, 1, 2]
    assert connect(3, np.empty((0, 2), int)).tolist() == [0, 1, 2]
    rng = np.random.default_rng(0)
    face = rng.integers(0, 255, 256, dtype=np.uint8)
    table = pd.DataFrame(
        {
            "pixel_hash": ["a", "b", "a", "c"],
            "phash": np.array([1, 3, 1, 2**60 - 1], np.uint64),
            "thumbnail": [face.tobytes(), face.tobytes(), face.tobytes(), face.tobytes()],
        },
        index=[10, 11, 12, 13],
    )
    groups = duplicate_groups(table, 4, 0.9)
    assert groups["same"].tolist() == [0, 1, 0, 2]
    assert groups["near"].tolist() == [0, 0, 0, 1]
    assert groups.index.tolist() == [10, 11, 12, 13]


def test_the_perceptual_hash_survives_size_light_and_noise():
    rng = np.random.default_rng(0)
    blurred = [cv2.GaussianBlur(rng.integers(0, 255, (96, 96), dtype=np.uint8), (0, 0), 6) for _ in range(2)]
    face, other = (cv2.normalize(image, None, 40, 200, cv2.NORM_MINMAX) for image in blurred)
    noisy = np.clip(face * 0.8 + rng.normal(0, 2, face.shape), 0, 255).astype(np.uint8)
    for changed in (cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA), noisy):
        assert np.bitwise_count(perceptual_hash(face) ^ perceptual_hash(changed)) <= 4
    assert np.bitwise_count(perceptual_hash(face) ^ perceptual_hash(other)) > 12


def test_pictures_of_which_none_can_be_decoded_are_alike_nothing():
    table = pd.DataFrame({"pixel_hash": [None, None], "phash": np.zeros(2, np.uint64), "thumbnail": [b"", b""]})
    groups = duplicate_groups(table, 4, 0.9)
    assert groups["same"].nunique() == groups["near"].nunique() == 2

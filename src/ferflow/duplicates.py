"""Pictures that are the same, or nearly: found without comparing every one with every other.

Two images are near duplicates when their perceptual hashes differ in at most ``distance`` bits and their thumbnails
correlate. Candidates share one of ``distance + 1`` bands of their hashes: by the pigeonhole principle no pair within the
distance is missed (multi-index hashing, Norouzi et al. 2012). Values in, values out.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_BITS = 64
_CROWD = 32
_BLOCK = 1024  # hashes compared with each other at a time


def near_pairs(hashes: np.ndarray, thumbnails: np.ndarray, distance: int, correlation: float) -> np.ndarray:
    """Pairs (M x 2 row numbers, the smaller first, sorted) that join all near duplicates into groups.

    They are all pairs, but for crowds of more than 32 pictures with one hash: these are joined through their first.

    ``hashes``: N uint64; ``thumbnails``: N x P uint8; ``correlation``: least Pearson correlation of two thumbnails. A
    thumbnail of one flat colour correlates with nothing.
    """
    stars, leaders = _stars(hashes, thumbnails, correlation)
    found = [np.empty((0, 2), np.int64)]
    for shift, width in _bands(distance + 1):
        keys = (hashes[leaders] >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        by_key = np.argsort(keys, kind="stable")
        order, edges = leaders[by_key], np.flatnonzero(np.diff(keys[by_key])) + 1
        for bucket in np.split(order, edges):
            if len(bucket) > 1:
                found += list(_close(bucket, hashes, distance))
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return np.unique(np.concatenate([stars, pairs[_correlation(thumbnails, pairs) >= correlation]]), axis=0)


def _stars(hashes: np.ndarray, thumbnails: np.ndarray, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of the first picture of a crowd with those alike it, and the rows that stay to be compared with all others.

    A crowd is more than ``_CROWD`` pictures with one hash, such as frames of a still scene: to list all its pairs would
    be quadratic, and to join each with one leader says the same. Pictures outside crowds all stay.
    """
    order = np.argsort(hashes, kind="stable")
    crowds = [c for c in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1) if len(c) > _CROWD]
    stays, stars = np.ones(len(hashes), bool), [np.empty((0, 2), np.int64)]
    for rest in crowds:
        while len(rest) > 1:
            pairs = np.stack([np.full(len(rest) - 1, rest[0]), rest[1:]], axis=1)
            alike = _correlation(thumbnails, pairs) >= correlation
            stars.append(pairs[alike])
            stays[rest[1:][alike]] = False
            rest = rest[1:][~alike]
    return np.concatenate(stars), np.flatnonzero(stays)


def _bands(count: int) -> list[tuple[int, int]]:
    """``(shift, width)`` in bits of ``count`` bands that cover the hash."""
    edges = [_BITS * band // count for band in range(count + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]


def _close(bucket: np.ndarray, hashes: np.ndarray, distance: int) -> list[np.ndarray]:
    found = []
    for start in range(0, len(bucket), _BLOCK):
        left = bucket[start : start + _BLOCK]
        right = bucket[start:]
        differ = np.bitwise_count(hashes[left][:, None] ^ hashes[right][None, :])
        i, j = np.nonzero(np.triu(differ <= distance, k=1))
        found.append(np.stack([left[i], right[j]], axis=1))
    return found


def _correlation(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Pearson correlation of the thumbnails of every pair (M)."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), 100_000):
        rows = slice(start, start + 100_000)
        left, right = (_unit(thumbnails[pairs[rows, side]].astype(np.float32)) for side in (0, 1))
        found[rows] = np.einsum("ij,ij->i", left, right)
    return found


def _unit(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)


def connect(count: int, pairs: np.ndarray) -> np.ndarray:
    """Group numbers (N = ``count``): rows joined by pairs, also through others, have the same one."""
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    numbers: np.ndarray = connected_components(graph, directed=False)[1]
    return numbers


def duplicate_groups(measures: pd.DataFrame, distance: int, correlation: float) -> pd.DataFrame:
    """For every row of ``measures``: ``same`` and ``near``, the numbers of its groups of identical and of alike images.

    Identical images are alike, too. The index is that of ``measures``.
    """
    named = measures["pixel_hash"].fillna("unreadable " + measures.index.to_series().astype(str))  # identical to nothing
    same = pd.factorize(named)[0]
    first = np.unique(same, return_index=True)[1]
    readable = first[measures["pixel_hash"].notna().to_numpy()[first]]
    if not len(readable):
        return pd.DataFrame({"same": same, "near": same}, index=measures.index)
    thumbnails = np.frombuffer(b"".join(measures["thumbnail"].iloc[readable]), np.uint8).reshape(len(readable), -1)
    pairs = near_pairs(measures["phash"].to_numpy()[readable], thumbnails, distance, correlation)
    near = connect(len(first), same[readable][pairs])
    return pd.DataFrame({"same": same, "near": near[same]}, index=measures.index)

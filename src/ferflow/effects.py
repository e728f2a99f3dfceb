"""How far two sets of faces are from each other: effect sizes, and how large they get by chance alone.

Sets are weights over the rows of one table, a row of weights a pair: so a comparison is one pair of 0s and 1s over both sets,
and a thousand windows drawn from one reference are a thousand pairs of counts over its rows. An effect does not grow with the
number of rows, a p value does. It knows no file, no threshold and no library of reports.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import rankdata

FOLDS = 3
_CHUNK = 50  # pairs at once: as many as fit the memory with 20,000 rows
_LEAST_SPREAD = 0.001  # of a number that hardly varies, as Evidently has it
_LARGEST_Z = 4.0


@dataclass(frozen=True)
class Measures:
    """What is known of M faces: ``numbers`` (M, NaN: unknown), ``classes`` (M class numbers, -1: unknown) out of ``sizes``
    classes, and ``space`` (M x D), in which a classifier tells the sets apart."""

    numbers: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]
    sizes: dict[str, int]
    space: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


def wasserstein(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The first Wasserstein distance of each pair, in standard deviations of the first set: 0.5 is half a deviation away.

    ``values``: M; ``first``, ``second``: B x M weights. Gives B distances, NaN where a set knows no value.
    """
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    ordered = values[known][order].astype(np.float64)
    ordered -= ordered.mean() if len(ordered) else 0.0
    one, two = _shares(first[:, known][:, order]), _shares(second[:, known][:, order])
    distance = np.abs(np.cumsum(one - two, axis=1)[:, :-1]) @ np.diff(ordered)
    spread = np.sqrt(np.maximum(one @ ordered**2 - (one @ ordered) ** 2, 0))
    return np.asarray(distance / np.maximum(spread, _LEAST_SPREAD))


def class_distance(classes: np.ndarray, size: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The Jensen-Shannon distance between the class shares of each pair: 0 where they are equal, 0.83 where none is shared.

    ``classes``: M numbers below ``size`` (-1: unknown); weights as of ``wasserstein``.
    """
    known = classes >= 0
    each = np.eye(size)[classes[known]]
    with np.errstate(invalid="ignore"):  # rounding can make the root of what is nearly 0 that of a negative number
        found = jensenshannon(_shares(first[:, known] @ each), _shares(second[:, known] @ each), axis=1)
    empty = (first[:, known].sum(axis=1) == 0) | (second[:, known].sum(axis=1) == 0)
    return np.where(empty, np.nan, np.nan_to_num(found))


def effects(table: Measures, first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """The distance of every pair in every number and every class, by name."""
    found = {name: wasserstein(values, first, second) for name, values in table.numbers.items()}
    return found | {name: class_distance(values, table.sizes[name], first, second) for name, values in table.classes.items()}


def domain_auc(space: np.ndarray, first: np.ndarray, second: np.ndarray, folds: np.ndarray) -> float:
    """How well a linear classifier tells two sets apart, cross-validated: 0.5 not at all, 1 always (area under the ROC curve).

    ``space``: M x D; ``first``, ``second``: M counts; ``folds``: M numbers below ``FOLDS``. Nobody is asked about rows learned.
    """
    from sklearn import config_context
    from sklearn.linear_model import Ridge

    rows = np.concatenate([np.repeat(np.arange(len(space)), counts) for counts in (first, second)])
    side = np.repeat([0.0, 1.0], [first.sum(), second.sum()])
    found = []
    with config_context(assume_finite=True, skip_parameter_validation=True):  # its checks take longer than its work
        for fold in range(FOLDS):
            asked = folds[rows] == fold
            if len(np.unique(side[asked])) == 2 and len(np.unique(side[~asked])) == 2:
                learned = Ridge(alpha=1.0).fit(space[rows[~asked]], side[~asked])
                found.append(_auc(learned.predict(space[rows[asked]]), side[asked] == 1))
    return float(np.mean(found)) if found else 0.5


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The area under the ROC curve by ranks (Mann and Whitney): the same as the library's, whose checks take 4 ms a call."""
    many = int(positive.sum())
    pairs = many * (len(positive) - many)
    return float((rankdata(scores)[positive].sum() - many * (many + 1) / 2) / pairs)


def by_chance(table: Measures, sizes: tuple[int, int], draws: int, seed: int) -> dict[str, np.ndarray]:
    """The effects of ``draws`` pairs of sets of these sizes that both come from the table: what is seen where nothing differs.

    Both sets are drawn (with replacement): the reference, too, is only a sample, and with as many faces as the window half of
    the difference is its own.
    """
    draw = np.random.default_rng(seed)
    rows = len(next(iter((table.numbers | table.classes).values())))
    parts = []
    for start in range(0, draws, _CHUNK):
        some = range(start, min(start + _CHUNK, draws))
        first, second = (
            np.stack([np.bincount(draw.integers(rows, size=size), minlength=rows) for _ in some]).astype(np.float32)
            for size in sizes
        )
        parts.append(effects(table, first, second))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def auc_by_chance(space: np.ndarray, sizes: tuple[int, int], draws: int, seed: int) -> np.ndarray:
    """What ``domain_auc`` would say of ``draws`` pairs of sets of these sizes if both came from where ``space`` comes from.

    The rows are parted in two as the sizes are to each other (drawn with replacement, a face would be on both sides of what a
    classifier learns from); the area's spread goes with the root of 1/n + 1/m, so that it is carried over to the real sizes.
    """
    draw = np.random.default_rng([seed, 1])
    rows, together = len(space), sum(sizes)
    first = round(rows * sizes[0] / together)
    found = []
    for _ in range(draws):
        side = np.zeros(rows, dtype=int)
        side[draw.permutation(rows)[first:]] = 1
        found.append(domain_auc(space, 1 - side, side, draw.integers(FOLDS, size=rows)))
    return 0.5 + (np.array(found) - 0.5) * np.sqrt(rows / together)


def limits(chance: dict[str, np.ndarray], rate: float) -> dict[str, float]:
    """A limit for every effect so that, where nothing differs, only a share ``rate`` of the pairs passes any of them.

    Effects are put on one scale (their median 0, their 95 % quantile 1), and the limit on it is a quantile of the largest of a
    pair: the single-step maximum method of Westfall and Young, "Resampling-Based Multiple Testing" (1993).
    """
    table = np.stack(list(chance.values()), axis=1)
    middle = np.median(table, axis=0)
    spread = np.maximum(np.quantile(table, 0.95, axis=0) - middle, 1e-9)
    largest = ((table - middle) / spread).max(axis=1)
    return dict(zip(chance, (middle + np.quantile(largest, 1 - rate) * spread).tolist(), strict=True))


def standardised(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Columns in standard deviations of ``like``'s, and their squares: a linear classifier then sees spreads as well as means.

    What is unknown counts as the mean.
    """
    middle, spread = np.nanmean(like, axis=0), np.nanstd(like, axis=0)
    scaled = np.nan_to_num((values - middle) / np.where(spread > 0, spread, 1.0))
    scaled = np.clip(scaled, -_LARGEST_Z, _LARGEST_Z)
    return np.hstack([scaled, scaled**2])


def _shares(weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(weights / total)


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share (Wilson, JASA 22, 1927), 95 % by default; 0 to 1 where there is nothing to take a share of."""
    if not count:
        return 0.0, 1.0
    share, square = successes / count, z * z / count
    half = z * np.sqrt(share * (1 - share) / count + square / (4 * count))
    middle = share + square / 2
    return float(max(0.0, (middle - half) / (1 + square))), float(min(1.0, (middle + half) / (1 + square)))

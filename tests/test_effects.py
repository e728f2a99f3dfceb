"""Effect sizes against the library that defines them, and what chance does to them."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from sklearn.metrics import roc_auc_score

from ferflow import effects as effects_module
from ferflow.effects import (
    FOLDS,
    Measures,
    auc_by_chance,
    by_chance,
    class_distance,
    domain_auc,
    effects,
    limits,
    standardised,
    wasserstein,
    wilson,
)


def pair(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of both sides, and the weights that tell them apart."""
    side = np.repeat([[0.0, 1.0]], [len(first), len(second)], axis=1)
    return np.concatenate([first, second]), 1 - side, side


def test_the_distance_of_numbers_is_scipys_in_standard_deviations_of_the_first():
    draw = np.random.default_rng(0)
    first, second = draw.normal(5, 2, 400), draw.normal(6, 3, 300)
    found = wasserstein(*pair(first, second))
    assert found == pytest.approx([wasserstein_distance(first, second) / first.std()])
    assert wasserstein(*pair(first + 1e6, second + 1e6)) == pytest.approx(found), "far from 0 it is as exact"


def test_counts_are_rows_that_are_there_several_times():
    draw = np.random.default_rng(1)
    values = draw.normal(size=50)
    counts = draw.integers(0, 4, (2, 50)).astype(float)
    first, second = (np.repeat(values, one.astype(int)) for one in counts)
    expected = wasserstein_distance(first, second) / first.std()
    assert wasserstein(values, counts[:1], counts[1:])[0] == pytest.approx(expected)


def test_what_is_unknown_does_not_count():
    first, second = np.array([1.0, np.nan, 3.0]), np.array([np.nan, 2.0, 5.0, 7.0])
    expected = wasserstein_distance([1, 3], [2, 5, 7]) / np.std([1, 3])
    assert wasserstein(*pair(first, second))[0] == pytest.approx(expected)
    assert np.isnan(wasserstein(*pair(np.array([np.nan]), second))[0])


def test_the_distance_of_classes_is_scipys():
    first, second = np.array([0, 0, 1, 2, -1]), np.array([0, 2, 2, -1])
    expected = jensenshannon([2 / 4, 1 / 4, 1 / 4], [1 / 3, 0, 2 / 3])
    values, one, two = pair(first, second)
    assert class_distance(values.astype(int), 3, one, two)[0] == pytest.approx(expected)
    assert class_distance(np.array([0, 0, 1]), 2, np.array([[1.0, 0, 0]]), np.array([[0, 1.0, 0]]))[0] == 0
    assert class_distance(np.array([0, 1]), 2, np.array([[1.0, 0]]), np.array([[0, 1.0]]))[0] == pytest.approx(np.log(2) ** 0.5)
    assert np.isnan(class_distance(np.array([0, -1]), 2, np.array([[1.0, 0]]), np.array([[0, 1.0]]))[0])


def test_a_number_that_does_not_vary_gives_a_number():
    assert np.isfinite(wasserstein(*pair(np.ones(5), np.ones(7)))).all()
    assert np.isfinite(wasserstein(*pair(np.ones(5), np.full(7, 2.0)))).all()


def test_a_classifier_tells_apart_what_differs_and_nothing_else():
    draw = np.random.default_rng(2)
    same, other = draw.normal(size=(600, 8)), draw.normal(size=(500, 8))
    side = np.repeat([0, 1], [600, 500])
    folds = draw.integers(FOLDS, size=1100)
    assert domain_auc(np.vstack([same, other]), 1 - side, side, folds) == pytest.approx(0.5, abs=0.06)
    assert domain_auc(np.vstack([same, other + 1]), 1 - side, side, folds) > 0.95
    wide = standardised(np.vstack([same, 3 * other]), same)
    assert domain_auc(wide, 1 - side, side, folds) > 0.9, "a spread shows in the squares"


def test_the_area_is_the_librarys():
    draw = np.random.default_rng(6)
    scores, positive = draw.integers(0, 30, 200).astype(float), draw.random(200) < 0.4
    assert effects_module._auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_chance_of_the_classifier_is_that_of_real_windows():
    draw = np.random.default_rng(3)
    folds = draw.integers(FOLDS, size=550)
    side = np.repeat([0, 1], [300, 250])
    real = [domain_auc(draw.normal(size=(550, 20)), 1 - side, side, folds) for _ in range(80)]
    carried = auc_by_chance(draw.normal(size=(300, 20)), (300, 250), 80, 0)
    assert carried.mean() == pytest.approx(np.mean(real), abs=0.012)
    assert carried.std() == pytest.approx(np.std(real), rel=0.35)


def test_limits_hold_for_all_features_together_on_faces_that_nobody_has_seen():
    """The promise itself, on references and windows drawn anew: at most 1 window in 20 passes any of twelve limits."""
    draw = np.random.default_rng(4)
    wrong = windows = 0
    mixing = draw.normal(size=(12, 12)) / 3 + np.eye(12)
    for seed in range(12):
        reference = draw.normal(size=(600, 12)) @ mixing
        table = Measures({str(i): reference[:, i] for i in range(12)}, {}, {})
        allowed = limits(by_chance(table, (600, 500), 300, seed), 0.03)
        for _ in range(12):
            window = draw.normal(size=(500, 12)) @ mixing
            both = Measures({str(i): np.concatenate([reference[:, i], window[:, i]]) for i in range(12)}, {}, {})
            side = np.repeat([[0.0, 1.0]], [600, 500], axis=1)
            found = effects(both, 1 - side, side)
            wrong += any(found[name][0] > allowed[name] for name in found)
            windows += 1
    assert wrong / windows <= 0.07, "0.05 is promised; 144 windows say it no better"


def test_chance_is_larger_in_smaller_windows_and_the_same_each_time():
    table = Measures({"a": np.random.default_rng(5).normal(size=600)}, {"b": np.arange(600) % 7}, {"b": 7})
    small, large = (by_chance(table, (600, size), 100, 0) for size in (200, 5000))
    for name in ("a", "b"):
        assert small[name].mean() > large[name].mean()
        assert (by_chance(table, (600, 200), 100, 0)[name] == small[name]).all()


def test_wilson():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    low, high = wilson(10, 10)
    assert low > 0.7
    assert high == 1.0

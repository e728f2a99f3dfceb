import numpy as np
import pytest
from scipy.stats import bootstrap

from ferflow.metrics import of_kind
from ferflow.resampling import Resamples, chance_of_no_difference, interval

DRAW = np.random.default_rng(0)


def test_a_resample_is_the_metric_on_the_rows_that_were_drawn():
    truth, shares = DRAW.integers(0, 4, 60), DRAW.dirichlet(np.ones(4), 60).astype(np.float32)
    known = np.arange(60) % 5 > 0
    resamples = Resamples(60, count=20, seed=3)
    metrics = of_kind("classification", "ordered")
    found = resamples.scores(metrics, truth[known], shares[known], known)
    assert set(metrics) - set(found) == {"roc_auc", "pr_auc"}
    assert found.pop("ece").mean() == pytest.approx(metrics["ece"](truth[known], shares[known]), abs=1e-3), "moved to its value"
    draw = np.random.default_rng(3)
    for resample in range(20):
        rows = draw.integers(60, size=60)
        rows = rows[known[rows]]
        for name, values in found.items():
            assert values[resample] == pytest.approx(metrics[name](truth[rows], shares[rows]), abs=1e-5), name


def test_values_of_affect_too():
    truth, found = DRAW.uniform(-1, 1, 50), DRAW.uniform(-1, 1, 50)
    metrics = of_kind("affect")
    resampled = Resamples(50, count=10, seed=4).scores(metrics, truth, found, np.ones(50, bool))
    assert set(resampled) == set(metrics)
    draw = np.random.default_rng(4)
    for resample in range(10):
        rows = draw.integers(50, size=50)
        for name, values in resampled.items():
            assert values[resample] == pytest.approx(metrics[name](truth[rows], found[rows]), abs=1e-9), name


def test_the_interval_is_that_of_scipy_s_percentile_bootstrap():
    right = (DRAW.random(400) < 0.7).astype(float)
    means = Resamples(400, count=4000, seed=1).means(right[:, None], np.ones(400, bool))[:, 0]
    expected = bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert interval(means) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_nothing_known_has_no_interval_and_one_row_has_a_point():
    assert all(np.isnan(interval(np.array([np.nan, np.nan]))))
    means = Resamples(5, count=50).means(np.zeros((0, 1)), np.zeros(5, bool))
    assert np.isnan(means).all()
    assert interval(Resamples(1, count=50).means(np.ones((1, 1)), np.ones(1, bool))[:, 0]) == (1.0, 1.0)


def test_a_difference_that_is_always_there_has_no_chance_and_none_has_every():
    assert chance_of_no_difference(np.full(999, 0.1)) == pytest.approx(0.002)
    assert chance_of_no_difference(np.zeros(1000)) == 1
    assert chance_of_no_difference(DRAW.normal(0, 1, 20000)) == pytest.approx(1, abs=0.05)
    assert chance_of_no_difference(DRAW.normal(1.96, 1, 200000)) == pytest.approx(0.05, abs=0.005)

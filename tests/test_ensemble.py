import numpy as np
import pytest

from ferflow.ensemble import combine, fit_weights

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 300)


def probabilities(truth: np.ndarray, skill: float) -> np.ndarray:
    scores = RNG.gamma(1, 1, (len(truth), 3))
    scores[np.arange(len(truth)), truth] += skill
    return scores / scores.sum(axis=1, keepdims=True)


def test_weights_lie_on_the_simplex_and_favour_skill():
    stacked = np.stack([probabilities(TRUTH, skill) for skill in (0, 3, 0)])
    weights = fit_weights(stacked, TRUTH)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights.argmax() == 1


def test_the_mixture_is_never_worse_than_its_best_member_where_it_was_fitted():
    stacked = np.stack([probabilities(TRUTH, skill) for skill in (1, 2, 2)])

    def log_loss(values: np.ndarray) -> float:
        return float(-np.log(values[np.arange(len(TRUTH)), TRUTH]).mean())

    assert log_loss(combine(stacked, fit_weights(stacked, TRUTH))) <= min(map(log_loss, stacked)) + 1e-6


def test_values_are_weighted_by_their_error_and_missing_labels_do_not_count():
    truth = RNG.uniform(-1, 1, (200, 2))
    stacked = np.stack([truth + RNG.normal(0, 0.5, truth.shape), truth + RNG.normal(0, 0.1, truth.shape)])
    stacked[:, 150:] = 9.0
    truth[150:] = np.nan
    assert fit_weights(stacked, truth)[1] > 0.9


def test_without_labels_or_with_one_member_weights_are_equal():
    stacked = np.stack([probabilities(TRUTH, 1)] * 2)
    assert fit_weights(stacked, np.full(300, -1)).tolist() == [0.5, 0.5]
    assert fit_weights(stacked[:1], TRUTH).tolist() == [1.0]

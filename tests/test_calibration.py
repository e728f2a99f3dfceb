import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from ferflow.calibration import NEVER, certain_above, coverage, fit_temperature, reliability, tempered
from ferflow.metrics.ece import score
from ferflow.model import tempered as in_torch

DRAW = np.random.default_rng(0)


def answers(count: int = 4000, sharpness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure by ``sharpness``, and truths drawn from the right ones."""
    right = DRAW.dirichlet(np.ones(5), count)
    truth = np.array([DRAW.choice(5, p=row) for row in right])
    return tempered(right, 1 / sharpness), truth


def test_the_temperature_undoes_what_made_them_too_sure():
    shares, truth = answers()
    temperature = fit_temperature(shares, truth)
    assert temperature == pytest.approx(3.0, rel=0.1)
    softened = tempered(shares, temperature)
    assert score(truth, softened) < 0.02 < 0.1 < score(truth, shares)
    assert (softened.argmax(axis=1) == shares.argmax(axis=1)).all()
    assert tempered(softened, 1 / temperature) == pytest.approx(shares, abs=2e-3)
    assert in_torch(torch.from_numpy(shares), temperature).numpy() == pytest.approx(softened, abs=1e-6)
    assert fit_temperature(shares, np.full(len(truth), -1)) == 1.0


def test_the_error_of_calibration_is_torchmetrics():
    shares, truth = answers(500)
    expected = multiclass_calibration_error(torch.from_numpy(shares), torch.from_numpy(truth), 5, n_bins=15, norm="l1")
    assert score(truth, shares) == pytest.approx(float(expected), abs=1e-6)


def test_bins_hold_every_labelled_face():
    shares, truth = answers(500)
    truth[:100] = -1
    table = reliability(shares, truth)
    assert table["n"].sum() == 400
    weighted = (table["n"] * (table["confidence"] - table["accuracy"]).abs()).sum() / 400
    assert weighted == pytest.approx(score(truth[100:], shares[100:]), abs=1e-6)


def test_a_threshold_promises_its_accuracy_and_no_more_than_it_can():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.5, 0.5]])
    truth = np.array([0, 0, 1, 0, -1])
    assert certain_above(shares, truth, 1.0) == pytest.approx(0.9), "of two that are as sure one is wrong"
    assert certain_above(shares, truth, 0.7) == 0.0, "all together are right in 3 of 4"
    assert certain_above(shares, 1 - np.maximum(truth, 0), 0.9) == NEVER
    assert certain_above(shares, np.full(5, -1), 0.9) == 0.0
    table = coverage(shares, truth, points=4)
    assert table["coverage"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert table["accuracy"].tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert coverage(shares, np.full(5, -1)).empty

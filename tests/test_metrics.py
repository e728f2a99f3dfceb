"""Every metric against torchmetrics or scipy, or by hand; and what it says of input that has little to say."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torchmetrics.functional import classification as tm
from torchmetrics.functional import regression as tmr

from ferflow.metrics import of_kind
from ferflow.registry import get, names

DRAW = np.random.default_rng(0)
CLASSES = 5
TRUTH = DRAW.integers(0, CLASSES, 200)
SHARES = DRAW.dirichlet(np.ones(CLASSES), 200).astype(np.float32)
SHARES[np.arange(200), TRUTH] += 0.3
SHARES /= SHARES.sum(axis=1, keepdims=True)
VALUES = DRAW.uniform(-1, 1, 200)
FOUND = VALUES * 0.6 + DRAW.normal(0.1, 0.3, 200)

T, S = torch.from_numpy(TRUTH), torch.from_numpy(SHARES)
V, F = torch.from_numpy(VALUES), torch.from_numpy(FOUND)
GUESS = SHARES.argmax(axis=1)
REFERENCES = {
    "accuracy": lambda: (GUESS == TRUTH).mean(),
    "balanced_accuracy": lambda: tm.multiclass_recall(S, T, CLASSES, average="macro"),
    "macro_precision": lambda: tm.multiclass_precision(S, T, CLASSES, average="macro"),
    "macro_f1": lambda: tm.multiclass_f1_score(S, T, CLASSES, average="macro"),
    "micro_f1": lambda: tm.multiclass_f1_score(S, T, CLASSES, average="micro"),
    "kappa": lambda: tm.multiclass_cohen_kappa(S, T, CLASSES),
    "top2": lambda: tm.multiclass_accuracy(S, T, CLASSES, average="micro", top_k=2),
    "top3": lambda: tm.multiclass_accuracy(S, T, CLASSES, average="micro", top_k=3),
    "roc_auc": lambda: tm.multiclass_auroc(S, T, CLASSES, average="macro"),
    "pr_auc": lambda: tm.multiclass_average_precision(S, T, CLASSES, average="macro"),
    "log_loss": lambda: torch.nn.functional.nll_loss(S.double().log(), T),
    "brier": lambda: ((S.double() - torch.nn.functional.one_hot(T, CLASSES)) ** 2).sum(dim=1).mean(),
    "ece": lambda: tm.multiclass_calibration_error(S, T, CLASSES, n_bins=15, norm="l1"),
    "mae_groups": lambda: np.abs(GUESS - TRUTH).mean(),
    "within_one": lambda: (np.abs(GUESS - TRUTH) < 2).mean(),
    "mse": lambda: tmr.mean_squared_error(F, V),
    "rmse": lambda: tmr.mean_squared_error(F, V, squared=False),
    "mae": lambda: tmr.mean_absolute_error(F, V),
    "ccc": lambda: biased(tmr.concordance_corrcoef),
    "pearson": lambda: pearsonr(VALUES, FOUND).statistic,
    "sign_agreement": lambda: ((VALUES > 0) == (FOUND > 0)).mean(),
}


def biased(_):
    """Lin's coefficient by its formula; torchmetrics divides by n - 1."""
    spread = VALUES.var() + FOUND.var() + (VALUES.mean() - FOUND.mean()) ** 2
    return 2 * ((VALUES - VALUES.mean()) * (FOUND - FOUND.mean())).mean() / spread


@pytest.mark.parametrize("name", names("metrics"))
def test_a_metric_is_what_its_reference_says(name):
    metric = get("metrics", name)
    found = metric(VALUES, FOUND) if metric.kind == "affect" else metric(TRUTH, SHARES)
    assert found == pytest.approx(float(REFERENCES[name]()), abs=1e-5)


def test_lin_s_coefficient_is_nearly_torchmetrics():
    assert get("metrics", "ccc")(VALUES, FOUND) == pytest.approx(float(tmr.concordance_corrcoef(F, V)), abs=0.01)


@pytest.mark.parametrize("name", list(of_kind("classification", "ordered")))
def test_little_input_has_a_defined_answer(name):
    metric = get("metrics", name)
    perfect = np.eye(3, dtype=np.float32)
    nothing_to_tell_apart = {"kappa", "roc_auc", "pr_auc", "top3"}  # among three classes one of the three best is always right
    one = metric(np.array([1]), perfect[[1]])
    assert np.isnan(one) if name in nothing_to_tell_apart else one == pytest.approx(metric.best, abs=1e-6)
    absent = metric(np.array([0, 0, 1, 1]), perfect[[0, 0, 1, 1]])  # class 2 never occurs
    assert np.isnan(absent) if name == "top3" else absent == pytest.approx(metric.best, abs=1e-6)
    constant = metric(np.array([0, 1, 2, 0]), np.full((4, 3), 1 / 3, np.float32))
    assert np.isnan(constant) if name == "top3" else np.isfinite(constant)
    assert constant != pytest.approx(metric.best) or name == "top3"


@pytest.mark.parametrize("name", list(of_kind("affect")))
def test_little_affect_has_a_defined_answer(name):
    metric, values = get("metrics", name), np.array([0.5, -0.25, 0.125])
    assert metric(values, values) == pytest.approx(metric.best)
    constant = metric(values, np.full(3, 0.1))
    assert constant == 0 if name == "ccc" else np.isnan(constant) if name == "pearson" else np.isfinite(constant)
    one = metric(np.array([0.5]), np.array([0.5]))
    assert np.isnan(one) if name in ("ccc", "pearson") else one == metric.best

"""Ways to combine members, the choice between them, and the network that does the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TASKS

from ferflow import ensemble as choosing
from ferflow.calibration import fit_temperature
from ferflow.combiners import Combination
from ferflow.combiners._loss import loss
from ferflow.ensemble import candidates
from ferflow.model import EnsembleNetwork
from ferflow.registry import get, names

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 300)
CLASSIFIERS = names("combiners")
FOR_AFFECT = [name for name in CLASSIFIERS if getattr(get("combiners", name), "for_affect", False)]


def probabilities(truth: np.ndarray, skill: float) -> np.ndarray:
    scores = RNG.gamma(1, 1, (len(truth), 3))
    scores[np.arange(len(truth)), truth] += skill
    return scores / scores.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def stacked():
    return np.stack([probabilities(TRUTH, skill) for skill in (1, 3, 0)])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_combination_gives_probabilities_and_asks_whom_it_weighs(name, stacked):
    found = get("combiners", name)(stacked, TRUTH)
    shares = found(stacked)
    assert shares.dtype == np.float32
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert len(found.weights) == 3
    spread = found.among([0, 2, 4], 5)
    wide = np.zeros((5, *stacked.shape[1:]))
    wide[[0, 2, 4]] = stacked
    assert spread(wide) == pytest.approx(shares, abs=1e-6)
    assert [bool(weight) for weight in spread.weights][1::2] == [False, False]


@pytest.mark.parametrize("name", ["weighted_mean", "greedy", "best", "stacking"])
def test_what_is_fitted_is_no_worse_than_the_best_member_where_it_was_fitted(name, stacked):
    found = get("combiners", name)(stacked, TRUTH)
    assert loss(found(stacked), TRUTH) <= min(loss(member, TRUTH) for member in stacked) + 1e-6
    assert np.argmax(found.weights) == 1 or name == "stacking"


@pytest.mark.parametrize("name", FOR_AFFECT)
def test_values_are_combined_by_their_error(name):
    truth = RNG.uniform(-1, 1, (200, 2))
    values = np.stack([truth + RNG.normal(0, 0.5, truth.shape), truth + RNG.normal(0, 0.1, truth.shape)])
    weights = get("combiners", name)(values, truth).weights
    assert weights == [0.5, 0.5] if name == "mean" else weights[1] > 0.9


def test_the_best_way_is_found_by_cross_validation_and_missing_labels_do_not_count(stacked):
    target = np.where(np.arange(300) < 250, TRUTH, -1)
    misleading = stacked.copy()
    misleading[:, 250:] = 1 / 3
    found = candidates(misleading, target, fixed={"pair": [0.55, 0.45, 0]})
    assert [one.loss for one in found] == sorted(one.loss for one in found)
    assert {one.name for one in found} == {*CLASSIFIERS, "pair"}
    pair = next(one for one in found if one.name == "pair")
    assert pair.combination.weights == [0.55, 0.45, 0]
    again = candidates(stacked, target, ways=("mean", "best"))
    assert {one.name for one in again} == {"mean", "best"}


def test_stacking_on_noise_is_not_chosen_for_what_it_learned_by_heart():
    truth = RNG.integers(0, 7, 60)
    noise = RNG.dirichlet(np.ones(7), (12, 60))
    found = {one.name: one for one in candidates(noise, truth)}
    fitted = loss(found["stacking"].combination(noise), truth)
    assert fitted < found["stacking"].loss, "on faces that it has seen it looks better than it is"


def test_temperature_and_loss_are_of_faces_that_a_fit_has_not_seen():
    truth = RNG.integers(0, 7, 400)
    members = np.stack([RNG.dirichlet(np.ones(7), 400) * 0.7 + 0.3 * np.eye(7)[truth] * RNG.random((400, 1)) for _ in range(6)])
    members /= members.sum(axis=2, keepdims=True)
    for one in candidates(members, truth):
        assert one.loss == pytest.approx(loss(one.held_out, truth))
        assert one.combination.temperature == pytest.approx(
            one.combination.temperature * fit_temperature(one.held_out, truth), rel=0.02
        ), "its held-out answers need no other temperature"
    stacking = next(one for one in candidates(members, truth) if one.name == "stacking")
    assert loss(stacking.combination(members), truth) < stacking.loss


def test_of_very_many_faces_some_drawn_by_lot_are_looked_at(stacked, monkeypatch):
    monkeypatch.setattr(choosing, "MOST_FACES", 90)
    for one in candidates(stacked, TRUTH):
        assert one.held_out.shape == (300, 3)
        assert one.held_out.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_without_labels_there_is_the_plain_mean_and_a_class_without_faces_is_never_stacking_s_answer(stacked):
    (only,) = candidates(stacked, np.full(300, -1))
    assert (only.name, only.combination.weights) == ("mean", [1 / 3] * 3)
    known = TRUTH != 2
    found = get("combiners", "stacking")(stacked[:, known], TRUTH[known])
    assert set(found(stacked[:, known]).argmax(axis=1)) <= {0, 1}
    assert get("combiners", "stacking")(stacked[:, TRUTH == 1], TRUTH[TRUTH == 1]).matrix is None


def test_the_network_says_what_the_tables_said():
    """The same outputs by torch, as they are exported, and by numpy, as they were judged."""

    class Member(torch.nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.outputs = outputs

        def predict(self, faces):
            return {task: torch.from_numpy(values) for task, values in self.outputs.items()}

    draw = np.random.default_rng(1)
    classes = {task: len(names) for task, names in TASKS.items()}
    members = [{task: draw.dirichlet(np.ones(k), 20).astype(np.float32) for task, k in classes.items()} for _ in range(3)]
    truth = draw.integers(0, 8, 20)
    stacked = np.stack([member["expression"] for member in members])
    for name in CLASSIFIERS:
        how = replace(get("combiners", name)(stacked, truth), temperature=1.7)
        network = EnsembleNetwork([Member(member) for member in members], {"expression": how, "gender": Combination([0, 0, 1.0])})
        expression, gender = network(torch.zeros(20, 4, 4, 3, dtype=torch.uint8))
        assert expression.numpy() == pytest.approx(how(stacked), abs=1e-5), name
        assert torch.equal(gender, torch.from_numpy(members[2]["gender"]))

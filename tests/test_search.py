"""Hyperparameter search: trials count across calls, a broken one is tried again, bad ones are pruned, all are recorded."""

import shutil

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from ferflow import params
from ferflow.faces import Faces
from ferflow.params import ParamsError, Range, Search, Split
from ferflow.search import search, with_values
from ferflow.splitting import split
from ferflow.stages import MANIFEST, SPLITS
from ferflow.tables import read_labels

TASKS = {"expression": ("happy", "sad")}
SPACE = {"lr": Range(low=1e-5, high=1e-1, log=True), "recipe": ["none", "crp"], "options.width": Range(low=4, high=8)}


@pytest.fixture
def member(settings):
    return settings.member("gray-cnn").model_copy(update={"epochs": 2, "batch_size": 8, "options": {"width": 4}, "image_size": 0})


@pytest.fixture
def faces():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 24, 24, 1), dtype=np.uint8)
    pixels[::2] //= 3  # sad faces are dark
    target = np.tile([1, 0], 16)
    return Faces([str(i) for i in range(32)], pixels, {"expression": target})


def test_a_search_goes_on_where_it_was_and_decides_by_the_score(member, faces, tmp_path):
    tried = []
    run = lambda trials: search("m", member, Search(trials=trials, space=SPACE), TASKS, faces, faces, 1, tmp_path, tried.append)  # noqa: E731
    run(2)
    assert [trial.number for trial in tried] == [0, 1]
    assert all(trial.state == "complete" and len(trial.history) == 2 for trial in tried)
    study = run(4)
    assert len(tried) == 4, "the two of the first call count"
    assert {tuple(sorted(trial.values)) for trial in tried} == {("lr", "options.width", "recipe")}
    scores = [trial.score for trial in tried if trial.score is not None]
    assert study.best_value == max(scores)


def test_a_trial_that_was_under_way_is_tried_again(member, faces, tmp_path):
    calls = []

    def killed(trial):
        calls.append(trial)
        raise KeyboardInterrupt  # after the second trial

    space = Search(trials=2, space=SPACE)
    with pytest.raises(KeyboardInterrupt):
        search("m", member, space, TASKS, faces, faces, 1, tmp_path, killed)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'm.db'}")
    left = study.ask({"lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)})  # as a kill leaves it
    again = []
    found = search("m", member, space, TASKS, faces, faces, 1, tmp_path, again.append)
    assert [trial.number for trial in again] == [2]
    assert again[0].values["lr"] == pytest.approx(left.params["lr"])
    assert found.trials[1].state == optuna.trial.TrialState.FAIL


def test_a_hopeless_variant_is_given_up_early(member, faces, tmp_path, monkeypatch):
    rates = lambda trial, key, found: 1e-9 if trial.number == 4 else 0.02  # noqa: E731
    monkeypatch.setattr("ferflow.search._suggest", rates)
    tried = []
    space = Search(trials=6, epochs=12, space={"lr": [0.02, 1e-9]})
    search("m", member, space, TASKS, faces, faces, 1, tmp_path, tried.append)
    pruned = [trial for trial in tried if trial.state == "pruned"]
    assert [trial.number for trial in pruned] == [4]
    assert all(len(trial.history) < 12 for trial in pruned)
    assert all(trial.score is None for trial in pruned)


def test_a_later_call_draws_other_values(member, faces, tmp_path):
    tried = []
    for trials in (2, 4):
        space = Search(trials=trials, epochs=1, space={"lr": SPACE["lr"]})
        search("m", member, space, TASKS, faces, faces, 1, tmp_path, tried.append)
    assert len({trial.values["lr"] for trial in tried}) == 4


def test_a_variant_that_cannot_be_is_tried_once_and_the_search_goes_on(member, faces, tmp_path):
    tried = []
    space = Search(trials=3, epochs=1, space={"batch_size": [7, 8]})
    study = search("m", member, space, TASKS, faces, faces, 2, tmp_path, tried.append)
    refused = [trial for trial in tried if trial.values["batch_size"] == 7]
    assert refused, "the seed draws both"
    assert all("must be even" in trial.state and trial.score is None for trial in refused)
    assert not study.get_trials(states=(optuna.trial.TrialState.RUNNING,))


def test_what_breaks_in_an_unforeseen_way_is_tried_once_too(member, faces, tmp_path):
    tried = []
    space = Search(
        trials=3, epochs=1, space={"pretrained": [str(tmp_path / "not there.pth"), False], "backbone": ["timm", "cnn"]}
    )
    study = search("m", member, space, TASKS, faces, faces, 2, tmp_path, tried.append)
    assert len(tried) == 3
    assert any(trial.score is None and "Error" in trial.state for trial in tried)
    assert not study.get_trials(states=(optuna.trial.TrialState.RUNNING,))


def test_other_labels_or_pixels_are_another_study(member, faces, tmp_path):
    tried, space = [], Search(trials=1, epochs=1, space={"lr": [0.01]})
    relabelled = Faces(faces.ids, faces.pixels, {"expression": 1 - faces.targets["expression"]})
    darker = Faces(faces.ids, faces.pixels // 2, faces.targets)
    for data in (faces, faces, relabelled, darker):
        search("m", member, space, TASKS, data, faces, 1, tmp_path, tried.append)
    assert len(tried) == 3


def test_the_score_of_a_resumed_trial_counts_the_epochs_before(member, faces, tmp_path, monkeypatch):
    space, tried = Search(trials=1, space={"lr": [0.01]}), []
    monkeypatch.setattr("optuna.study.Study.tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # killed between the last epoch and the note of it
        search("m", member, space, TASKS, faces, faces, 1, tmp_path, tried.append)
    monkeypatch.undo()
    search("m", member, space, TASKS, faces, faces, 1, tmp_path, tried.append)
    assert len(tried) == 1
    assert tried[0].score == max(row["val_accuracy"] for row in tried[0].history) > 0


def test_another_member_or_space_is_another_study_and_unknown_keys_are_refused_at_once(member, faces, tmp_path):
    tried = []
    space = Search(trials=1, epochs=1, space={"lr": [0.01, 0.02]})
    for variant in (member, member, member.model_copy(update={"dropout": 0.3})):
        search("m", variant, space, TASKS, faces, faces, 1, tmp_path, tried.append)
    assert len(tried) == 2
    for key, words in (("learnrate", "no key 'learnrate'"), ("modality", "changes what is loaded"), ("lr.x", "no key 'lr.x'")):
        with pytest.raises(ValueError, match=words):
            search("m", member, Search(space={key: [1]}), TASKS, faces, faces, 1, tmp_path, tried.append)


def test_values_are_checked_as_params_are(member):
    assert with_values(member, {"options.width": 6, "lr": 0.5}).options == {"width": 6}
    with pytest.raises(ValueError, match="lr"):
        with_values(member, {"lr": -1})
    with pytest.raises(ValueError, match="low 3 must be less than high 2"):
        Range(low=3, high=2)


def test_trials_are_child_runs_of_their_search(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    from ferflow import tracking

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for number, score in ((0, 0.5), (1, 0.7)):
        run = tracking.MemberRun(f"m trial {number}", {"lr": 0.1}, [{"epoch": 1, "score": score}], {"score": score}, [])
        tracking.record_trial("e", "search m", run)
    runs = mlflow.search_runs(experiment_names=["e"])
    parents = runs["tags.mlflow.parentRunId"].dropna().unique()
    assert len(runs) == 3
    assert len(parents) == 1
    assert sorted(runs["metrics.score"].dropna()) == [0.5, 0.7]


def test_without_a_space_the_command_shows_one(project_with_params):
    from ferflow import searching

    with pytest.raises(Exception, match="no block 'search'"):
        searching.run("gray-cnn")
    with pytest.raises(ParamsError, match="no member is called"):
        params.load().member("x")


@pytest.fixture
def project_with_params(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_project(manifest, tmp_path, monkeypatch):
    """A folder with a manifest, its splits, a space of two learning rates, and a database for MLflow."""
    mlflow = pytest.importorskip("mlflow")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    small = {"backbone": "cnn", "modality": "gray", "recipe": "none", "batch_size": 16, "score": "loss", "options": {"width": 4}}
    raw["dataset"]["image_size"], raw["members"] = 32, {"gray": small}
    raw["seed"] = 4  # of its two rates the second is better
    raw["search"] = {"trials": 2, "epochs": 1, "space": {"lr": {"low": 0.001, "high": 0.1, "log": True}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    (tmp_path / "data").mkdir()
    shutil.copy(manifest, tmp_path / MANIFEST)
    labels = read_labels(manifest)
    groups = pd.DataFrame({"same": range(len(labels)), "near": range(len(labels))}, index=labels["id"])
    split(labels, groups, Split(val=0.2, test=0.2), seed=0).to_parquet(tmp_path / SPLITS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    return raw


def test_the_command_tries_records_and_lists_the_best_first_and_once(small_project, capsys):
    import mlflow

    from ferflow import searching

    summary = searching.run("gray")
    assert summary.title.startswith("search gray: 2 trials")
    scores = [row["score"] for row in summary.rows]
    assert scores[0] > scores[1]
    assert [row["trial"] for row in summary.rows] == [1, 0]
    assert capsys.readouterr().out.count(": complete {'lr': ") == 2
    runs = mlflow.search_runs(experiment_names=[small_project["register"]["experiment"]])
    parent = runs[runs["tags.search"] == "search gray"]
    trials = runs[runs["tags.mlflow.parentRunId"].notna()].set_index("tags.member")
    assert (len(runs), len(parent)) == (3, 1)
    assert set(trials["tags.mlflow.parentRunId"]) == set(parent["run_id"])
    assert set(trials["params.state"]) == {"complete"}
    for row in summary.rows:
        recorded = trials.loc[f"gray trial {row['trial']}"]
        assert float(recorded["params.lr"]) == pytest.approx(row["lr"])
        assert round(recorded["metrics.score"], 4) == round(-recorded["metrics.val_loss"], 4) == row["score"]
    assert searching.run("gray") == summary
    assert len(mlflow.search_runs(experiment_names=[small_project["register"]["experiment"]])) == 3

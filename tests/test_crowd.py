"""FER+ from its files to a release: votes are shares in the manifest, a member learns from them, and its release has no crowd."""

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from ferflow import params, training
from ferflow.datasets.ferplus import COLUMNS
from ferflow.faces import Faces, load_faces, tasks_of
from ferflow.ingestion import ingest
from ferflow.params import Dataset, Split
from ferflow.splitting import split
from ferflow.stages import MANIFEST, SPLITS, StageError, export, train
from ferflow.tables import load_labels, read_labels
from ferflow.training import _targets, predict

WORDS = {"happy": "happiness", "sad": "sadness"}  # FER+'s own, where they are not ours
SPECIAL = {"tied": {"happiness": 5, "sadness": 5}, "laughed_at": {"contempt": 5, "fear": 5}, "unknown": {"unknown": 9, "NF": 1}}


def write_source(rows: list[dict], root: Path) -> None:
    """FER-2013's folders with votes beside: six of ten for a face's own label, three for neutral, one for contempt."""
    table = {}
    seven = [row for row in rows if row["expression"] != "contempt"]
    for number, row in enumerate(seven):
        names = [*SPECIAL, "unvoted", "scorned"]
        name = names[number] if number < len(names) else f"face{number}"
        part = "test" if name == "scorned" or number % 5 == 4 else "train"
        path = root / "faces" / part / row["expression"] / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"])
        counts = dict.fromkeys(COLUMNS, 0)
        for word, count in ((WORDS.get(row["expression"], row["expression"]), 6), ("neutral", 3), ("contempt", 1)):
            counts[word] += count
        table[path.name] = counts | dict.fromkeys(COLUMNS, 0) | SPECIAL[name] if name in SPECIAL else counts
    del table["unvoted.png"]
    table["scorned.png"] = dict.fromkeys(COLUMNS, 0) | {"contempt": 10}
    pd.DataFrame(table).T.rename_axis("fer2013_image").to_csv(root / "votes.csv")


@pytest.fixture(scope="module")
def project(drawn_rows, tmp_path_factory):
    """A folder with the manifest and the splits of a small FER+, and a member that learns from its votes."""
    folder = tmp_path_factory.mktemp("crowd")
    write_source(drawn_rows, folder)
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    options = {"votes": str(folder / "votes.csv"), "labels": "original"}
    raw["dataset"] = {"source": "ferplus", "path": str(folder / "faces"), "image_size": 32, "options": options}
    raw["training"]["label_smoothing"] = 0.0
    member = {"backbone": "cnn", "modality": "gray", "recipe": "none", "epochs": 1, "batch_size": 16}
    raw["members"] = {"listening": member | {"options": {"width": 4}, "task_weights": {"crowd": 1}}}
    raw["export"] |= {"model": "listening", "formats": ["onnx"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ingest(Dataset.model_validate(raw["dataset"]), 0, MANIFEST)
        labels = read_labels(MANIFEST)
        groups = pd.DataFrame({"same": range(len(labels)), "near": range(len(labels))}, index=labels["id"])
        split(labels, groups, Split(val=0.2, test=0.2), seed=0).to_parquet(SPLITS)
    return folder


@pytest.fixture(autouse=True)
def in_project(project, monkeypatch):
    monkeypatch.chdir(project)


@pytest.fixture(scope="module")
def loaded(project):
    """The tasks of the training faces, and all faces with their targets by name."""
    labels = load_labels(project / MANIFEST, project / SPLITS)
    tasks = tasks_of(labels)
    return tasks, load_faces(project / MANIFEST, labels, ("train", "val", "test"), 32, "gray", tasks)


def row_of(faces: dict[str, Faces], name: str) -> tuple[Faces, int]:
    return next((one, row) for one in faces.values() for row, id_ in enumerate(one.ids) if id_.endswith(f"-{name}"))


def test_votes_are_shares_of_the_classes_that_the_task_knows(loaded):
    tasks, faces = loaded
    known = tasks["crowd"]
    assert len(known) == 7
    assert "contempt" not in known, "for no training face it has the most votes"
    expected = {
        "tied": {"happy": 0.5, "sad": 0.5},
        "laughed_at": {"fear": 1.0},
        "unknown": {},
        "unvoted": {},
        "scorned": {},
    }
    for name, shares in expected.items():
        one, row = row_of(faces, name)
        assert one.soft["crowd"][row] == pytest.approx([shares.get(word, 0.0) for word in known], abs=1e-6), name
        assert one.targets["crowd"][row] == -1, name
        assert one.targets["expression"][row] >= 0, "FER-2013's own label stands beside"
    for one in faces.values():
        plain = [row for row, id_ in enumerate(one.ids) if "-face" in id_]
        own = one.targets["expression"][plain]
        assert (one.targets["crowd"][plain] == own).all()
        expected_rows = np.eye(7)[own] * 6 / 9 + np.eye(7)[known.index("neutral")] * 3 / 9
        assert one.soft["crowd"][plain] == pytest.approx(expected_rows, abs=1e-6)


def test_votes_alone_are_labels_and_the_crowd_is_learned_in_full(loaded):
    tasks, faces = loaded
    member, alone = params.load().member("listening"), {"crowd": tasks["crowd"]}
    for one in faces.values():
        only = Faces(one.ids, one.pixels, {"crowd": one.targets["crowd"]}, {"crowd": one.soft["crowd"]})
        names = {id_.rpartition("-")[2] for id_ in only.ids}
        left = {id_.rpartition("-")[2] for id_ in only.labelled().ids}
        assert names - left == names & {"unknown", "unvoted", "scorned"}
        assert np.array_equal(_targets(member, alone, only)["crowd"], only.soft["crowd"])
        both = _targets(member, {task: tasks[task] for task in ("expression", "crowd")}, one)
        assert np.array_equal(both["crowd"], one.soft["crowd"])
        assert np.array_equal(both["expression"], np.eye(7)[one.targets["expression"]]), "soft_labels is 0"


def test_a_member_learns_what_people_voted_and_not_only_for_what_most_did(loaded):
    tasks, faces = loaded
    member = params.load().member("listening").model_copy(update={"epochs": 12, "lr": 0.02})
    network = training.train(member, member.learns(tasks), faces["train"], faces["train"], 1).network
    neutral = tasks["crowd"].index("neutral")
    found = {task: output[:, neutral].mean() for task, output in predict(network, faces["train"].pixels).items()}
    assert found["crowd"] == pytest.approx(faces["train"].soft["crowd"][:, neutral].mean(), abs=0.08)
    assert found["crowd"] - found["expression"] > 0.15, "a third of the votes is for neutral, whoever is shown"


def test_a_release_does_not_speak_of_the_crowd():
    train.run("listening")
    assert list(json.loads(Path("models/members/listening/card.json").read_text())["tasks"]) == ["expression", "crowd"]
    export.run()
    assert list(json.loads(Path("models/release/card.json").read_text())["tasks"]) == ["expression"]
    assert [output.name for output in onnx.load("models/release/model.onnx").graph.output] == ["expression"]
    assert not [name for name in pd.read_parquet("models/release/reference.parquet") if "crowd" in name]


def test_a_member_of_the_crowd_alone_is_refused_before_it_trains(monkeypatch):
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["members"]["listening"]["task_weights"] = {"expression": 0, "crowd": 1}
    monkeypatch.setattr(params, "load", lambda: params.parse(raw))
    with pytest.raises(StageError, match="gives no task of this data a weight above 0"):
        train.run("listening")

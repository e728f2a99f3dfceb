"""What the gate is given: of two models that answer differently, each has its own answers, figures and times."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, TASKS

from ferflow import evidence, params
from ferflow.card import Card
from ferflow.exporters import Source
from ferflow.inference import Predictor
from ferflow.model import build
from ferflow.registry import get
from ferflow.tables import load_labels, read_labels


def exported(folder, seed: int) -> evidence.Candidate:
    """A network that has learned nothing, another one for every seed."""
    torch.manual_seed(seed)
    network = build(params.load(ROOT / "params.yaml").member("gray-cnn"), TASKS, 40).eval()
    card = Card(name="t", members={"gray": "cnn"}, input_size=40, modality="gray", tasks=TASKS, dataset="d", parameters=1)
    return evidence.Candidate(seed, get("exporters", "onnx").write(Source(network, card), folder), f"faces {seed}")


@pytest.fixture
def gathered(manifest, tmp_path):
    """Of versions 1 (champion) and 2, whose release is in ``release``; the live faces are those of the manifest."""
    one, two = (exported(tmp_path / str(seed), seed) for seed in (1, 2))
    (tmp_path / "release").mkdir()
    shutil.copy(two.path, tmp_path / "release/model.onnx")
    ids = read_labels(manifest)["id"]
    sides = ["test" if number % 4 == 0 else "train" for number in range(len(ids))]
    pd.DataFrame({"id": ids, "split": sides}).to_parquet(tmp_path / "splits.parquet")
    (tmp_path / "validation.json").write_text(json.dumps({"checks": [{"name": "rows", "passed": True}]}))
    places = {"manifest": manifest, "splits": tmp_path / "splits.parquet", "release": tmp_path / "release"}
    found = evidence.gather(one, two, live=manifest, validation=tmp_path / "validation.json", **places)
    return (one, two), found, places


def test_each_model_has_its_own_answers(gathered, manifest):
    candidates, found, places = gathered
    labels = load_labels(manifest, places["splits"])
    test = labels[labels["split"] == "test"]
    column = "p_expression_happy"
    for candidate, one in zip(candidates, found, strict=True):
        ((alone, _),) = evidence.ask([Predictor(candidate.path)], manifest, test)
        assert one.version == candidate.version
        assert one.test_faces == candidate.test_faces
        np.testing.assert_allclose(one.predictions[column], alone[column], atol=1e-6)
        assert one.predictions["id"].tolist() == one.labels.index.tolist()
        assert len(one.live) == len(labels)
        in_test = one.live["id"].isin(test.index)
        np.testing.assert_allclose(one.live.loc[in_test, column], one.predictions[column], atol=1e-6)
        assert one.latency_ms > 0
        assert one.size_mb == candidate.path.stat().st_size / 1e6
    assert np.abs(found[0].predictions[column] - found[1].predictions[column]).max() > 1e-3, "two models, or nothing is tried"
    assert (found[0].validation, found[1].validation) == (None, [{"name": "rows", "passed": True}])
    assert found[1].parity is None, "the release says nothing of it"


def test_a_release_that_is_not_the_challenger_is_refused(gathered, manifest, tmp_path):
    (one, two), _, places = gathered
    with pytest.raises(ValueError, match="is not version 1: run dvc repro"):
        evidence.gather(two, one, live=None, validation=tmp_path / "none.json", **places)

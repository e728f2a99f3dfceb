"""Which model is served, against a real MLflow store: promotions, rollbacks, and versions that are broken."""

import asyncio
import shutil

import numpy as np
import onnx
import pytest

from ferflow.card import CARD_KEY
from ferflow.finding import Finder, Finding
from ferflow.inference import Predictor
from ferflow.serving import models
from ferflow.serving.models import BrokenModelError, Models, about

FINDER = Finder(Finding("none"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("FERFLOW_MODEL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "STARTER", tmp_path / "starter.onnx")
    return tmp_path


def renamed(release, path, name: str):
    """The same network as another file: its card has another name."""
    model = onnx.load(release)
    card = Predictor(release).card.model_copy(update={"name": name})
    onnx.helper.set_model_props(model, {CARD_KEY: card.model_dump_json()})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def test_without_a_registry_the_release_is_served_else_the_starter(project, release, settings):
    with pytest.raises(BrokenModelError, match="make repro"):
        Models(settings, FINDER)
    shutil.copy(release, project / "starter.onnx")
    served = Models(settings, FINDER)
    assert served.current.source.name == "starter"
    renamed(release, project / "models/release/model.onnx", "mine")
    assert served.look(), "a release that appears is taken up"
    assert (served.current.source.name, served.current.predictor.card.name) == ("release", "mine")
    assert not served.look()
    assert served.get("starter").predictor.card.name == "t"
    assert served.get("starter") is served.get("starter")
    with pytest.raises(LookupError, match="no model is called 'best'; there are release, starter"):
        served.get("best")
    before = served.current
    (project / "models/release/model.onnx").write_bytes(b"half a model")
    assert not served.look(), "a broken file is refused, once"
    assert served.current is before
    told = about(served.current)
    assert (told["version"], told["members"], told["code"]) == ("models/release", ["gray", "rgb"], None)
    served.close()


def test_a_file_that_is_named_comes_first_and_a_broken_release_falls_back(project, release, settings, monkeypatch):
    shutil.copy(release, project / "starter.onnx")
    (project / "models/release").mkdir(parents=True)
    (project / "models/release/model.onnx").write_bytes(b"junk")
    assert Models(settings, FINDER).current.source.name == "starter"
    monkeypatch.setenv("FERFLOW_MODEL", str(renamed(release, project / "other.onnx", "named")))
    assert Models(settings, FINDER).current.source.version == "file other.onnx"


def test_a_network_that_says_nonsense_is_refused(project, release, settings):
    network = onnx.load(release)
    for tensor in network.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = np.full_like(onnx.numpy_helper.to_array(tensor), np.nan)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    (project / "models/release").mkdir(parents=True)
    onnx.save(network, project / "models/release/model.onnx")
    with pytest.raises(BrokenModelError, match="no numbers"):
        Models(settings, FINDER)


@pytest.mark.slow
def test_promotion_and_rollback_take_effect_and_a_broken_version_is_refused(project, release, settings):
    mlflow = pytest.importorskip("mlflow")
    from ferflow import tracking

    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    mlflow.set_registry_uri(None)
    client, name = mlflow.MlflowClient(), settings.register_.model

    def register(path) -> int:
        with mlflow.start_run(experiment_id="0") as run:  # whatever another test made the active one
            mlflow.log_artifact(str(path), "release")
            return int(
                client.create_model_version(name, f"runs:/{run.info.run_id}/release", run.info.run_id, {"code": "c"}).version
            )

    try:
        client.create_registered_model(name)
        for number in (1, 2):
            assert register(renamed(release, project / f"{number}/model.onnx", f"net{number}")) == number
        broken = project / "3/model.onnx"
        broken.parent.mkdir()
        broken.write_bytes(b"no network")
        assert register(broken) == 3
        assert register(renamed(release, project / "4/notes.txt", "x")) == 4, "a version without an ONNX file"
        client.set_registered_model_alias(name, "champion", "1")
        served = Models(settings, FINDER)
        first = served.current
        assert (first.source.version, first.source.code, first.predictor.card.name) == ("ferflow/1", "c", "net1")
        tracking.promote(name, 2)
        assert served.look()
        assert served.current.predictor.card.name == "net2"
        assert served.get("previous").predictor.card.name == "net1"
        faces = np.zeros((1, 40, 40, 3), np.uint8)
        assert asyncio.run(first.batcher.outputs(faces)), "who began with the old one is answered by it"
        tracking.rollback(name)
        assert served.look()
        assert served.current.source.version == "ferflow/1"
        for wrong in (3, 4):
            client.set_registered_model_alias(name, "champion", str(wrong))
            assert not served.look()
            assert not served.look()
            assert served.current.source.version == "ferflow/1"
        client.set_registered_model_alias(name, "champion", "2")
        assert served.look(), "a good version after a broken one is taken up"
        mlflow.set_tracking_uri("http://127.0.0.1:9")
        assert "champion" in served.sources(), "the registry is away: the champion at hand goes on"
        assert not served.look()
        served.close()
    finally:
        mlflow.set_tracking_uri(None)

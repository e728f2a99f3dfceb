"""What several tests need: drawn faces, a small manifest, and the real data where it is there."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from postgres import postgres  # noqa: F401

from ferflow import params
from ferflow.card import Card
from ferflow.datasets import synthetic
from ferflow.detectors import asset
from ferflow.exporters import Source
from ferflow.images import encode_png
from ferflow.ingestion import join
from ferflow.registry import get, names
from ferflow.tables import write_rows
from ferflow.vocabulary import EXPRESSIONS

ROOT = Path(__file__).parent.parent
ACTION_UNITS = ROOT / "src/ferflow/datasets/synthetic.yaml"


@pytest.fixture(autouse=True)
def own_loggers():
    """BentoML's configuration of logging, once called in this process, leaves every logger before it switched off."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "ferflow":
            logging.getLogger(name).disabled = False


@pytest.fixture(scope="module", autouse=True)
def own_registry():
    """MLflow keeps the address that it was last told for the whole process; a file of tests begins without one."""
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


@pytest.fixture(scope="session")
def drawn_rows() -> list[dict]:
    return list(synthetic.load(ACTION_UNITS, seed=3, count=160, size=32))


@pytest.fixture(scope="session")
def manifest(drawn_rows, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "manifest.parquet"
    write_rows(drawn_rows, path.with_suffix(".0"))
    join([path.with_suffix(".0")], path)
    return path


TASKS = {"expression": EXPRESSIONS, "affect": ("valence", "arousal"), "gender": ("male", "female")}


@pytest.fixture(scope="session")
def network():
    """An ensemble of two members that have learned nothing, for faces of 40 x 40."""
    import torch

    from ferflow.combiners import Combination
    from ferflow.model import EnsembleNetwork, build

    torch.manual_seed(0)
    members = [build(params.load(ROOT / "params.yaml").member(name), TASKS, 40).eval() for name in ("gray-cnn", "rgb-resnet")]
    return EnsembleNetwork(members, {task: Combination([0.4, 0.6]) for task in TASKS}).eval()


@pytest.fixture(scope="session")
def release(network, tmp_path_factory) -> Path:
    """That ensemble as an ONNX file."""
    card = Card(
        name="t",
        members={"gray": "cnn", "rgb": "resnet10t"},
        input_size=40,
        modality="rgb",
        tasks=TASKS,
        dataset="d",
        parameters=1,
    )
    return get("exporters", "onnx").write(Source(network, card), tmp_path_factory.mktemp("release"))


@pytest.fixture
def settings() -> params.Params:
    return params.load(ROOT / "params.yaml")


@pytest.fixture
def in_root(monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    path = Path(os.environ.get("FERFLOW_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no real data at {path}; FERFLOW_SHARED says where it lies")
    return path


def png(seed: int = 0, size: int = 48, channels: int = 3) -> bytes:
    shape = (size, size, 3) if channels == 3 else (size, size)
    return encode_png(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8))


def yolo_file(path: Path, table: np.ndarray, side: int | str = 64) -> Path:
    """An ONNX file that gives ``table`` for every picture of ``side`` x ``side`` (a word: of any size)."""
    from onnx import TensorProto, helper, numpy_helper, save

    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    found = helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)
    node = helper.make_node("Constant", [], ["output0"], value=numpy_helper.from_array(table.astype(np.float32)))
    graph = helper.make_graph([node], "yolo", [given], [found])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="session")
def detector_files(shared, tmp_path_factory) -> dict[str, Path]:
    """The files of detectors that are here; of yolo, whose weights are not ours to have, a graph that finds one face."""
    table = np.zeros((1, 5, 84))
    table[0, :, 7] = [32, 32, 20, 24, 0.9]
    files = {name: shared / "models" / wanted.file for name in names("detectors") if (wanted := asset(name))}
    drawn = {"yolo": yolo_file(tmp_path_factory.mktemp("yolo") / "yolo_face.onnx", table)}
    return {name: file for name, file in files.items() if file.is_file()} | drawn

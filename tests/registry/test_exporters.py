"""Every export format answers as the network does, also in a batch of another size; a new file is tested without a new test."""

import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from conftest import TASKS

from ferflow.card import Card
from ferflow.combiners import Combination
from ferflow.exporters import ExportError, Source, card_of
from ferflow.exporters._rebuilt import settings_of
from ferflow.exporting import compare, in_pytorch
from ferflow.images import decode, resize
from ferflow.model import EnsembleNetwork, build
from ferflow.params import Member
from ferflow.registry import get, names

FORMATS = names("exporters")
TOOLS = [name for name in FORMATS if hasattr(get("exporters", name), "missing")]


def entry(name: str):
    """The exporter; skipped where its tool environment is not there (FERFLOW_TOOLS=1 makes it: minutes)."""
    found = get("exporters", name)
    if name in TOOLS and (lacking := found.missing()) and os.environ.get("FERFLOW_TOOLS") != "1":
        pytest.skip(lacking)
    return found


@pytest.fixture(scope="module")
def faces(drawn_rows) -> np.ndarray:
    return np.stack([resize(decode(row["image"]), 40) for row in drawn_rows])


@pytest.fixture(scope="module")
def source(network, release, settings_of_network, faces) -> Source:
    card = Card(name="t", members={"a": "cnn", "b": "r"}, input_size=40, modality="rgb", tasks=TASKS, dataset="d", parameters=1)
    training = {"epochs": {"a": {"loss": [1.0, 0.5]}}}
    return Source(network, card, release, faces[:64], settings_of_network, training)


@pytest.fixture(scope="module")
def settings_of_network(network) -> dict:
    from conftest import ROOT

    from ferflow import params

    settings = params.load(ROOT / "params.yaml")
    return settings_of({name: settings.member(name) for name in ("gray-cnn", "rgb-resnet")}, network, [TASKS, TASKS])


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_answers_as_the_network_does_for_any_batch(name, source, faces, tmp_path):
    exporter = entry(name)
    path = exporter.write(source, tmp_path / "made")
    assert path.parent == tmp_path / "made"
    run = exporter.read(path)
    expected = in_pytorch(source.network, faces)
    found = run(faces[:33])
    assert [output.shape for output in found] == [(33, len(classes)) for classes in TASKS.values()]
    parity = compare([output[:33] for output in expected], found)
    if exporter.exact:
        assert parity["largest_difference"] < 1e-4
    else:
        assert parity["same_class"] >= 0.95
        assert 0 < parity["largest_difference"] < 0.1, "it is another graph, and close to the first"
    if name not in TOOLS:
        assert np.abs(run(faces[:1])[0] - found[0][:1]).max() < 1e-4, "a face's answer does not depend on its neighbours"
    assert exporter.runtime


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_no_export_is_refused_and_named(name, source, faces, tmp_path):
    exporter = entry(name)
    file = tmp_path / sys.modules[exporter.__module__].FILE
    with pytest.raises((ExportError, OSError)):
        exporter.read(file)(faces[:1])
    file.write_bytes(b"junk, and no model at all" * 9)
    with pytest.raises(ExportError):
        exporter.read(file)(faces[:1])


def test_a_model_of_somebody_else_has_no_card(release, tmp_path):
    model = onnx.load(release)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"model\.onnx: .*no ferflow export"):
        get("exporters", "onnx").read(tmp_path / "model.onnx")
    torch.save({"weights": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ExportError, match="no model card"):
        get("exporters", "checkpoint").read(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("name", ["onnx_int8", "openvino", *TOOLS])
def test_what_is_made_from_the_onnx_file_asks_for_it(name, network, source, tmp_path):
    exporter = entry(name)
    with pytest.raises(ExportError, match="write the format onnx first"):
        exporter.write(Source(network, source.card, calibration=source.calibration), tmp_path)


def test_eight_bits_need_faces_and_are_smaller(source, release, tmp_path):
    exporter = get("exporters", "onnx_int8")
    with pytest.raises(ExportError, match="training faces"):
        exporter.write(Source(source.network, source.card, release), tmp_path)
    path = exporter.write(source, tmp_path)
    assert path.stat().st_size < 0.45 * release.stat().st_size
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert card_of(properties["ferflow_card"], path) == source.card
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "QuantizeLinear" in kinds


READ = """
import sys, numpy as np
from pathlib import Path
from ferflow.registry import get
name, file, faces, out = sys.argv[1:]
np.savez(out, *get("exporters", name).read(Path(file))(np.load(faces)))
"""


@pytest.mark.parametrize("name", ["safetensors", "checkpoint"])
def test_files_alone_suffice_to_build_the_network_in_another_process(name, source, faces, tmp_path):
    path = get("exporters", name).write(source, tmp_path / "made")
    moved = shutil.move(tmp_path / "made", tmp_path / "elsewhere") / path.name
    np.save(tmp_path / "faces.npy", faces[:5])
    files = [str(moved), str(tmp_path / "faces.npy"), str(tmp_path / "out.npz")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", READ, name, *files], check=True, cwd=tmp_path)
    found = list(np.load(tmp_path / "out.npz").values())
    assert compare(in_pytorch(source.network, faces[:5]), found)["largest_difference"] < 1e-6


def test_a_checkpoint_holds_all_that_is_known_and_no_code(source, tmp_path):
    content = torch.load(get("exporters", "checkpoint").write(source, tmp_path), weights_only=True)
    assert set(content) == {"weights", "settings", "card", "training"}
    assert content["training"] == source.training
    assert Card.model_validate(content["card"]) == source.card


def test_weights_without_their_config_or_with_another_are_refused(source, tmp_path):
    path = get("exporters", "safetensors").write(source, tmp_path)
    config = tmp_path / "model_config.json"
    text = config.read_text()
    config.write_text(text.replace('"width": 24', '"width": 16'))
    with pytest.raises(ExportError, match="do not make a network"):
        get("exporters", "safetensors").read(path)
    config.unlink()
    with pytest.raises(ExportError, match=r"model_config\.json is not there"):
        get("exporters", "safetensors").read(path)


def test_temperatures_stacking_views_and_odd_heads_come_back(tmp_path, settings, faces):
    torch.manual_seed(1)
    classes = {"expression": TASKS["expression"], "age": ("0-9", "10-19", "20-29")}
    values = {"tta": "flip", "heads": {"age": "ordinal"}, "options": {"width": 4}, "pretrained": "/nowhere/weights.pth"}
    members: dict[str, Member] = {name: settings.member("gray-cnn").model_copy(update=values) for name in ("a", "b")}
    networks = [build(member, classes, 40, weights=False).eval() for member in members.values()]
    networks[0].temperatures = {"expression": 1.7}
    matrix = np.random.default_rng(0).normal(0, 0.3, (2, 8, 8)).tolist()
    stacked = Combination([0.5, 0.5], logs=True, matrix=matrix, bias=[0.1] * 8, temperature=0.8)
    network = EnsembleNetwork(networks, {"expression": stacked, "age": Combination([1.0, 0.0])}).eval()
    card = Card(name="t", members={"a": "cnn"}, input_size=40, modality="gray", tasks=classes, dataset="d", parameters=1)
    described = settings_of(members, network, [classes, classes])
    assert "/nowhere" not in str(described)
    path = get("exporters", "safetensors").write(Source(network, card, settings=described), tmp_path)
    found = get("exporters", "safetensors").read(path)(faces[:9])
    assert compare(in_pytorch(network, faces[:9]), found)["largest_difference"] < 1e-6


def test_no_export_says_where_it_was_made(source, tmp_path):
    from conftest import ROOT

    for name in (name for name in FORMATS if name not in TOOLS):
        path = get("exporters", name).write(source, tmp_path / name)
        for file in path.parent.iterdir():
            assert str(ROOT).encode() not in file.read_bytes(), f"{file.name} holds a path of this machine"


def test_without_uv_the_tool_environment_says_what_to_do(monkeypatch, tmp_path, source):
    monkeypatch.setenv("FERFLOW_TOOLS_ENV", str(tmp_path / "tools"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no tool environment" in get("exporters", "keras").missing()
    with pytest.raises(ExportError, match=r"pip install uv.*--require-hashes -r .*requirements/tensorflow\.txt"):
        get("exporters", "keras").write(source, tmp_path)


def test_without_a_package_index_the_tool_environment_says_what_to_do(monkeypatch, tmp_path, source):
    if shutil.which("uv") is None:
        pytest.skip("no uv here")
    monkeypatch.setenv("FERFLOW_TOOLS_ENV", str(tmp_path / "tools"))
    for name, value in {"UV_OFFLINE": "1", "UV_NO_CACHE": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ExportError, match="FERFLOW_TOOLS_ENV=PATH"):
        get("exporters", "litert").write(source, tmp_path)
    assert not (tmp_path / "tools/.ready").exists(), "a half-made one is made again"


def test_the_tools_are_locked_by_hash_and_name_no_index():
    from conftest import ROOT

    text = (ROOT / "requirements/tensorflow.txt").read_text()
    assert "--hash=sha256:" in text
    assert "http" not in text
    assert "tensorflow==" in text
    assert "tensorflow==" not in (ROOT / "requirements/lock.txt").read_text(), "it never enters our own environment"

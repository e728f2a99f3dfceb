"""docs/errors.md is true: every error on the page is provoked, and says what the page says."""

import re
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, png
from loopback import free_port, giving
from provoking import Place, as_json, form, said

from ferflow import (
    assets,
    components,
    fetching,
    folding,
    gate,
    images,
    livelog,
    params,
    registry,
    retraining,
    starter,
    tables,
    watching,
)
from ferflow.card import CARD_KEY, Card
from ferflow.consent import Crops
from ferflow.finding import Finding
from ferflow.inference import Predictor
from ferflow.params import Member
from ferflow.stages import read_json

PAGE = ROOT / "docs/errors.md"
ROWS = {  # error -> what the page says of it
    found[1]: found[2] for found in re.finditer(r"^\| `([\w-]+)` \| (.+?) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
}
PROVOKED: dict[str, Callable[..., str]] = {}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ID = "0" * 32


def error(name: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Mark what provokes a row of the page; it takes the place, and by their names what fixtures it needs."""

    def mark(function: Callable[..., str]) -> Callable[..., str]:
        PROVOKED[name] = function
        return function

    return mark


def command(name: str, *words: str) -> None:
    """A row that a command says in a fresh project."""
    PROVOKED[name] = lambda place: place.cli(*words)


def raised(name: str, action: Callable[[Place], object]) -> None:
    """A row that a function raises."""
    PROVOKED[name] = lambda place: said(lambda: action(place))


def member(**changes: object) -> Member:
    """The first member of the default parameters, otherwise."""
    known = params.load(ROOT / "params.yaml").member("gray-cnn")
    return known.model_copy(update={"epochs": 1, "batch_size": 16, "options": {"width": 4}} | changes)


# ---- parameters and commands -------------------------------------------------------------------------------------------


@error("params-missing")
def _(place):
    (place.root / "params.yaml").unlink()
    return said(params.load)


@error("params-yaml")
def _(place):
    place.file("params.yaml", "seed: [")
    return said(params.load)


PROVOKED["params-key"] = lambda place: place.settings(training__learning_rate=0.1)
PROVOKED["params-value"] = lambda place: place.settings(training__epochs=0)
PROVOKED["params-entry"] = lambda place: place.settings(members__new={"backbone": "resnet18", "modality": "rgb", "recipe": "crp"})
PROVOKED["params-even"] = lambda place: place.settings(training__batch_size=33)
PROVOKED["params-onnx"] = lambda place: place.settings(export__formats=["openvino"])
PROVOKED["params-name"] = lambda place: place.settings(
    **{"members__my cnn": {"backbone": "cnn", "modality": "rgb", "recipe": "crp"}}
)


@error("params-options")
def _(place):
    from ferflow.model import build

    return said(lambda: build(member(options={"size": 4}), {"expression": ("happy", "sad")}, 32))


command("unknown-preset", "preset", "imagenet")
command("unknown-kind", "list", "networks")
raised("unknown-entry", lambda place: registry.get("exporters", "tflite"))
command("unknown-member", "train", "resnet")
command("no-ablation", "ablation")
command("no-search", "search", "gray-cnn")
command("option-form", "data", "import", "folder", "faces", "--option", "task")


@error("no-package")
def _(place, monkeypatch, capsys):
    from ferflow import cli

    def fails():
        raise ModuleNotFoundError(name="torch.nn")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    return capsys.readouterr().err.removeprefix("ferflow: ").strip()


@error("workers")
def _(place, monkeypatch):
    from ferflow.parallel import workers

    monkeypatch.setenv("FERFLOW_WORKERS", "two")
    return said(workers)


# ---- data --------------------------------------------------------------------------------------------------------------

command("unknown-source", "data", "download", "imagenet")
PROVOKED["fer2013-missing"] = lambda place: place.rows("fer2013", place.root / "data/raw/fer2013.zip")
command("agreement", "data", "download", "rafdb")


@error("offline")
def _(place):
    return said(lambda: fetching.fetch(fetching.Remote(f"http://127.0.0.1:{free_port()}/faces.zip"), place.root))


@error("wrong-hash")
def _(place):
    with giving(b"words") as (address, _):
        return said(lambda: fetching.fetch(fetching.Remote(f"{address}/faces.zip", "0" * 64), place.root))


@error("taken-name")
def _(place):
    place.file("data/raw/faces/happy/1.png", png())
    place.file("faces/happy/1.png", png())
    return place.cli("data", "import", "folder", "faces")


@error("empty-folder")
def _(place):
    (place.root / "faces").mkdir()
    return place.rows("folder", place.root / "faces")


@error("stray-folder")
def _(place):
    place.file("faces/train/happy/1.png", png())
    place.file("faces/happy/2.png", png())
    return place.rows("folder", place.root / "faces")


@error("unknown-class")
def _(place):
    place.file("faces/bored/1.png", png())
    return place.rows("folder", place.root / "faces")


PROVOKED["csv-unknown-column"] = lambda place: place.rows("csv", place.file("t.csv", "image,mood\n1.png,happy\n"))
PROVOKED["csv-no-image"] = lambda place: place.rows("csv", place.file("t.csv", "expression\nhappy\n"))
PROVOKED["csv-value"] = lambda place: place.rows("csv", place.file("t.csv", "image,expression\n1.png,cheerful\n"))
PROVOKED["csv-no-picture"] = lambda place: place.rows("csv", place.file("t.csv", "image,expression\n1.png,happy\n"))


@error("csv-twice")
def _(place):
    place.file("1.png", png())
    return place.rows("csv", place.file("t.csv", "image,id\n1.png,a\n1.png,a\n"))


PROVOKED["bad-zip"] = lambda place: place.rows("folder", place.file("faces.zip", b"PK\x03\x04 cut off"))
PROVOKED["zip-slip"] = lambda place: place.rows("folder", place.archive("../../happy/1.png"))


@error("twice")
def _(place):
    for part in ("a", "b"):
        place.file(f"{part}/t.csv", "image,id\n1.png,x\n")
        place.file(f"{part}/1.png", png())
    from ferflow.ingestion import join
    from ferflow.tables import write_rows

    write_rows([{"id": "x", "image": png(), "source": "s"}] * 2, place.root / "rows.parquet")
    return said(lambda: join([place.root / "rows.parquet"], place.root / "manifest.parquet"))


raised("manifest-missing", lambda place: tables.check_manifest(place.root / "data/manifest.parquet"))


@error("broken-data")
def _(place, manifest):
    from ferflow.stages import validate

    place.data(manifest)
    text = (ROOT / "params.yaml").read_text().replace("min_rows: 100", "min_rows: 1000")
    place.file("params.yaml", text.replace("face_sample: 200", "face_sample: 0"))
    return said(validate.run)


@error("not-empty")
def _(place, manifest):
    place.file("out/mine.txt", "mine")
    return place.cli("data", "export", "out", "--manifest", str(manifest))


# ---- training ----------------------------------------------------------------------------------------------------------

raised("stage-input", lambda place: read_json(place.root / "reports/metrics.json"))


@error("no-task")
def _(place, manifest):
    from ferflow.stages import train

    place.data(manifest)
    weights = "task_weights: {expression: 0, affect: 0, age: 0, gender: 0, race: 0}"
    place.file("params.yaml", re.sub(r"task_weights: \{.*\}", weights, (ROOT / "params.yaml").read_text()))
    return said(lambda: train.run("gray-cnn"))


def _trained(place, manifest, **changes):
    from ferflow.faces import load_faces, tasks_of
    from ferflow.tables import load_labels
    from ferflow.training import train

    place.data(manifest)
    labels = load_labels(place.root / "data/manifest.parquet", place.root / "data/splits.parquet")
    tasks = tasks_of(labels)
    faces = load_faces(place.root / "data/manifest.parquet", labels, ("train", "val"), 32, "gray", tasks)
    return said(lambda: train(member(**changes), tasks, faces["train"], faces["val"], 0))


@error("diverged")
def _(place, manifest):
    return _trained(place, manifest, lr=1e30, clip=0.0, warmup=0.0, schedule="constant", optimizer="sgd")


@error("too-large")
def _(place):
    import torch

    from ferflow.training import _room_for

    def full():
        with _room_for(member()):
            torch.empty(10**15)

    return said(full)


@error("fp16")
def _(place, manifest):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    return _trained(place, manifest, precision="fp16")


PROVOKED["torchrun"] = lambda place, manifest: _trained(place, manifest, nodes=2)


@error("sampling")
def _(place):
    from ferflow.faces import Faces
    from ferflow.training import epoch_order

    pixels = np.zeros((4, 8, 8, 1), np.uint8)
    faces = Faces(["a", "b", "c", "d"], pixels, {"age": np.zeros(4, np.int64)})
    return said(lambda: epoch_order(faces, member(balance="sampling"), 0))


def _backbone(name, variant="", pretrained=False):
    return said(lambda: registry.get("backbones", name)(variant, in_channels=1, image_size=48, pretrained=pretrained))


PROVOKED["timm-name"] = lambda place: _backbone("timm", "resnet17")
PROVOKED["weights-missing"] = lambda place: _backbone("timm", "resnet18", "models/weights.safetensors")
PROVOKED["no-weights"] = lambda place: _backbone("cnn", pretrained=True)


@error("few-for-folds")
def _(place):
    from ferflow import suspects

    target = np.array([0] * 9 + [1])
    return said(lambda: suspects.cross_validated(np.random.default_rng(0).random((10, 2)), target, np.arange(10), 5, 0))


# ---- comparing, evaluating, promoting ----------------------------------------------------------------------------------

command("no-comparison", "compare")


def _compared(place, *words):
    row = {"task": "expression", "metric": "accuracy", "first": "a", "second": "b", "difference": 0.1, "low": 0.0, "high": 0.2}
    place.file("reports/evaluation/comparisons.csv", pd.DataFrame([row]).to_csv(index=False))
    return place.cli("compare", *words)


PROVOKED["not-compared"] = lambda place: _compared(place, "c")
PROVOKED["no-metric"] = lambda place: _compared(place, "--metric", "ccc")


@error("not-an-evaluation")
def _(place):
    place.file("faces/happy/1.png", png())
    place.file("out/mine.txt", "mine")
    return place.cli("evaluate", str(starter.MODEL), "folder", "faces", "--out", "out")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A registry with one version and no champion."""
    import mlflow

    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient()
        client.create_registered_model("ferflow")
        client.create_model_version("ferflow", "models/release")
        yield
    mlflow.set_tracking_uri(None)


PROVOKED["no-challenger"] = lambda place, store: place.cli("promote")
PROVOKED["no-version"] = lambda place, store: place.cli("promote", "7")
PROVOKED["no-previous"] = lambda place, store: place.cli("rollback")


@error("no-store")
def _(place, monkeypatch):
    place.file("photo.png", png())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return place.cli("predict", "photo.png", "--model", "models:/ferflow@champion")


# ---- predictions and exports -------------------------------------------------------------------------------------------

raised("no-model", lambda place: Predictor(place.root / "models/release"))
raised("no-onnx", lambda place: Predictor(b"junk"))
raised("no-card", lambda place: Predictor(place.onnx({})))
raised("old-card", lambda place: Predictor(place.onnx({CARD_KEY: '{"name": "x"}'})))
command("no-pictures", "predict", ".")
raised("no-picture", lambda place: images.read(b"these are words"))
raised("empty-picture", lambda place: images.read(b""))


@error("cut-off")
def _(place):
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))[1].tobytes()
    return said(lambda: images.read(jpeg[: len(jpeg) // 2]))


raised("too-many-pixels", lambda place: images.read(png(size=64), max_pixels=1000))
raised("wrong-array", lambda place: images.read(np.zeros((8, 8, 3), np.float32)))
command("one-output", "predict", "photo.png", "--json", "--csv", "faces.csv")


@error("table-there")
def _(place):
    place.file("photo.png", png())
    place.file("faces.csv", "mine")
    return place.cli("predict", "photo.png", "--model", "starter", "--csv", "faces.csv")


@error("no-detector-file")
def _(place, monkeypatch):
    monkeypatch.setenv("FERFLOW_ASSETS", str(place.root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.root))
    return said(lambda: registry.get("detectors", "yunet")())


raised(
    "not-the-asset",
    lambda place: assets.add(assets.Asset("f.onnx", "http://127.0.0.1/f.onnx", "0" * 64, "MIT"), place.file("f.onnx", "x")),
)
raised("not-a-yolo", lambda place: registry.get("detectors", "yolo")(place.file("yolo.onnx", "x")))
raised("threshold", lambda place: Finding(threshold=2))
command("no-formats", "export", "gray-cnn", "--formats", " ")


def _demanded(name, **found):
    from ferflow.exporting import demand

    allowed = {"agreement": 0.99, "accuracy_drop": 0.1} if "same_class" in found else {"largest_difference": 1e-4}
    return said(lambda: demand(name, {"allowed": allowed, "from_pytorch": {"largest_difference": 0.1} | found}))


PROVOKED["not-exact"] = lambda place: _demanded("openvino")
PROVOKED["int8-differs"] = lambda place: _demanded("onnx_int8", same_class=0.9)

# ---- videos and webcams ------------------------------------------------------------------------------------------------


def _video(path):
    from ferflow.video import Video

    return said(lambda: Video(path))


PROVOKED["video-missing"] = lambda place: _video(place.root / "clip.mp4")
PROVOKED["no-video"] = lambda place: _video(place.file("clip.mp4", "these are words"))
command("nothing-to-write", "video", "clip.mp4", "--no-video", "--timeline", "none")


@error("no-camera")
def _(place):
    from ferflow.camera import Camera

    return said(lambda: Camera("9"))


@error("no-display")
def _(place, monkeypatch):
    from ferflow.webcam import check_window

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return said(check_window)


# ---- the service -------------------------------------------------------------------------------------------------------


def _with_key(place, scopes, path, **request):
    secret = place.keys().add("somebody", scopes)
    return place.asked(path, **request, headers={"x-api-key": secret, "content-type": "application/json"})


FORGET = f'{{"id": "{ID}"}}'
PROVOKED |= {
    "400-empty": lambda place: place.asked("/predict"),
    "400-field": lambda place: place.asked("/predict", **form(("picture", png()))),
    "400-address": lambda place: place.asked("/predict", **as_json({"image": "http://127.0.0.1/x.png"})),
    "400-base64": lambda place: place.asked("/predict", **as_json({"image": "!!!"})),
    "401-key": lambda place: place.asked("/predict", headers={"x-api-key": "wrong"}),
    "401-no-key": lambda place: (place.keys().add("a", ["admin"]), place.asked("/forget", content=FORGET))[1],
    "403-closed": lambda place: place.asked("/forget", **as_json({"id": ID})),
    "403-scope": lambda place: (place.keys().add("boss", ["admin"]), _with_key(place, ["predict"], "/forget", content=FORGET))[1],
    "403-origin": lambda place: place.asked("/predict", headers={"origin": "https://elsewhere.example"}),
    "404": lambda place: place.asked("/predictions"),
    "405": lambda place: place.asked("/predict", "GET"),
    "408": lambda place: place.slow_body(),
    "413": lambda place: place.asked("/predict", **form(("image", bytes(20_000)))),
    "415": lambda place: place.asked("/predict", content=b"x", headers={"content-type": "text/plain"}),
    "429": lambda place: place.asked("/model", "GET", times=3, _settings={"requests_a_minute": 2}),
    "503": lambda place: place.no_room(),
}

# ---- log, keys, monitoring ---------------------------------------------------------------------------------------------

command("no-log", "log")
raised("log-address", lambda place: livelog.summary("mysql://host/name"))


@error("log-version")
def _(place):
    import sqlite3

    from ferflow.livelog.tables import connect, prepare

    with closing(sqlite3.connect(place.root / "live.db")) as database:
        database.execute("CREATE TABLE predictions (id TEXT PRIMARY KEY)")
    return said(lambda: prepare(connect(f"sqlite:///{place.root}/live.db")))


raised("log-column", lambda place: livelog.read("sqlite:///live.db", NOW, NOW, columns=["mood"]))
command("forget-what", "forget")


@error("forget-unknown")
def _(place):
    livelog.PredictionLog("sqlite:///.ferflow/live.db").close()
    return place.cli("forget", ID)


raised("key-name", lambda place: place.keys().add("anonymous", ["predict"]))
raised("key-scope", lambda place: place.keys().add("me", ["everything"]))
raised("key-taken", lambda place: [place.keys().add("me", ["predict"]) for _ in range(2)])
raised("key-unknown", lambda place: place.keys().remove("me"))
raised("keys-damaged", lambda place: place.damaged_keys().all())


@error("monitor-off")
def _(place):
    settings = params.load()
    off = settings.model_copy(update={"serve": settings.serve.model_copy(update={"log": ""})})
    return said(lambda: watching.look(off, NOW, NOW))


@error("monitor-nothing")
def _(place):
    livelog.PredictionLog("sqlite:///.ferflow/live.db").close()
    return said(lambda: watching.look(params.load(), NOW, NOW + timedelta(days=1)))


@error("monitor-reference")
def _(place, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return said(lambda: watching.reference_of(params.load(), "models/release"))


raised("monitor-time", lambda place: watching.span("yesterday", None, 24))

# ---- retraining, pipelines on more machines, servers --------------------------------------------------------------------


raised("retrain-first", lambda place: retraining.begin("by hand", say=str))


@error("retrain-busy")
def _(place):
    with retraining.alone():
        return said(lambda: retraining.alone().__enter__())


@error("retrain-faces")
def _(place, manifest):
    place.data(manifest)
    words = pd.DataFrame([{"id": ID, "time": NOW, "request_id": "", "client": "me", "label": "cheesy", "path": place.root / "x"}])
    crops = Crops(place.root / "crops", 1)
    data = place.root / "data"
    return said(lambda: folding.fold(words, crops, data / "manifest.parquet", data / "splits.parquet", params.load().validation))


PROVOKED["gate-none"] = lambda place, store: place.cli("gate")


@error("gate-class")
def _(place):
    card = Card(
        name="t", members={}, input_size=8, modality="rgb", tasks={"expression": ("happy", "sad")}, dataset="d", parameters=1
    )
    labels = pd.DataFrame({"expression": ["happy"], "age": [np.nan], "gender": [None], "race": [None]}, index=["a"])
    predictions = pd.DataFrame({"id": ["a"], "p_expression_happy": [1.0], "p_expression_sad": [0.0]})
    known = gate.Evidence(1, card, predictions, labels)
    check = next(row for row in gate.decide(known, known, params.load().gate, 100).rows if row.check == "class floor")
    return check.why.removeprefix("cannot be judged: ")


PROVOKED["gate-webhook"] = lambda place: place.settings(retrain__webhook="hooks.example")


@error("pipeline-root")
def _(place):
    from flows.graph import Graph

    return said(Graph)


@error("pipeline-busy")
def _(place):
    from flows import pipeline

    with pipeline._alone():
        return said(lambda: pipeline._alone().__enter__())


@error("pipeline-dask")
def _(place):
    from flows.engines import ENGINES

    return said(ENGINES["dask"](1, f"tcp://127.0.0.1:{free_port()}", params.Resources()).start)


@error("pipeline-gpus")
def _(place, monkeypatch):
    from flows.engines import Processes

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return said(Processes(1, None, params.Resources(gpus=2)).start)


@error("clones-git")
def _(place, monkeypatch):
    from flows.sharing import Sharing

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(place.root.parent))
    return said(lambda: Sharing(None))


@error("clones-commit")
def _(place):
    from flows.sharing import Sharing

    place.git()
    place.file("params.yaml", "seed: 1")
    return said(lambda: Sharing(None))


@error("clones-remote")
def _(place):
    from flows.sharing import Sharing

    place.git()
    return said(lambda: Sharing(SimpleNamespace(remote=lambda: None)))


@error("components-missing")
def _(place, monkeypatch):
    monkeypatch.setenv("FERFLOW_COMPONENTS", "nowhere.env")
    return said(components.apply)


raised("components-line", lambda place: components.read(place.file("components.env", "# here\nPATH=/bin")))

# ---- the page ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FERFLOW_LOG", raising=False)
    return Place(tmp_path)


def test_every_row_has_what_provokes_it_and_no_more_is_provoked():
    assert len(ROWS) >= 60
    assert set(PROVOKED) == set(ROWS)


def test_every_row_says_what_helps():
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            *_, remedy = line.removesuffix(" |").split(" | ")
            assert len(remedy) >= len("as it says"), line


@pytest.mark.parametrize("name", ROWS)
def test_an_error_says_what_the_page_says(name, place, request):
    provoke = PROVOKED[name]
    wanted = provoke.__code__.co_varnames[1 : provoke.__code__.co_argcount]
    words = provoke(place, *(request.getfixturevalue(one) for one in wanted))
    pattern = ".*".join(re.escape(part) for part in ROWS[name].split("…"))
    assert re.match(pattern, words, re.DOTALL), f"{PAGE.name} says:\n  {ROWS[name]}\nferflow says:\n  {words}"

"""docs/errors.md is true and whole: every error on it is provoked, and no message of the code is missing."""

import ast
import asyncio
import html
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from clips import write
from conftest import ROOT, png, yolo_file
from loopback import free_port, giving
from provoking import Place, as_json, form, said
from running import serving, with_params

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
    tracking,
    watching,
)
from ferflow.api import load
from ferflow.card import CARD_KEY, Card
from ferflow.consent import Crops
from ferflow.exporters import Source
from ferflow.finding import Finding, crop_face
from ferflow.inference import Predictor
from ferflow.params import Member
from ferflow.stages import read_json

PAGE = ROOT / "docs/errors.md"
ROWS = {  # error -> what the page says of it
    found[1]: html.unescape(found[2])
    for found in re.finditer(r"^\| `([\w-]+)` \| (.+?) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
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
PROVOKED["params-size"] = lambda place: place.settings(training__image_size=8)
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


@error("params-indent")
def _(place):
    from ferflow.presets import set_members

    place.file("params.yaml", (ROOT / "params.yaml").read_text())
    return said(lambda: set_members(lambda block: block + "    other: {\n"))


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


def changed(place, *words, **blocks):
    """What a command says in a project with other blocks of params.yaml."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    place.file("params.yaml", yaml.safe_dump(raw | blocks))
    return place.cli(*words)


STUDENT = {"backbone": "cnn", "modality": "gray", "recipe": "crp"}
PROVOKED |= {
    "params-block": lambda place: place.settings(members=["gray-cnn"]),
    "params-checks-table": lambda place: place.settings(validate__checks__too_few_rows="quarantine"),
    "params-checks-unreadable": lambda place: place.settings(validate__checks__unreadable="warn"),
    "params-split": lambda place: place.settings(split__val=0.6, split__test=0.4),
    "params-weighting": lambda place: place.settings(training__task_weights="all"),
    "params-tasks": lambda place: place.settings(training__task_weights={"mood": 1.0}),
    "params-heads": lambda place: place.settings(training__heads={"age": "regression"}),
    "params-range": lambda place: place.settings(search={"space": {"lr": {"low": 2, "high": 1}}}),
    "params-serve-heads": lambda place: place.settings(serve__heads=["mood"]),
    "params-floor-class": lambda place: place.settings(gate__class_floors={"bored": 0.1}),
    "params-floor": lambda place: place.settings(gate__class_floors={"happy": 30}),
    "params-number": lambda place: place.settings(members__nan=STUDENT),
    "params-twice": lambda place: place.settings(students={"gray-cnn": STUDENT | {"soft_labels": 0.5}}),
    "params-student": lambda place: place.settings(students={"small": STUDENT | {"soft_labels": 0.0}}),
    "params-fixed": lambda place: place.settings(ensemble__fixed={"mine": {"nobody": 1.0}}),
    "params-fixed-weights": lambda place: place.settings(ensemble__fixed={"mine": {"gray-cnn": 0.0}}),
    "params-export": lambda place: place.settings(export__model="nobody"),
    "ablation-twice": lambda place: changed(place, "ablation", ablation={"axes": {"modality": ["rgb", "rgb"]}}),
    "ablation-own": lambda place: changed(
        place, "ablation", "--write", ablation={"base": STUDENT, "axes": {"name": {"gray-cnn": {}}}}
    ),
    "ablation-reach": lambda place: changed(
        place, "ablation", ablation={"base": {"task_weights": "words"}, "axes": {"task_weights.age": [1]}}
    ),
    "search-split": lambda place: changed(place, "search", "gray-cnn", search={"space": {"lr": [0.1]}}),
}
command("params-member", "data", "suspects", "nobody")
command("option-yaml", "data", "import", "folder", "faces", "--option", "classes={")


def _space(key):
    from ferflow.search import check_space

    return said(lambda: check_space(member(), params.Search(space={key: [1]})))


PROVOKED["search-key"] = lambda place: _space("learning_rate")
PROVOKED["search-loaded"] = lambda place: _space("modality")


@error("dask-address")
def _(place, monkeypatch):
    import dask
    import distributed  # noqa: F401  its defaults come with it, over what was set before

    from ferflow.parallel import each

    monkeypatch.setenv("FERFLOW_DASK", f"tcp://127.0.0.1:{free_port()}")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        return said(lambda: list(each(str, [1, 2], worth_it=True)))


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


def _fetched(place, word, size=1000):
    with giving(b"x" * size) as (address, _):
        return said(lambda: fetching.fetch(fetching.Remote(f"{address}/{word}.zip"), place.root))


PROVOKED["download-http"] = lambda place: _fetched(place, "missing")
PROVOKED["download-short"] = lambda place: _fetched(place, "cut")
PROVOKED["download-broken"] = lambda place: _fetched(place, "chunked")


@error("download-kaggle")
def _(place, monkeypatch):
    import kagglehub

    def refuses(handle):
        raise ConnectionError("no network")

    monkeypatch.setattr(kagglehub, "dataset_download", refuses)
    return place.cli("data", "download", "fer2013")


@error("no-row")
def _(place):
    table = pd.DataFrame({"image": pd.Series([], dtype="string")})
    table.to_parquet(place.root / "t.parquet")
    return place.rows("parquet", place.root / "t.parquet")


def _joined(place, rows):
    from ferflow.ingestion import join

    tables.write_rows(rows, place.root / "rows.parquet")
    return join([place.root / "rows.parquet"], place.root / "manifest.parquet")


@error("no-rows")
def _(place):
    from ferflow.ingestion import ingest
    from ferflow.params import Dataset

    place.file("t.csv", "image_path,emotion,valence,arousal\n")
    known = Dataset(source="affectnet", path=place.root / "t.csv", image_size=32, options={})
    return said(lambda: ingest(known, 0, place.root / "manifest.parquet"))


raised("no-id", lambda place: _joined(place, [{"image": png(), "source": "mine"}]))
raised("row-columns", lambda place: _joined(place, [{"id": "a", "mood": "happy"}]))
raised("row-type", lambda place: _joined(place, [{"id": "a", "age": "old"}]))
raised("manifest-not", lambda place: tables.check_manifest(place.file("manifest.parquet", "words")))


@error("manifest-column")
def _(place):
    pd.DataFrame({"id": ["a"]}).to_parquet(place.root / "manifest.parquet")
    return place.cli("data", "describe", "manifest.parquet")


def _splits(place, manifest, **columns):
    pd.DataFrame(columns).to_parquet(place.root / "splits.parquet")
    return said(lambda: tables.load_labels(manifest, place.root / "splits.parquet"))


PROVOKED["splits-name"] = lambda place, manifest: _splits(place, manifest, id=["a"], split=["dev"])
PROVOKED["splits-twice"] = lambda place, manifest: _splits(place, manifest, id=["a", "a"], split=["val", "val"])


def _exported(place, *rows):
    said_nothing = _joined(place, [{"id": str(number), "image": png(), "source": "s"} | row for number, row in enumerate(rows)])
    assert said_nothing == len(rows)
    return place.cli("data", "export", "out", "--format", "folder", "--manifest", "manifest.parquet")


PROVOKED["export-classes"] = lambda place: _exported(place, {"age": 20.0})
PROVOKED["export-splits"] = lambda place: _exported(place, {"expression": "sad", "official_split": "val"}, {"expression": "sad"})

# ---- what the sources of faces say -------------------------------------------------------------------------------------


def source(name, entry, files, path="raw", **options):
    """A row that a source says of these files in the folder ``raw``, or of one of them."""

    def provoke(place):
        (place.root / "raw").mkdir()
        for file, content in files.items():
            place.file(f"raw/{file}", content)
        return place.rows(entry, place.root / path, **options)

    PROVOKED[name] = provoke


source("path-missing", "folder", {}, "nowhere")
source("table-unreadable", "ferplus", {}, votes="nowhere.csv")


@error("file-large")
def _(place):
    os.truncate(place.file("raw/happy/1.png", png()), 50_000_001)
    return place.rows("folder", place.root / "raw")


def _packed(place, content, **how):
    with zipfile.ZipFile(place.root / "faces.zip", "w", **how) as archive:
        archive.writestr("happy/1.png", content)
    return place.root / "faces.zip"


@error("zip-large")
def _(place):
    return place.rows("folder", _packed(place, bytes(10_000_000), compression=zipfile.ZIP_DEFLATED))


@error("zip-damaged")
def _(place):
    path = _packed(place, b"a picture, one would think")
    path.write_bytes(path.read_bytes().replace(b"one would", b"two would"))
    return place.rows("folder", path)


PROVOKED["csv-one"] = lambda place: place.rows("csv", place.archive("a.csv", "b.csv"))
source("csv-column", "fer2013", {"fer2013.csv": "emotion,Usage\n0,Training\n"}, "raw/fer2013.csv")


def csv_source(name, text):
    source(name, "csv", {"t.csv": text, "1.png": png()}, "raw/t.csv")


csv_source("csv-column-twice", "image,age,age\n1.png,2,3\n")
csv_source("csv-cells", "image,age\n1.png\n")
csv_source("csv-utf8", "image,subject\n1.png,Zoë\n".encode("latin-1"))
csv_source("csv-not", "image,subject\n1.png," + "x" * 1_000_001)
csv_source("csv-empty", "image\n")
csv_source("csv-number", "image,age\n1.png,old\n")
csv_source("csv-range", "image,age\n1.png,200\n")
csv_source("csv-votes", "image,votes\n1.png,1 2\n")
csv_source("csv-image", "image,age\n,5\n")
source("csv-none", "csv", {})
source("parquet-not", "parquet", {"t.parquet": "words"}, "raw/t.parquet")
source("folder-task", "folder", {}, task="mood")
source("union-empty", "union", {})
source("union-entry", "union", {}, sources={"a": {"source": "folder"}})
source("union-source", "union", {}, sources={"a": {"source": "imagenet", "path": "a"}})
source("union-options", "union", {}, sources={"a": {"source": "folder", "path": "a", "official": "yes"}})
source("synthetic-row", "synthetic", {"units.yaml": "happy: {}"}, "raw/units.yaml")
source("synthetic-unit", "synthetic", {"units.yaml": "neutral: {brow: 7}"}, "raw/units.yaml")

FER = "emotion,pixels,Usage\n"
FACE = " ".join(["7"] * 48 * 48)
source("fer2013-empty", "fer2013", {})
source("fer2013-place", "fer2013", {"train/bored/1.jpg": png()})
source("fer2013-both", "fer2013", {"fer2013.csv": FER, "train/happy/1.jpg": png()})
source("fer2013-usage", "fer2013", {"fer2013.csv": f"{FER}0,{FACE},Test\n"})
source("fer2013-row", "fer2013", {"fer2013.csv": f"{FER}0,1 2 3,Training\n"})

VOTES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
NEW = f"Usage,Image name,{VOTES}\n"
TEN = "0,0,0,0,10,0,0,0,0,0"
source("ferplus-labels", "ferplus", {}, labels="mine")
source(
    "ferplus-original",
    "ferplus",
    {"FER2013Train/label.csv": f"1.png,box,{TEN}\n", "FER2013Train/1.png": png()},
    labels="original",
)
source("ferplus-none", "ferplus", {})


def ferplus(name, lines):
    source(name, "ferplus", {"fer2013.csv": f"{FER}0,{FACE},Training\n", "fer2013new.csv": NEW + lines})


ferplus("ferplus-votes", f"Training,1.png,{TEN.replace('10', 'ten')}\n")
ferplus("ferplus-usage", f"PublicTest,1.png,{TEN}\n")
ferplus("ferplus-rows", f"Training,1.png,{TEN}\n" * 2)
source("ferplus-folder", "ferplus", {"Train/label.csv": f"1.png,box,{TEN}\n"})
source("ferplus-picture", "ferplus", {"FER2013Train/label.csv": f"1.png,box,{TEN}\n"})


@error("ferplus-other")
def _(place):
    place.file("raw/train/happy/1.jpg", png())
    votes = place.file("votes.csv", f"fer2013_image,{VOTES}\n2.jpg,{TEN}\n")
    return place.rows("ferplus", place.root / "raw", votes=str(votes))


LISTING = "basic/EmoLabel/list_patition_label.txt"
source("rafdb-list", "rafdb", {})
source("rafdb-empty", "rafdb", {LISTING: ""})
source("rafdb-line", "rafdb", {LISTING: "train_00001.jpg 9"})
source(
    "rafdb-attributes",
    "rafdb",
    {
        LISTING: "train_00001.jpg 5",
        "basic/Image/aligned/train_00001_aligned.jpg": png(),
        "basic/Annotation/manual/train_00001_manu_attri.txt": "7\n7\n7\n",
    },
)

AFFECT = "image_path,emotion,valence,arousal\n1.png,"
BOX = "subDirectory_filePath,face_x,face_y,face_width,face_height,expression,valence,arousal\n1.png,left,"
source("affectnet-tables", "affectnet", {"a.csv": "", "b.csv": ""})
source("affectnet-number", "affectnet", {"t.csv": f"{AFFECT}1,high,0\n", "1.png": png()})
source("affectnet-range", "affectnet", {"t.csv": f"{AFFECT}1,7,0\n", "1.png": png()})
source("affectnet-emotion", "affectnet", {"t.csv": f"{AFFECT}happy,0,0\n", "1.png": png()})
source("affectnet-label", "affectnet", {"t.csv": "pth,label\n1.png,bored\n", "1.png": png()})
source("affectnet-box", "affectnet", {"t.csv": f"{BOX}0,9,9,1,0,0\n", "1.png": png()})


def clip(name, content, picture=True):
    """A row of afewva: a clip with one frame, with or without its picture."""
    frame = {"landmarks": [[1, 1], [9, 9]], "valence": 1, "arousal": 1} | content
    files = {"001/001.json": json.dumps({"actor": "x", "frames": {"00000": frame}})}
    source(name, "afewva", files | ({"001/00000.png": png()} if picture else {}))


source("afewva-empty", "afewva", {})
source("afewva-clip", "afewva", {"001/001.json": "{}"})
clip("afewva-frame", {"valence": None})
clip("afewva-range", {"valence": 40})
clip("afewva-landmark", {"landmarks": [[float("nan"), 1]]})
clip("afewva-picture", {}, picture=False)
clip("afewva-outside", {"landmarks": [[900, 900], [950, 950]]})

source("ckplus-empty", "ckplus", {})
source("ckplus-name", "ckplus", {"happy/1.png": png()})
source("fairface-table", "fairface", {})
source("fairface-empty", "fairface", {f"fairface_label_{part}.csv": "file,age,gender,race\n" for part in ("train", "val")})
source("jaffe-empty", "jaffe", {})
source("jaffe-name", "jaffe", {"KA.XX1.39.tiff": png()})
source("sfew-empty", "sfew", {})
source("sfew-place", "sfew", {"Train/Bored/1.png": png()})
source("utkface-empty", "utkface", {})
source("utkface-copies", "utkface", {"a/1_0_0_1.jpg": png(1), "b/1_0_0_1.jpg": png(2)})

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


@error("no-labels")
def _(place):
    from ferflow.faces import tasks_of

    return said(lambda: tasks_of(pd.DataFrame({"split": ["train"], "expression": ["happy"]})))


@error("no-split")
def _(place, manifest):
    from ferflow.faces import load_faces

    place.data(manifest)
    labels = tables.load_labels(place.root / "data/manifest.parquet", place.root / "data/splits.parquet")
    few = labels[labels["split"] == "train"]
    return said(lambda: load_faces(place.root / "data/manifest.parquet", few, ("train", "val"), 32, "gray", {}))


@error("diverged-val")
def _(place, manifest):
    return _trained(place, manifest, lr=1e30, clip=0.0, warmup=0.0, schedule="constant", optimizer="sgd", batch_size=512)


@error("heads-kind")
def _(place):
    from ferflow.model import build

    return said(lambda: build(member(heads={"expression": "affect"}), {"expression": ("happy", "sad")}, 32))


def _built(name, variant="", pretrained=False, image_size=48, **options):
    entry = registry.get("backbones", name)
    return said(lambda: entry(variant, in_channels=1, image_size=image_size, pretrained=pretrained, **options))


def _half(place):
    import timm
    import torch

    state = timm.create_model("resnet10t", num_classes=0).state_dict()
    path = place.root / "half.pth"
    torch.save({name: value for name, value in state.items() if not name.startswith("layer4")}, path)
    return str(path)


PROVOKED["timm-options"] = lambda place: _built("timm", "resnet10t", depth=3)
PROVOKED["weights-file"] = lambda place: _built("timm", "resnet10t", str(place.file("weights.pth", "words")))
PROVOKED["weights-part"] = lambda place: _built("timm", "resnet10t", _half(place))
PROVOKED["mobilevit-variant"] = lambda place: _built("mobilevit", "huge")
PROVOKED["mobilevit-weights"] = lambda place: _built("mobilevit", "xxs", True, patch_size=4)
PROVOKED["seresnet-lists"] = lambda place: _built("seresnet", widths=(8, 16), depths=(1, 1))
PROVOKED["vit-patches"] = lambda place: _built("vit", image_size=50, patch_size=8)


@error("weights-offline")
def _(place, monkeypatch):
    import timm

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", offline)  # its client would try for minutes
    return _built("timm", "resnet10t", True)


command("suspects-trained", "data", "suspects", "gray-cnn")


@error("suspects-head")
def _(place, manifest):
    import torch

    from ferflow.model import build

    place.data(manifest)
    tasks = {"gender": ("female", "male")}
    network = build(params.load().member("gray-cnn"), tasks, 32)
    card = Card(name="g", members={}, input_size=32, modality="gray", tasks=tasks, dataset="d", parameters=1)
    torch.save(network.state_dict(), place.file("models/members/gray-cnn/weights.pt"))
    place.file("models/members/gray-cnn/card.json", card.model_dump_json())
    return place.cli("data", "suspects", "gray-cnn")


@error("student")
def _(place):
    from ferflow.stages import distil

    return said(lambda: distil.run("nobody"))


@error("members-faces")
def _(place):
    from ferflow.stages.ensemble import faces_of

    for name, face in (("a", "1"), ("b", "2")):
        path = place.file(f"models/members/{name}/predictions.parquet")
        pd.DataFrame({"id": [face], "split": ["val"]}).to_parquet(path)
    return said(lambda: faces_of(["a", "b"]))


@error("members-classes")
def _(place):
    from ferflow.stages.ensemble import common_tasks

    def card(*classes):
        return Card(name="t", members={}, input_size=8, modality="rgb", tasks={"expression": classes}, dataset="d", parameters=1)

    return said(lambda: common_tasks({"a": card("happy", "sad"), "b": card("happy", "fear")}))


def _predicted(*ids, first=("a", "b")):
    from ferflow.judging import _Faces

    def table(names):
        return pd.DataFrame({"id": list(names), "split": "test"})

    return said(lambda: _Faces("one", table(first), pd.DataFrame(index=["a", "b"])).in_order("other", table(ids)))


PROVOKED["predicted-twice"] = lambda place: _predicted("a", "a")
PROVOKED["predicted-unknown"] = lambda place: _predicted(first=("a", "c"))
PROVOKED["predicted-others"] = lambda place: _predicted("a", "c")


@error("no-map")
def _(place):
    import torch

    from ferflow.explanations import last_layer_with_places

    return said(lambda: last_layer_with_places(torch.nn.Flatten(), torch.zeros(1, 3, 8, 8)))


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


def _evaluated(place, *words, out="out"):
    return place.cli("evaluate", str(starter.MODEL), *words, "--out", out)


@error("out-holds")
def _(place):
    place.file("faces/happy/1.png", png())
    return _evaluated(place, "folder", "faces", out="faces/out")


@error("out-file")
def _(place):
    place.file("faces/happy/1.png", png())
    place.file("out", "mine")
    return _evaluated(place, "folder", "faces")


@error("resamples")
def _(place):
    place.file("faces/happy/1.png", png())
    return _evaluated(place, "folder", "faces", "--resamples", "0")


@error("no-known-label")
def _(place):
    place.file("faces/1.png", png())
    return _evaluated(place, "csv", str(place.file("faces/t.csv", "image,age\n1.png,\n").parent))


@error("nothing-readable")
def _(place):
    place.file("faces/happy/1.png", "words")
    return _evaluated(place, "folder", "faces").splitlines()[-1].removeprefix("ferflow: ")  # a bar stands before it


@error("weights-alone")
def _(place):
    place.file("faces/happy/1.png", png())
    place.file("mine/weights.pt")
    return place.cli("evaluate", "mine", "folder", "faces", "--out", "out")


@error("not-version")
def _(place):
    from ferflow.evidence import Candidate, gather

    place.file("release/model.onnx", "one")
    other = Candidate(7, place.file("other.onnx", "another"), None)
    nothing = dict.fromkeys(("manifest", "splits", "validation"), place.root)
    return said(lambda: gather(other, other, live=None, release=place.root / "release", **nothing))


def _versions(name, count=1, champion=0, source="models/release"):
    """A model in the registry with some versions, one of them champion."""
    import mlflow

    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    for _ in range(count):
        client.create_model_version(name, str(source))
    if champion:
        client.set_registered_model_alias(name, "champion", str(champion))
    return client


@error("already-champion")
def _(place, store):
    _versions("one", champion=1)
    return said(lambda: tracking.promote("one", 1))


@error("champion-changed")
def _(place, store):
    _versions("two", 2, champion=1)
    return said(lambda: tracking.promote("two", 2, compared_with=7))


@error("lock-taken")
def _(place, store, monkeypatch):
    import mlflow

    _versions("three")
    theirs = SimpleNamespace(tags={"token": "another process's"})
    monkeypatch.setattr(mlflow.MlflowClient, "get_registered_model", lambda self, name: theirs)
    return said(lambda: tracking.promote("three", 1))


@error("lock-held")
def _(place, store):
    client = _versions(f"four{tracking._LOCK}", 0)
    return said(lambda: tracking._alone(client, "four", wait_s=-1).__enter__())


raised("registry-none", lambda place: tracking.registered_file("models:/nobody@champion"))
PROVOKED["gate-version"] = lambda place, store: place.cli("gate", "1")


@error("registry-no-onnx")
def _(place, store):
    _versions("five", source=place.file("empty/readme.txt", "words").parent)
    return said(lambda: tracking.registered_file("models:/five/1"))


@pytest.fixture
def no_server(monkeypatch):
    """MLflow's address is that of a server that is away."""
    import mlflow

    before, away = mlflow.get_tracking_uri(), f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", away)
    mlflow.set_tracking_uri(away)
    yield
    mlflow.set_tracking_uri(before)


PROVOKED["registry-away"] = lambda place, no_server: said(lambda: load("models:/ferflow@champion"))

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


command("wrong-ending", "predict", "photo.png", "--csv", "faces.parquet")


def _table(place, table="faces.csv"):
    place.file("photo.png", png())
    return place.cli("predict", "photo.png", "--model", "starter", "--csv", table)


@error("table-folder")
def _(place):
    (place.root / "results").mkdir()
    return _table(place, "results")


@error("table-other")
def _(place):
    place.file("faces.csv.partial", '{"journal": "another"}\n')
    return _table(place)


@error("table-damaged")
def _(place):
    place.file("faces.csv.partial", "words\n")
    return _table(place)


@error("some-unread")
def _(place):
    place.file("photo.png", "words")
    return place.cli("predict", "photo.png", "--model", "starter").splitlines()[-1].removeprefix("ferflow: ")


raised("picture-missing", lambda place: images.read(place.root / "photo.png"))
raised("png-cut-off", lambda place: images.read(png()[:-20]))


def _broken():
    """A PNG that is whole by its chunks, and whose pixels are not."""
    good = png()
    start = good.index(b"IDAT") + 4
    return good[:start] + b"\xff" * 40 + good[start + 40 :]


def _saved(form, mode="RGB", size=(8, 8)):
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new(mode, size).save(file, form)
    return file.getvalue()


raised("undecodable", lambda place: images.read(_broken()))
raised("damaged-picture", lambda place: images.read(_saved("BMP", size=(64, 64))[:900]))
raised("unknown-range", lambda place: images.read(_saved("TIFF", "F")))
raised("not-a-picture", lambda place: images.read(7))


@error("empty-size")
def _(place):
    from PIL import Image

    return said(lambda: images.read(Image.new("RGB", (0, 8))))


@error("header-too-large")
def _(place, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    return said(lambda: images.read(png()))


@error("large-file")
def _(place):
    os.truncate(place.file("photo.png", png()), images.MAX_BYTES + 1)
    return said(lambda: images.read(place.root / "photo.png"))


@error("no-memory")
def _(place, monkeypatch):
    def full(*_):
        raise MemoryError

    place.file("photo.png", png())
    monkeypatch.setattr(cv2, "imdecode", full)
    return said(lambda: images.read(place.root / "photo.png"))


raised("wrong-faces", lambda place: load("starter").outputs(np.zeros((1, 8, 8, 3), np.float32)))
raised("outside", lambda place: crop_face(np.zeros((8, 8, 3), np.uint8), (20, 20, 30, 30), 8))
raised("finding", lambda place: Finding(margin=2))
raised("longest-side", lambda place: Finding(longest_side=8))


@error("no-pixels")
def _(place):
    from ferflow.predicting import Answer, write_drawn

    return said(lambda: write_drawn(Answer("photo.png", error="not an image"), place.root))


command("asset-unknown", "assets", "fetch", "retinaface")
OWN = assets.Asset("own.onnx", "", "", "MIT")
raised("asset-own", lambda place: assets.get(OWN, place.root))
raised("asset-no-file", lambda place: assets.add(OWN, place.root / "own.onnx"))
raised("asset-copy", lambda place: assets.add(OWN, place.file("a.onnx", "x"), place.file("folder", "a file")))
raised("not-a-blazeface", lambda place: registry.get("detectors", "blazeface")(place.file("f.tflite", "words")))
raised("not-a-yunet", lambda place: registry.get("detectors", "yunet")(place.file("f.onnx", "words")))
raised("old-yunet", lambda place: registry.get("detectors", "yunet")(place.file("f.onnx", place.onnx({}))))
raised("yolo-input", lambda place: registry.get("detectors", "yolo")(place.file("f.onnx", place.onnx({}))))


def _yolo(place, table):
    return said(lambda: registry.get("detectors", "yolo")(yolo_file(place.root / "f.onnx", table)))


PROVOKED["yolo-output"] = lambda place: _yolo(place, np.zeros((1, 2, 3)))


@error("yolo-size")
def _(place):
    from onnx import TensorProto, helper, save

    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "h", "w"])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [7, 11])  # no picture has so many values
    nodes = [helper.make_node("Constant", [], ["shape"], value=shape), helper.make_node("Reshape", ["images", "shape"], ["out"])]
    graph = helper.make_graph(nodes, "yolo", [given], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), place.root / "f.onnx")
    return said(lambda: registry.get("detectors", "yolo")(place.root / "f.onnx"))


CARD = Card(name="t", members={}, input_size=8, modality="rgb", tasks={"expression": ("happy", "sad")}, dataset="d", parameters=1)
command("no-network", "export", "nobody")


def _written(place, form, **known):
    return said(lambda: registry.get("exporters", form).write(Source(None, CARD, **known), place.root / "out"))


def _read(place, form, content, name="model"):
    return said(lambda: registry.get("exporters", form).read(place.file(name, content)))


PROVOKED["onnx-first"] = lambda place: _written(place, "onnx_fp16")
PROVOKED["int8-faces"] = lambda place: _written(place, "onnx_int8", onnx=place.root / "model.onnx")
PROVOKED["bad-checkpoint"] = lambda place: _read(place, "checkpoint", "words")
PROVOKED["bad-openvino"] = lambda place: _read(place, "openvino", "words", "model.xml")
PROVOKED["bad-torch-export"] = lambda place: _read(place, "torch_export", "words")
PROVOKED["bad-torchscript"] = lambda place: _read(place, "torchscript", "words")
PROVOKED["no-config"] = lambda place: _read(place, "safetensors", "words")


@error("bad-safetensors")
def _(place):
    place.file("model_config.json", "{}")
    return _read(place, "safetensors", "words")


def _checkpoint(place, **content):
    import torch

    torch.save(content, place.root / "checkpoint.pt")
    return said(lambda: registry.get("exporters", "checkpoint").read(place.root / "checkpoint.pt"))


PROVOKED["no-export-card"] = lambda place: _checkpoint(place)
PROVOKED["not-rebuilt"] = lambda place: _checkpoint(place, card=CARD.model_dump(mode="json"), settings={}, weights={})


@error("fp16-weight")
def _(place):
    from onnx import TensorProto, helper, numpy_helper, save

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2000]) for name in ("a", "b")]
    large = numpy_helper.from_array(np.full(2000, 1e6, np.float32), "large")
    graph = helper.make_graph([helper.make_node("Add", ["a", "large"], ["b"])], "g", value[:1], value[1:], [large])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), place.root / "model.onnx")
    return _written(place, "onnx_fp16", onnx=place.root / "model.onnx")


@error("shapes-differ")
def _(place):
    from ferflow.exporting import _judged

    two, three = [np.zeros((1, 2))], [np.zeros((1, 3))]
    return said(lambda: _judged(Source(None, CARD), None, two, three))


@error("int8-drop")
def _(place):
    from ferflow.exporting import demand

    found = {"largest_difference": 0.1, "same_class": 1.0}
    allowed = {"agreement": 0.9, "accuracy_drop": 0.01}
    return said(lambda: demand("onnx_int8", {"allowed": allowed, "from_pytorch": found, "accuracy_drop": 0.5}))


PROVOKED["not-a-number"] = lambda place: _demanded("onnx_int8", same_class=1.0, largest_difference=float("nan"))


@error("no-tool-list")
def _(place, monkeypatch):
    from ferflow.exporters import _tensorflow

    monkeypatch.setattr(_tensorflow, "_TOOL", place.root / "site-packages/ferflow/tool.py")  # as in an installed wheel
    return said(_tensorflow.requirements)


def _tool(place, monkeypatch, **scripts):
    """What Keras's runtime says where these programs are the tool environment's."""
    for name, lines in scripts.items():
        place.file(f"tools/bin/{name}", f"#!/bin/sh\n{lines}\n").chmod(0o755)
    monkeypatch.setenv("FERFLOW_TOOLS_ENV", str(place.root / "tools"))
    run = registry.get("exporters", "keras").read(place.file("model.keras", "words"))
    return said(lambda: run(np.zeros((1, 8, 8, 3), np.uint8)))


@error("no-uv")
def _(place, monkeypatch):
    monkeypatch.setenv("PATH", "")
    return _tool(place, monkeypatch)


@error("tool-not-made")
def _(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place.root / "tools/bin"))
    return _tool(place, monkeypatch, uv="echo 'no package index' >&2; exit 1").replace("\n", " ")


@error("tool-broken")
def _(place, monkeypatch):
    place.file("tools/.ready")
    return _tool(place, monkeypatch)


@error("tensorflow-failed")
def _(place, monkeypatch):
    place.file("tools/.ready")
    return _tool(place, monkeypatch, python="echo 'no AVX here' >&2; exit 1")


raised("no-export", lambda place: registry.get("exporters", "keras").read(place.root / "model.keras"))


@error("not-drawn")
def _(place):
    place.file("photo.png", png())
    place.file("boxed", "a file")
    return place.cli("predict", "photo.png", "--model", "starter", "--detector", "none", "--draw", "boxed")


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


command("no-videos", "video", ".", "--model", "starter")
PROVOKED["empty-video"] = lambda place: _video(place.file("clip.mp4"))
command("monitor-root", "monitor")


def _clip(place, count=5):
    frames = [np.full((64, 64, 3), 9 * number, np.uint8) for number in range(count)]
    return write(place.root / "clip.avi", frames, codec="MJPG")


@error("large-frames")
def _(place):
    from ferflow.video import Video

    path = _clip(place)
    return said(lambda: Video(path, max_pixels=1000))


@error("no-frames")
def _(place):
    from ferflow.video import Video

    path = _clip(place)
    data = path.read_bytes()
    start = data.index(b"movi") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))  # its header is whole
    return said(lambda: list(Video(path).shots()))


def _frames_written(path, count=5):
    from ferflow.video import Writer

    def write_them():
        with Writer(path, 25) as writer:
            for _ in range(count):
                writer.write(np.zeros((64, 64, 3), np.uint8))

    return said(write_them)


PROVOKED["video-form"] = lambda place: _frames_written(place.root / "clip.gif")
PROVOKED["no-codec"] = lambda place: _frames_written(place.root / "nowhere/clip.avi")


@error("disk-full")
def _(place):
    path = place.root / "clip.avi"
    path.symlink_to("/dev/full")
    return _frames_written(path)


@error("plot-alone")
def _(place):
    from ferflow.video import annotate

    return said(lambda: annotate(load("starter"), _clip(place), plot=place.root / "plot.png"))


def _streamed(**how):
    from ferflow.streaming import Streaming, stream

    return said(lambda: list(stream(load("starter"), [], Streaming(**how))))


PROVOKED["streaming"] = lambda place: _streamed(fps=0)
PROVOKED["smoothing"] = lambda place: _streamed(fps=25, smooth_s=-1)


@error("no-stream")
def _(place):
    from ferflow.camera import Camera

    return said(lambda: Camera("clip.mp4"))


@error("camera-lost")
def _(place, monkeypatch):
    from ferflow.camera import Camera

    lost = SimpleNamespace(isOpened=lambda: True, get=lambda _: 0, set=lambda *_: True, read=lambda: (False, None))
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: SimpleNamespace(**vars(lost), release=lambda: None))
    return said(lambda: list(Camera("0").shots()))


@error("no-window")
def _(place, monkeypatch):
    from ferflow.webcam import check_window

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE")
    return said(check_window)


@error("no-screen")
def _(place, monkeypatch):
    from ferflow.webcam import check_window

    monkeypatch.setenv("DISPLAY", ":4711")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           QT5")
    return said(check_window)


@error("video-names")
def _(place):
    clip = str(_clip(place))
    again = f"{place.root}/../{place.root.name}/clip.avi"
    return place.cli("video", clip, again, "--model", "starter", "--detector", "none", "--no-video").splitlines()[-1].strip()


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


IN_FORM = "multipart/form-data; boundary=B"
NAMED = b'Content-Disposition: form-data; name="image"'


def _in_form(place, body, kind=IN_FORM):
    return place.asked("/predict", content=body, headers={"content-type": kind})


def _part(*heads):
    return b"--B\r\n" + b"\r\n".join(heads) + b"\r\n\r\nx\r\n--B--\r\n"


def _fields(place, *fields):
    files = [("image", ("x.png", png(), "image/png")), *((name, (file, value)) for name, file, value in fields)]
    return place.asked("/predict", files=files)


PROVOKED |= {
    "400-files": lambda place: place.asked("/predict_batch", **form(*[("images", b"x")] * 17)),
    "400-crops": lambda place: place.asked("/predict_faces", **as_json({"crops": ["eA=="] * 300})),
    "400-values": lambda place: place.asked("/predict_faces", **as_json({"crops": [""] * 1500})),
    "400-data-url": lambda place: place.asked("/predict", **as_json({"image": "data:image/png,x"})),
    "400-empty-text": lambda place: place.asked("/predict", **as_json({"image": "data:image/png;base64,"})),
    "400-empty-file": lambda place: place.asked("/predict", **form(("image", b""))),
    "415-kind": lambda place: place.asked("/predict", files={"image": ("x.txt", b"x", "text/plain")}),
    "400-file-there": lambda place: _fields(place, ("members", "a.txt", b"true")),
    "400-twice": lambda place: _fields(place, ("members", None, "true"), ("members", None, "true")),
    "400-boolean": lambda place: _fields(place, ("members", None, "yes")),
    "400-form-boundary": lambda place: _in_form(place, b"x", "multipart/form-data"),
    "400-form-start": lambda place: _in_form(place, b"x"),
    "400-form-parts": lambda place: place.asked("/predict", **form(*[("image", b"x")] * 40)),
    "400-form-end": lambda place: _in_form(place, _part(NAMED)[:-6]),
    "400-form-head": lambda place: _in_form(place, b"--B\r\nx\r\n--B--\r\n"),
    "400-form-two": lambda place: _in_form(place, _part(NAMED, NAMED)),
    "400-form-encoding": lambda place: _in_form(place, _part(NAMED, b"Content-Transfer-Encoding: base64")),
    "400-form-unnamed": lambda place: _in_form(place, _part(b"Content-Type: image/png")),
    "400-form-names": lambda place: _in_form(place, _part(b"Content-Disposition: form-data")),
    "400-length": lambda place: place.asked("/predict", content=b"x", headers={"content-length": "many"}),
    "400-task": lambda place: place.asked("/predict_video/status?task_id=7", "GET"),
    "415-compressed": lambda place: place.asked("/predict", content=b"x", headers={"content-encoding": "gzip"}),
    "503-docs": lambda place: place.asked("/docs.json", "GET"),
}


@error("503-late")
def _(place, monkeypatch):
    from starlette.testclient import TestClient

    from ferflow.serving import exchange

    async def slow(*_):
        await asyncio.sleep(0.5)

    service = place.guard()
    service.app = slow
    monkeypatch.setattr(exchange, "ANSWER_S", 0.05)
    answer = TestClient(service, raise_server_exceptions=False).post("/predict", **form(("image", png())))
    return f"{answer.status_code}: {answer.json()['error']}"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A real service whose limits are low."""
    limits = {"detector": "none", "max_frames": 3, "max_megapixels": 0.01}
    with serving(with_params(tmp_path_factory.mktemp("served"), **limits)) as running:
        assert running.key
        yield running


@pytest.fixture(scope="module")
def unlogged(tmp_path_factory):
    """A real service without a log."""
    with serving(with_params(tmp_path_factory.mktemp("unlogged"), log="")) as running:
        assert running.key
        yield running


def told(service, path, **request):
    """Status and words of a service's answer."""
    answer = service.client.post(path, headers=service.keyed, **request)
    return f"{answer.status_code}: {answer.json()['error']}"


def _filmed(service, clip):
    """What comes of a video's task in the end."""
    given = {"files": {"video": ("clip.avi", clip, "video/x-msvideo")}}
    task = {"task_id": service.client.post("/predict_video/submit", **given).json()["task_id"]}
    while service.client.get("/predict_video/status", params=task).json()["status"] == "in_progress":
        time.sleep(0.1)
    answer = service.client.get("/predict_video/get", params=task)
    return f"{answer.status_code}: {answer.json()['error']}"


ONE = form(("image", png()))
PROVOKED |= {
    "400-megapixels": lambda place, service: told(service, "/predict_batch", **form(*[("images", png(size=90))] * 3)),
    "400-explain": lambda place, service: told(service, "/explain", **ONE, data={"task": "mood"}),
    "400-face": lambda place, service: told(service, "/explain", **ONE, data={"face": "7"}),
    "400-model": lambda place, service: told(service, "/predict", **ONE, data={"model": "nobody"}),
    "400-label": lambda place, service: told(service, "/feedback", json={"id": ID, "label": "cheesy"}),
    "400-no-video": lambda place, service: _filmed(service, b"words"),
    "400-frames": lambda place, service: _filmed(service, _clip(place).read_bytes()),
    "404-prediction": lambda place, service: told(service, "/feedback", json={"id": ID, "label": "happy"}),
    "404-nothing": lambda place, service: told(service, "/forget", json={"id": ID}),
    "404-no-log": lambda place, unlogged: told(unlogged, "/feedback", json={"id": ID, "label": "happy"}),
}


@error("404-task")
def _(place, service):
    answer = service.client.get("/predict_video/status", params={"task_id": ID})
    return f"{answer.status_code}: {answer.json()['error']}"


@error("503-log")
def _(place, service):
    log = service.folder / ".ferflow/live.db"
    log.rename(log.with_suffix(".away"))
    log.mkdir()  # as a disk that is not mounted
    try:
        words = told(service, "/forget", json={"id": ID})
    finally:
        log.rmdir()
        log.with_suffix(".away").rename(log)
    assert told(service, "/forget", json={"id": ID}).startswith("404"), "the next answer has its own status"
    assert service.client.get("/model").status_code == 200
    return words


@error("serve-no-model")
def _(place, monkeypatch):
    from ferflow.finding import Finder
    from ferflow.serving import models

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(models, "STARTER", place.root / "starter.onnx")  # a copy of the code without its files
    return said(lambda: models.Models(params.load(), Finder()))


def _served(path):
    from ferflow.finding import Finder
    from ferflow.serving.models import Served, Source

    return said(lambda: Served(Source("file", f"file {path.name}", path), Finder()))


def _changed_outputs(place, release, operation):
    """The release, with an operation behind its first output (x -> x OP x)."""
    import onnx

    model = onnx.load(release)
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [f"{one}_before" if one == name else one for one in node.output]
        node.input[:] = [f"{one}_before" if one == name else one for one in node.input]
    model.graph.node.append(onnx.helper.make_node(operation, [f"{name}_before"] * 2, [name]))
    onnx.save(model, place.root / "model.onnx")
    return _served(place.root / "model.onnx")


PROVOKED["serve-refused"] = lambda place: _served(place.file("model.onnx", "words"))
PROVOKED["serve-sums"] = lambda place, release: _changed_outputs(place, release, "Add")


@error("serve-numbers")
def _(place, release):
    import onnx

    model = onnx.load(release)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    onnx.save(model, place.root / "model.onnx")
    return _served(place.root / "model.onnx")


@error("crops-disk")
def _(place, caplog):
    Crops(place.root / "crops", 1, leave_free=10**18).keep(ID, np.zeros((8, 8, 3), np.uint8))
    return caplog.messages[-1]


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


raised("log-unusable", lambda place: livelog.summary("words"))
raised("key-needs", lambda place: place.keys().add("me", []))


@error("keys-unreadable")
def _(place):
    (place.root / "keys.json").mkdir()
    return said(place.keys().all)


@error("keys-unwritable")
def _(place):
    from ferflow.keys import Keys

    return said(lambda: Keys(place.file("folder", "a file") / "keys.json").add("me", ["predict"]))


raised("monitor-window", lambda place: watching.span("2026-03-02", "2026-03-01", 24))


@error("monitor-learned")
def _(place):
    pd.DataFrame({"split": ["train"]}).to_parquet(place.root / "reference.parquet")
    return said(lambda: watching.reference_of(params.load(), "starter", place.root / "reference.parquet"))


@error("monitor-other")
def _(place):
    from ferflow.monitoring import _judged

    return said(lambda: _judged(pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), {}, params.load().monitor, None))


PROVOKED["monitor-registry"] = lambda place, no_server: said(lambda: watching.reference_of(params.load(), "ferflow/1"))

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


def _dvc(place, *words):
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=place.root, check=True, capture_output=True)


def _ran_before(place):
    """What a pipeline leaves that has run: its outputs, in DVC's cache."""
    place.git()
    _dvc(place, "init", "--quiet")
    place.file("data/manifest.parquet", "faces")
    place.file("data/splits.parquet", "splits")
    _dvc(place, "add", "--quiet", "data/manifest.parquet", "data/splits.parquet")
    place.file("dvc.lock", "schema: '2.0'\n")


@error("retrain-champion")
def _(place, store):
    _ran_before(place)
    return said(lambda: retraining.begin("by hand", say=str))


@error("retrain-back")
def _(place, monkeypatch):
    _ran_before(place)
    monkeypatch.setattr(tracking, "aliases", lambda _: {"champion": 1})  # test_retraining.py rolls back in a real registry
    monkeypatch.setattr(tracking, "moves", lambda _: [{"before": 2, "now": 1, "why": "it is worse"}])
    place.file("reports/registration.json", '{"version": 2}')
    return said(lambda: retraining.begin("by hand", say=str))


@error("retrain-chosen")
def _(place):
    _ran_before(place)
    place.file("dvc.lock", "stages: {ingest: {params: {params.yaml: {dataset: {source: csv}}}}}\n")
    return said(lambda: retraining.begin("by hand", say=str))


@error("pipeline-gone")
def _(place):
    _ran_before(place)
    place.file("dvc.yaml", "stages: {train: {cmd: 'true'}}")
    from flows import graph

    return said(lambda: graph.Graph().stale(["train", "test"]))


@error("pipeline-dvc")
def _(place, monkeypatch):
    _ran_before(place)
    place.file("dvc.yaml", "stages: {train: {cmd: 'true', deps: [params.yaml]}}")
    from flows import graph

    monkeypatch.setattr(graph, "_LOCKED_S", 0.0)
    other = {"pid": os.getppid(), "cmd": "dvc repro"}  # one that lives
    place.file(".dvc/tmp/rwlock", json.dumps({"write": {str(place.root / "params.yaml"): other}}))
    return said(lambda: graph.Graph().stale(["train"]))


@error("retrain-changed")
def _(place):
    _ran_before(place)
    path = place.root / "data/splits.parquet"
    path.unlink()
    path.write_text("mine")
    return said(lambda: retraining.begin("by hand", say=str))


@error("retrain-repro")
def _(place):
    place.git()
    _dvc(place, "init", "--quiet")
    place.file("dvc.yaml", "stages: {train: {cmd: 'false'}}")
    return said(retraining.reproduce)


@error("retrain-champions")
def _(place, monkeypatch):
    from flows import retraining as flow

    def moved(*_):
        raise tracking.ChampionChangedError("somebody else promoted")

    known = SimpleNamespace(challenger=2, champion=1, rows=[], passed=True, in_words=lambda: "it passed")
    folded = SimpleNamespace(path="data")
    monkeypatch.setattr(flow, "get_run_logger", lambda: SimpleNamespace(info=str))  # Prefect's, outside a flow
    monkeypatch.setattr(retraining, "accept", moved)  # another process, again and again
    monkeypatch.setattr(flow, "judge", lambda _: known)
    return said(lambda: flow._settle(known, folded, "by hand", True))


@error("retrain-server")
def _(place, monkeypatch):
    from flows import retraining as flow

    (place.root / ".ferflow").mkdir()
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    return said(lambda: flow._wait_for_server(0))


HAPPY = {"expression": ["happy"], "age": [np.nan], "gender": [None], "race": [None]}
KNOWN = gate.Evidence(
    1,
    CARD,
    pd.DataFrame({"id": ["a"], "p_expression_happy": [1.0], "p_expression_sad": [0.0]}),
    pd.DataFrame(HAPPY, index=["a"]),
)


def gated(name, check, champion=(), **challenger):
    """A row that the gate says where a check cannot be made, of evidence that differs from what is known."""

    def provoke(place):
        first, second = replace(KNOWN, **dict(champion)), replace(KNOWN, version=2, **challenger)
        rows = gate.decide(first, second, params.load().gate, 100).rows
        return next(row.why for row in rows if row.check == check).removeprefix("cannot be judged: ")

    PROVOKED[name] = provoke


AFFECT_ALONE = CARD.model_copy(update={"tasks": {"affect": ("valence", "arousal")}})
OTHER = KNOWN.predictions.assign(id=["b"])
gated("gate-classless", "accuracy", {"card": AFFECT_ALONE})
gated("gate-answers", "accuracy", card=AFFECT_ALONE)
gated("gate-numbers", "accuracy", predictions=KNOWN.predictions.assign(p_expression_sad=np.nan))
gated("gate-nobody", "accuracy", predictions=KNOWN.predictions.head(0), labels=KNOWN.labels.head(0))
gated("gate-others", "accuracy", predictions=OTHER)
gated("gate-labels", "calibration", labels=KNOWN.labels.assign(expression=None))
gated("gate-faces", "test faces")
gated("gate-latency", "latency")
gated("gate-size", "size")
gated("gate-parity", "parity")
gated("gate-validation", "validation")


@error("stage-failed")
def _(place):
    from flows.stages import _Attempts

    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as job:
        return said(_Attempts("train", ["gray-cnn"], job, place.root / "result.json").run)


@error("flow-failed")
def _(place):
    from flows.reproducing import run_pipeline

    with retraining.alone() as lock:
        return said(lambda: run_pipeline.fn(["train"], lock))


@error("flow-cut-off")
def _(place):
    from flows.reproducing import reproduce

    retraining.Journal({}).save()
    return said(lambda: reproduce.fn())


def _engine(name, address=None, **resources):
    from flows.engines import ENGINES

    return said(ENGINES[name](1, address, params.Resources(**resources)).start)


PROVOKED["pipeline-dask-gpus"] = lambda place: _engine("dask", gpus=1)


@error("pipeline-dask-offer")
def _(place):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        return _engine("dask", cluster.scheduler_address, gpus=1)


@error("pipeline-ray")
def _(place, monkeypatch):
    import ray

    def away(*_, **__):
        raise ConnectionError("could not connect")

    monkeypatch.setattr(ray, "init", away)  # it would try for half a minute
    return _engine("ray", "127.0.0.1:6379")


@error("pipeline-ray-offer")
def _(place, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda *_, **__: None)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    return _engine("ray", "127.0.0.1:6379", gpus=1)


@error("clones-pushed")
def _(place):
    from flows.work import Clone, _bring_up

    place.git()
    return said(lambda: _bring_up(place.root / "clone", Clone(str(place.root), "0" * 40, "", ())))


# ---- the page ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FERFLOW_LOG", raising=False)
    return Place(tmp_path)


def test_every_row_has_what_provokes_it_and_no_more_is_provoked():
    assert len(ROWS) >= 350
    assert set(PROVOKED) == set(ROWS)


def test_every_row_says_what_helps():
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            *_, remedy = line.removesuffix(" |").split(" | ")
            assert len(remedy) >= len("as it says"), line


INTERNAL = {  # what no user meets, and why
    "…:…is not in it": "names come from the archive's own list",
    "ids, pixels and targets differ in length:…": "the code alone makes Faces",
    "pixels must be uint8 N x S x S x C, not…": "the code alone makes Faces",
    "pixels of shape…cannot be encoded": "pictures are checked when they are read",
    "no task of…has a weight above 0: there is nothing to learn": "the stage train says no-task first",
    "…rows came in, but…were kept and…quarantined": "the stage counts its own work",
    "no face is drawn for…; known:…": "every expression is drawn",
    "an age of…years is outside 0 to 129": "sources check ages first",
    "lost_after…must be 1 or more, least_overlap…between 0 and 1": "nothing sets them",
    "frame…comes after frame…: frames must go forward": "the code counts frames",
    "…is no prediction's id (32 hexadecimal digits)": "the service makes the ids of crops",
    "a row of…has no time": "the service makes the log's rows",
    "…is no time": "the service makes the log's rows",
    "a line that is no row": "a line that was cut off is skipped",
    "…is not 32 hexadecimal digits": "the service makes the log's rows",
    "…is no 32-bit number": "the service makes the log's rows",
    "a row is refused:…": "the writer leaves the row out, and counts it",
    "…pictures; at most…go at once": "the guard says 400-files first",
    "the client left": "nobody is there to read it",
    "the pipeline was ended": "of stages that are ended with it",
}
UNTOLD = {  # files whose messages are not on the page, and why
    "flows/drill.py": "the rehearsal's own failures",
    "flows/rehearsal.py": "the rehearsal's own failures",
    "flows/remote.py": "the rehearsal's own failures",
    "src/ferflow/exporters/_tensorflow_tool.py": "runs in TensorFlow's environment alone; every backbone here is converted",
}
SAYING = {"fail", "InvalidArgument", "NotFound", "ServiceUnavailable", "_another", "_unauthorized", "_too_large", "_diverged"}
NEVER = {"SystemExit", "AttributeError"}  # no error of a user's


def fixed(node: ast.AST) -> str:
    """The text of a message, with … for what differs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(fixed(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return fixed(node.left) + fixed(node.right)
    return "…"


def messages() -> dict[str, str]:
    """Every message that the code gives an error, or a command that fails, and where; one that only repeats another's is none."""
    found = {}
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]):
        calls = () if str(path.relative_to(ROOT)) in UNTOLD else ast.walk(ast.parse(path.read_text()))
        for call in calls:
            name = ast.unparse(call.func).rpartition(".")[2] if isinstance(call, ast.Call) else ""
            if name not in NEVER and (name.endswith("Error") or name in SAYING):
                for argument in call.args:
                    for node in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
                        text = re.sub(r"\s*[\n…][\n… ]*", "…", fixed(node))
                        if re.search(r"\w+ \w+", text):
                            found[text] = f"{path.relative_to(ROOT)}:{call.lineno}"
    return found


def suits(row: str, message: str) -> bool:
    """Whether a row is the message, with … or an example for what differs, perhaps within another's words."""
    pattern = ".*".join(re.escape(part.strip()) for part in message.split("…"))
    return re.fullmatch(rf"(.*[:…] ?)?{pattern}(; …)?", row) is not None


def test_every_message_of_the_code_is_on_the_page():
    found = messages()
    assert len(found) >= 300
    missing = [
        f"{found[text]}: {text}" for text in found if text not in INTERNAL and not any(suits(row, text) for row in ROWS.values())
    ]
    assert not missing, "no row says:\n" + "\n".join(missing)
    assert set(INTERNAL) <= set(found), "INTERNAL names what the code does not say"


def needs(name: str) -> tuple[str, ...]:
    """The fixtures that what provokes a row asks for, beside the place."""
    code = PROVOKED[name].__code__
    return code.co_varnames[1 : code.co_argcount]


def slowly(name: str) -> object:
    """A row, marked as slow where it takes a real service."""
    real = name in PROVOKED and {"service", "unlogged"} & set(needs(name))
    return pytest.param(name, marks=pytest.mark.slow) if real else name


@pytest.mark.parametrize("name", [slowly(name) for name in ROWS])
def test_an_error_says_what_the_page_says(name, place, request):
    words = PROVOKED[name](place, *(request.getfixturevalue(one) for one in needs(name)))
    pattern = ".*".join(re.escape(part) for part in ROWS[name].split("…"))
    assert re.match(pattern, words, re.DOTALL), f"{PAGE.name} says:\n  {ROWS[name]}\nferflow says:\n  {words}"

"""``ferflow doctor``: what of this environment works, what does not, and how to mend it.

Every check looks at the real thing: libraries are asked for their version, a model is loaded and asked, a server is called.
It says what would help and mends nothing.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ferflow import extras
from ferflow.params import ParamsError

_DISK_GB, _MEMORY_GB = 5, 4
_TIMEOUT_S = 2


@dataclass(frozen=True)
class Finding:
    """One check: ``good``, ``note`` (something is absent that not everybody needs) or ``bad``; ``remedy`` says what to do."""

    check: str
    state: Literal["good", "note", "bad"]
    found: str
    remedy: str = ""


def examine(root: Path = Path()) -> Iterator[Finding]:
    """Every check in turn; none of them raises."""
    for check in (_python, _packages, _opencv, _machine, _device, _project, _model, _detectors, _servers):
        try:
            yield from check(root)
        except Exception as error:  # a check that breaks is a finding, too
            yield Finding(check.__name__.strip("_"), "bad", f"{type(error).__name__}: {error}", "report this as a bug")


def _python(root: Path) -> Iterator[Finding]:
    fine = sys.version_info[:2] == (3, 11)
    remedy = "" if fine else "use Python 3.11: 'make setup' makes an environment of it"
    yield Finding("python", "good" if fine else "bad", f"{platform.python_version()} on {platform.platform()}", remedy)


def _packages(root: Path) -> Iterator[Finding]:
    """The distributions that ferflow asks for, by extra: there, and new enough."""
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in importlib.metadata.requires("ferflow") or []]
    for extra in ("", *extras.EXTRAS):
        own = [one for one in wanted if (one.marker.evaluate({"extra": extra}) if one.marker else not extra)]
        if extra:
            own = [one for one in own if one.marker is not None and "extra" in str(one.marker)]
        missing, wrong = [], []
        for one in own:
            try:
                version = importlib.metadata.version(one.name)
            except importlib.metadata.PackageNotFoundError:
                missing.append(one.name)
                continue
            if not one.specifier.contains(version, prereleases=True):
                wrong.append(f"{one.name} {version} (wanted {one.specifier})")
        name = f"packages of {extra or 'inference'}"
        remedy = extras.how(extra) if extra else "install ferflow again: they come with it"
        if wrong:
            yield Finding(name, "bad", f"of a wrong version: {', '.join(wrong)}", remedy)
        elif missing:
            yield Finding(name, "note" if extra else "bad", f"missing: {', '.join(missing)}", remedy)
        else:
            yield Finding(name, "good", f"all {len(own)} are there")


def _opencv(root: Path) -> Iterator[Finding]:
    import cv2

    others = [name for name in ("opencv-python-headless", "opencv-contrib-python") if _has(name)]
    if others:
        remedy = f"pip uninstall {' '.join(others)}; pip install --force-reinstall opencv-python"
        yield Finding("opencv", "bad", f"{', '.join(others)} lies in the same folder as opencv-python", remedy)
    window = next((line.split(":")[1].strip() for line in cv2.getBuildInformation().splitlines() if "GUI:" in line), "none")
    if window.upper() == "NONE" or not hasattr(cv2, "imshow"):
        yield Finding("window", "bad", "OpenCV has no window: the webcam cannot be shown", "pip install opencv-python")
        return
    from ferflow.webcam import WindowError, check_window

    try:
        check_window()
    except WindowError as error:
        yield Finding("window", "note", str(error), "start from a desktop session; all but 'ferflow webcam' needs no display")
    else:
        yield Finding("window", "good", f"OpenCV {cv2.__version__} shows windows ({window})")


def _has(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _machine(root: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(root).free / 1e9
    remedy = "" if free >= _DISK_GB else f"a run of the pipeline needs about {_DISK_GB} GB"
    yield Finding("disk", "note" if remedy else "good", f"{free:.0f} GB free", remedy)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    remedy = "" if memory >= _MEMORY_GB else f"training needs about {_MEMORY_GB} GB"
    yield Finding("cores and memory", "note" if remedy else "good", f"{cores} cores, {memory:.0f} GB", remedy)


def _device(root: Path) -> Iterator[Finding]:
    if not _has("torch"):
        yield Finding("device", "note", "PyTorch is not installed: nothing can be trained here", extras.how("train"))
        return
    import torch

    if torch.cuda.is_available():
        yield Finding("device", "good", f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}")
    else:
        yield Finding("device", "good", f"PyTorch {torch.__version__} on the CPU: no GPU is seen")


def _project(root: Path) -> Iterator[Finding]:
    if not (root / "dvc.yaml").exists():
        remedy = "go to the project's folder to rebuild models; predictions work from anywhere"
        yield Finding("project", "note", f"{root.resolve()} is no ferflow project: dvc.yaml is not here", remedy)
        return
    from ferflow import params

    try:
        settings = params.load(root / "params.yaml")
    except (ParamsError, OSError) as error:
        yield Finding("params.yaml", "bad", str(error), "mend the key that is named, or 'git checkout params.yaml'")
        return
    yield Finding("params.yaml", "good", f"{len(settings.members)} members on {settings.dataset.source}")
    if not settings.dataset.path.exists():
        remedy = "'ferflow data download' fetches a set; 'mv params.before.yaml params.yaml' goes back"
        yield Finding("data", "bad", f"{settings.dataset.path} is not there", remedy)
    if not (root / ".dvc").exists():
        yield Finding("dvc", "bad", "there is no .dvc folder", "clone the repository with git instead of copying its files")


def _model(root: Path) -> Iterator[Finding]:
    import numpy as np

    from ferflow.finding import Finder
    from ferflow.finding import Finding as How
    from ferflow.inference import ModelError, Predictor

    folder = root / "models/release"
    try:
        predictor = Predictor(folder, Finder(How("none")))
        predictor.predict(np.full((64, 64, 3), 128, np.uint8))
    except FileNotFoundError:
        yield Finding("model", "note", f"{folder} has no model", "'make repro' builds one")
    except (ModelError, ValueError) as error:
        yield Finding("model", "bad", str(error), "'dvc checkout models/release' or 'dvc repro' makes it anew")
    else:
        card = predictor.card
        yield Finding("model", "good", f"{folder} answers: {', '.join(card.tasks)} of {card.dataset} faces")


def _detectors(root: Path) -> Iterator[Finding]:
    from ferflow.finding import Finder
    from ferflow.finding import Finding as How
    from ferflow.registry import names

    for name in names("detectors"):
        try:
            Finder(How(name))
        except (OSError, ValueError) as error:
            yield Finding(f"detector {name}", "note", str(error), "'ferflow assets' says which files there are")
        else:
            yield Finding(f"detector {name}", "good", "ready")


def _servers(root: Path) -> Iterator[Finding]:
    prefect = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api").rstrip("/")
    places = {"Prefect": (f"{prefect}/health", "runs work without it and are not recorded; 'make ui' starts it")}
    mlflow = os.environ.get("MLFLOW_TRACKING_URI", "")
    if mlflow.startswith("http"):
        places["MLflow"] = (f"{mlflow.rstrip('/')}/health", "start it, or unset MLFLOW_TRACKING_URI to use mlflow.db")
    elif mlflow and not mlflow.startswith(("sqlite:", "file:", "/", ".")):
        yield Finding("MLflow", "good", f"kept in {re.sub('//.*@', '//…@', mlflow)}, which was not asked", "")
    else:
        file = Path(mlflow.removeprefix("sqlite:///") or root / "mlflow.db")
        there = file.exists()
        yield Finding("MLflow", "good" if there else "note", f"{file} {'is there' if there else 'is not there yet'}",
                      "" if there else "the first 'dvc repro' makes it")  # fmt: skip
    places["service"] = ("http://127.0.0.1:3000/readyz", "'make serve' starts it")
    for name, (url, remedy) in places.items():
        if _answers(url):
            yield Finding(name, "good", f"answers at {url}")
        else:
            state: Literal["bad", "note"] = "bad" if name == "MLflow" else "note"
            yield Finding(name, state, f"nothing answers at {url}", remedy)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:
            return bool(reply.status < 400)
    except (OSError, ValueError):
        return False

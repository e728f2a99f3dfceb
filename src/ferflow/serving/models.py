"""Which model answers: the champion of MLflow's registry, else ``models/release``, else the starter that ferflow carries.

A promotion or a rollback takes effect while requests are answered: the new version is loaded and tried beside the old one,
then one reference changes. A version that cannot be loaded, or says nonsense, is refused, and the old one stays. It knows
no HTTP.
"""

import logging
import os
from collections import OrderedDict
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock, Timer
from typing import Any

import numpy as np

from ferflow import starter
from ferflow.finding import Finder
from ferflow.inference import Predictor
from ferflow.params import Params
from ferflow.serving.batching import Batcher

log = logging.getLogger("ferflow.serving")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a registry that is away is asked again soon anyway
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
RELEASE = Path("models/release")
STARTER = starter.MODEL  # what a fresh clone serves
_OTHERS = 3  # models beside the one that is served, kept for those who name them
_GRACE_S = 30.0  # after which nobody asks a model any more that was replaced


class BrokenModelError(ValueError):
    """A model that cannot be served; the message says why."""


@dataclass(frozen=True)
class Source:
    """Where a model lies: its name for requests, its version in words, its file, and what is known of how it was made."""

    name: str
    version: str
    path: Path
    code: str | None = None
    data: str | None = None


class Served:
    """A model, ready: ``predictor`` knows it, ``batcher`` asks it."""

    def __init__(self, source: Source, finder: Finder, largest: int = 64) -> None:
        self.source, self.key = source, key_of(source)
        try:
            self.predictor = Predictor(source.path, finder)
            _try(self.predictor)
        except (OSError, ValueError) as error:
            raise BrokenModelError(f"{source.version} is refused: {error}") from error
        self.batcher = Batcher(self.predictor, largest)


def _try(predictor: Predictor) -> None:
    """Two faces through it, which warms it up: shares must be shares."""
    size = predictor.card.input_size
    faces = np.random.default_rng(0).integers(0, 255, (2, size, size, 3), dtype=np.uint8)
    for task, values in predictor.outputs(faces).items():
        if values.shape != (2, len(predictor.card.tasks[task])) or not np.isfinite(values).all():
            raise ValueError(f"its outputs for {task} are no numbers, or too few: {values.shape}")
        if task != "affect" and not np.allclose(values.sum(axis=1), 1, atol=1e-3):
            raise ValueError(f"its probabilities for {task} do not sum to 1")


class Models:
    """The models of a project. Call ``look`` now and then, ``close`` at the end."""

    def __init__(self, settings: Params, finder: Finder) -> None:
        self._settings, self._finder = settings, finder
        self._refused: set[str] = set()
        self._versions: dict[tuple[str, int], Source] = {}
        self._others: OrderedDict[str, Served] = OrderedDict()
        self._lock = Lock()
        self.swaps = 0
        self._served: Served | None = None
        self.known = self.sources()  # as of the last look: requests do not wait for the registry
        self._served = self._first()

    @property
    def current(self) -> Served:
        """The model that is served."""
        assert self._served is not None
        return self._served

    def get(self, name: str | None = None) -> Served:
        """The model called ``name``, None: the one that is served. ``LookupError`` names those there are."""
        current = self.current
        if name in (None, "", current.source.name):
            return current
        sources = self.known
        if name not in sources:
            raise LookupError(f"no model is called {name!r}; there are {', '.join(sources)}")
        source = sources[name]
        with self._lock:
            key = key_of(source)
            known = self._others.pop(key, None) or Served(source, self._finder, self._settings.serve.max_batch)
            self._others[key] = known
            while len(self._others) > _OTHERS:
                _retire(self._others.popitem(last=False)[1])
        return known

    def sources(self) -> dict[str, Source]:
        """Every model that a request may name, the best to serve first."""
        found: dict[str, Source] = {}
        if path := os.environ.get("FERFLOW_MODEL"):
            found["file"] = _file("file", Path(path), f"file {Path(path).name}")
        for alias, source in self._registered().items():
            found[alias] = source
        if (RELEASE / "model.onnx").is_file():
            found["release"] = _file("release", RELEASE / "model.onnx", "models/release")
        if STARTER.is_file():
            found["starter"] = _file("starter", STARTER, "starter")
        return found

    def close(self) -> None:
        """Let every model answer what waits."""
        for one in (self.current, *self._others.values()):
            one.batcher.close()

    def _first(self) -> Served:
        reasons = []
        for source in self.known.values():
            if source.name in ("challenger", "previous"):
                continue
            try:
                served = Served(source, self._finder, self._settings.serve.max_batch)
            except BrokenModelError as error:
                log.error("%s", error)
                self._refused.add(key_of(source))
                reasons.append(str(error))
            else:
                log.info("serving %s", source.version)
                return served
        raise BrokenModelError(
            "there is no model to serve: 'make repro' makes models/release" + "".join(f"\n  {one}" for one in reasons)
        )

    def look(self) -> bool:
        """Take up the model that should be served now, where it is another one; whether it was."""
        self.known = self.sources()
        wanted = next((one for one in self.known.values() if one.name not in ("challenger", "previous")), None)
        if wanted is None or key_of(wanted) == self.current.key or key_of(wanted) in self._refused:
            return False
        try:
            served = Served(wanted, self._finder, self._settings.serve.max_batch)
        except BrokenModelError as error:
            self._refused.add(key_of(wanted))
            log.error("%s; %s goes on", error, self.current.source.version)
            return False
        before, self._served = self.current, served
        self.swaps += 1
        log.info("serving %s in place of %s", wanted.version, before.source.version)
        _retire(before)
        return True

    def _registered(self) -> dict[str, Source]:
        """The registry's aliases; what was known of it last while it cannot be asked."""
        try:
            from ferflow import tracking  # takes seconds to load
        except ImportError:  # a Bento has no MLflow: it brings its model
            return {}
        model = self._settings.register_.model
        if not tracking.has_store():
            return {}
        found: dict[str, Source] = {}
        try:
            for alias, version in sorted(tracking.aliases(model).items(), key=lambda pair: tracking.ALIASES.index(pair[0])):
                found[alias] = replace(self._version(model, version), name=alias)
        except (tracking.TrackingError, LookupError, OSError) as error:
            log.warning("MLflow's registry cannot give its models: %s", error)
        if "champion" not in found and self._served is not None and self._served.source.name == "champion":
            found = {"champion": self._served.source, **found}
        return found

    def _version(self, model: str, number: int) -> Source:
        """A version of the registry; what was asked once is known, because versions never change."""
        from ferflow import tracking

        if (model, number) not in self._versions:
            tags = tracking.version_tags(model, number)
            path = tracking.registered_file(f"models:/{model}/{number}")
            self._versions[model, number] = Source("", f"{model}/{number}", path, tags.get("code"), tags.get("data"))
        return self._versions[model, number]


def about(served: Served) -> dict[str, Any]:
    """What is known of a model: ``answers.ModelInfo``."""
    card = served.predictor.card
    return {
        "version": served.source.version,
        "source": served.source.name,
        "fingerprint": served.predictor.fingerprint,
        "code": served.source.code,
        "data": served.source.data,
        "dataset": card.dataset,
        "members": list(card.members),
        "tasks": {task: list(classes) for task, classes in card.tasks.items()},
        "certain_above": card.certain_above,
        "software": f"ferflow {_software()}",
        "card": card.model_dump(),
    }


def _software() -> str:
    try:
        return version("ferflow")
    except PackageNotFoundError:  # a Bento has the source alone
        return "unknown"


def _file(name: str, path: Path, version: str) -> Source:
    return Source(name, version, path / "model.onnx" if path.is_dir() else path)


def key_of(source: Source) -> str:
    """What makes a model another one: its version, and for a file its time of change."""
    try:
        changed = source.path.stat().st_mtime_ns
    except OSError:
        changed = 0
    return f"{source.version} {changed}"


def _retire(served: Served) -> None:
    """End a model that was replaced, when nobody can be asking it any more."""
    timer = Timer(_GRACE_S, served.batcher.close)
    timer.daemon = True
    timer.start()

"""The tool environment in which TensorFlow lives, apart from ours: made by uv on first use, kept below the user's cache.

``FERFLOW_TOOLS_ENV`` names another folder. What is installed stands in requirements/tensorflow.txt, every file by its hash.
"""

import os
import shutil
import subprocess
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ferflow.exporters import ExportError, Run, Source

FOLDER = "FERFLOW_TOOLS_ENV"
_TOOL = Path(str(files("ferflow") / "exporters/_tensorflow_tool.py"))
_UNKNOWN = 3  # the tool's exit code for what it cannot convert
_SECONDS = 1800  # for one step of the tool


def requirements() -> Path:
    """The locked requirements; ``ExportError`` where this is no checkout of the project."""
    places = [Path("requirements/tensorflow.txt"), *(parent / "requirements/tensorflow.txt" for parent in _TOOL.parents)]
    for path in places:
        if path.is_file():
            return path
    raise ExportError("requirements/tensorflow.txt is not here: run this in a checkout of the project")


def folder() -> Path:
    """Where the environment is, or will be: another one for other requirements."""
    if given := os.environ.get(FOLDER):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ferflow" / f"tensorflow-{sha256(requirements().read_bytes()).hexdigest()[:12]}"


def python() -> Path:
    """The environment's interpreter."""
    return folder() / "bin/python"


def missing() -> str:
    """What is not there yet, in words; empty when the environment is ready."""
    return (
        "" if (folder() / ".ready").exists() else f"no tool environment at {folder()}; 'ferflow export --formats keras' makes it"
    )


def environment() -> Path:
    """The environment's interpreter; the environment is made where it is not there. ``ExportError``: it cannot be, and why."""
    if not missing():
        return python()
    locked, target = requirements(), folder()
    if (uv := shutil.which("uv")) is None:
        raise ExportError(
            f"Keras and LiteRT are made in an environment of their own, and uv, which makes it, is not here: 'pip install uv', "
            f"or make it yourself: python3.11 -m venv {target} && {target}/bin/pip install --require-hashes -r {locked} "
            f"&& touch {target}/.ready"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    install = ["pip", "install", "--quiet", "--require-hashes", "--python", str(python()), "-r", str(locked)]
    for command in (["venv", "--quiet", "--clear", "--python", "3.11", str(target)], install):
        done = subprocess.run([uv, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExportError(
                f"the tool environment for Keras and LiteRT could not be made ({target}): {done.stderr.strip()[-800:]}\n"
                f"It needs a package index once (2.1 GB on disk); without a network copy one from elsewhere, and say where "
                f"it is: {FOLDER}=PATH"
            )
    (target / ".ready").touch()
    return python()


def _tool(*arguments: str) -> None:
    """Run the tool; ``ExportError`` with what it said when it fails."""
    command = [str(environment()), "-P", str(_TOOL), *arguments]
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"the tool environment at {folder()} does not work: {error}; remove it, and it is made anew") from error
    if done.returncode == _UNKNOWN:
        raise ExportError(done.stderr.strip().splitlines()[-1].removeprefix("unsupported: "))
    if done.returncode:
        raise ExportError(f"TensorFlow failed in {folder()}:\n{done.stderr.strip()[-1500:]}")


class ToolRun:
    """A file that answers in the tool environment: a process a call, so the milliseconds are measured there."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._times: dict[str, float] = {}

    def __call__(self, faces: np.ndarray) -> list[np.ndarray]:
        with TemporaryDirectory() as scratch:
            given, taken = Path(scratch) / "faces.npz", Path(scratch) / "answers.npz"
            np.savez(given, faces=faces)
            _tool("run", str(self.path), str(given), str(taken))
            with np.load(taken) as found:
                self._times = {name.removeprefix("ms_"): round(float(found[name]), 3) for name in found if name.startswith("ms_")}
                return [found[f"output_{place}"] for place in range(len(found.files) - len(self._times))]

    def milliseconds(self, faces: np.ndarray) -> dict[str, float]:
        """Medians of batches of 1 and 32, in the runtime itself."""
        if not self._times:
            self(faces[:1])
        return self._times


class ToolFormat:
    """A format that is made, and read again, in the tool environment; an entry says its ``file`` and its ``runtime``."""

    exact = True
    missing = staticmethod(missing)
    file: str

    @classmethod
    def write(cls, source: Source, folder: Path) -> Path:
        """Write ``file``, with the card in it; ``ExportError`` for an operation that the conversion does not know."""
        path = folder / cls.file
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as scratch:
            card = Path(scratch) / "card.json"
            card.write_text(source.card.model_dump_json())
            _tool("convert", str(source.made().resolve()), str(path.resolve()), str(card))
        return path

    @staticmethod
    def read(path: Path) -> Run:
        """What answers for a file; ``FileNotFoundError`` at once where there is none."""
        if not path.is_file():
            raise FileNotFoundError(f"no export at {path}")
        return ToolRun(path)

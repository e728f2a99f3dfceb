"""Where the servers are: one file, ``components.env``, names MLflow's database and artifacts, Prefect's, and the log's.

Without it everything is embedded: SQLite files and folders of the project. It holds lines ``NAME=VALUE`` of the variables that
the libraries themselves read; importing ferflow puts them into the environment, where what is set already wins. It knows none
of the libraries. ``FERFLOW_COMPONENTS`` names another file.
"""

import os
from pathlib import Path

FILE = Path("components.env")
_KNOWN = ("MLFLOW_", "PREFECT_", "FERFLOW_", "AWS_", "DASK_", "RAY_")


class ComponentsError(ValueError):
    """The file is not there or not usable; the message names the line."""


def apply() -> None:
    """Read the file, where there is one, into the environment."""
    given = os.environ.get("FERFLOW_COMPONENTS")
    file = Path(given) if given else FILE
    if not file.is_file():
        if given:
            raise ComponentsError(f"FERFLOW_COMPONENTS names {file}, which is not there")
        return
    for name, value in read(file).items():
        os.environ.setdefault(name, value)
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    if store and not store.startswith("http"):
        os.environ.setdefault("MLFLOW_BACKEND_STORE_URI", store)  # for MLflow's own page


def read(file: Path) -> dict[str, str]:
    """The names and values of a file; empty lines and lines that begin with # are none. ``ComponentsError`` names a bad line."""
    found = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name.startswith(_KNOWN):
            names = ", ".join(f"{start}…" for start in _KNOWN)
            raise ComponentsError(f"{file}, line {number}: expected NAME=VALUE with a name of {names}, not {text[:40]!r}")
        if value[:1] not in ("'", '"'):
            value = value.partition(" #")[0].strip()
        found[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return found

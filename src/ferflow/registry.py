"""The registry: every backbone, combiner, dataset, detector, exporter, head, metric and recipe is a file, found by name.

A kind is a sub-package (``backbones``, ``transforms``, …), a name is a file in it, and the file's
decorated function or class is the entry. Nothing is imported until it is asked for, because a
file may pull in libraries that take seconds to load. It knows no entry by name.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from inspect import Parameter, signature
from typing import Any, TypeVar

KINDS = ("backbones", "combiners", "datasets", "detectors", "exporters", "heads", "metrics", "transforms")

OURS = {"seed", "part", "in_channels", "image_size", "pretrained"}  # given by the pipeline, not by options
Entry = TypeVar("Entry")
_entries: dict[tuple[str, str], Any] = {}


class UnknownEntryError(KeyError):
    """No entry of that name; unlike a plain ``KeyError`` it prints its message without quotes."""

    def __str__(self) -> str:
        return str(self.args[0])


def register(entry: Entry) -> Entry:
    """Register a function or class under the name of the file (and the kind of the folder) it stands in."""
    _, kind, name = entry.__module__.rsplit(".", 2)
    _entries[kind, name] = entry
    return entry


def names(kind: str) -> list[str]:
    """Every registered name of a kind, sorted: the names of the files in its folder."""
    folder = files("ferflow") / kind
    found = (path.name.removesuffix(".py") for path in folder.iterdir() if path.name.endswith(".py"))
    return sorted(name for name in found if not name.startswith("_"))


def check_options(entry: Callable[..., Any], where: str, options: dict[str, Any]) -> None:
    """Raise ``ValueError`` that lists the known options when ``entry`` does not take one of ``options``."""
    parameters = signature(entry).parameters.values()
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [
        parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY and parameter.name not in OURS
    ]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{where}: unknown options {', '.join(unknown)}; known: {', '.join(known) or 'none'}")


def get(kind: str, name: str) -> Callable[..., Any]:
    """The entry registered under ``name``; a ``KeyError`` that lists the known names if there is none."""
    if name not in names(kind):
        raise UnknownEntryError(f"no {kind} entry is called {name!r}; known: {', '.join(names(kind))}")
    import_module(f"ferflow.{kind}.{name}")
    return _entries[kind, name]

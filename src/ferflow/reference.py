"""The tables of ``docs/reference/``: every parameter, every registered entry, every command, as the code has them.

It owns how those pages look and nothing that stands in them: parameters are read from ``params.py``, entries from the
first sentence of their files (which are parsed, not imported: that would take PyTorch), commands from ``cli.py``.
``python -m ferflow.reference`` writes the pages; ``tests/test_reference.py`` compares them with what would be written.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ferflow import cli, params, quality, registry

FOLDER = Path("docs/reference")
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_KINDS = {
    "backbones": "Networks: `members.NAME.backbone`",
    "combiners": "Ways to combine members: `ensemble.way`",
    "datasets": "Sources of faces: `dataset.source`",
    "detectors": "Face detectors: `serve.detector`, `--detector`",
    "exporters": "Formats: `export.formats`, `--formats` of `ferflow export`",
    "heads": "Heads: `training.heads`",
    "metrics": "Figures of the report",
    "transforms": "Recipes of augmentation: `members.NAME.recipe`",
}


def pages() -> dict[str, str]:
    """The name of every page -> its Markdown."""
    return {"params.md": of_params(), "registry.md": of_registry(), "cli.md": of_cli()}


def of_params() -> str:
    """Every key of params.yaml by block: type, default, meaning."""
    text = _opening(
        "Parameters",
        "Every key of `params.yaml`. The values of this project stand in that file; a default here is what holds where a key is "
        "left out, and *needed* means that it cannot be. Members and students take what they leave out from `training`.",
    )
    top: list[tuple[str, str, str, str]] = []
    blocks = ""
    for name, field in params.Params.model_fields.items():
        key = field.alias or name
        model, prefix = _model_in(field.annotation, key)
        if model is None:
            top.append(_parameter(key, field))
            continue
        said = re.sub(r"\n\s+", "\n", (model.__doc__ or "").replace("``", "`").strip())
        rows = _parameters(model, prefix)
        if key == "students":  # the same class
            said, rows = "Small networks that learn from the ensemble. Their keys are those of `members.NAME`.", []
        blocks += f"## {prefix}\n\n{said}\n\n" + _table(("key", "type", "default", "meaning"), rows)
    return text + _table(("key", "type", "default", "meaning"), top) + blocks.rstrip() + "\n"


def of_registry() -> str:
    """Every registered entry by kind: its first sentence and its options with their defaults."""
    text = _opening(
        "Registered entries",
        "Each is a file in the folder of its kind in `src/ferflow/`. `ferflow list` prints the names. "
        "Options stand in `members.NAME.options` (backbones) and `dataset.options` (sources).",
    )
    for kind in registry.KINDS:
        rows = [(f"`{name}`", *_entry(kind, name)) for name in registry.names(kind)]
        columns = 3 if any(options for _, _, options in rows) else 2
        text += f"## {kind}\n\n{_KINDS[kind]}.\n\n"
        text += _table(("entry", "what it is", "options")[:columns], [row[:columns] for row in rows])
    return text.rstrip() + "\n"


def of_cli() -> str:
    """Every command: its usage, its help, its arguments and options."""
    text = _opening("Commands", "What `--help` says of each. The exit code is 0, or 1 with a message on standard error.")
    for name, command in _commands(typer.main.get_command(cli.app), "ferflow"):
        context = typer.Context(command, info_name=name)
        said = "\n\n".join(_paragraph(part) for part in (command.help or "").strip().split("\n\n"))
        rows = [_record(parameter, context) for parameter in command.params]
        usage = " ".join(command.get_usage(context).split()[1:])
        text += f"## {name}\n\n{said}\n\n```text\n{usage}\n```\n\n" + _table(("", ""), rows)
    return text.rstrip() + "\n"


def _opening(title: str, said: str) -> str:
    return f"<!-- Written by `make reference`; do not edit. -->\n# {title}\n\n{said}\n\n"


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    if not rows:
        return ""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines) + "\n"


def _model_in(annotation: Any, key: str) -> tuple[type[BaseModel] | None, str]:
    """The block that a key holds, and how its keys are written; ``None`` for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, key
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        model, _ = _model_in(arguments[1], key)
        return model, f"{key}.NAME" if model else key
    if get_origin(annotation) in (Union, UnionType) and type(None) in arguments:
        return _model_in(next(one for one in arguments if one is not type(None)), key)
    return None, key


def _parameters(model: type[BaseModel], prefix: str) -> list[tuple[str, str, str, str]]:
    """The rows of a block and of the blocks inside it; a member's without those that it shares with ``training``."""
    rows = []
    shared = params.Training.model_fields if model is params.Member else {}
    for name, field in model.model_fields.items():
        if name in shared:
            continue
        inner, path = _model_in(field.annotation, f"{prefix}.{name}")
        if inner is params.Rule:
            rows.append((f"`{path}`", "a word, or {do, allow}", _default(field), quality.WORDS[name]))
        elif inner is params.Checks:
            rows += _parameters(params.Rule, f"{path}.CHECK") + _parameters(inner, path)
        elif inner is not None:
            rows += _parameters(inner, path)
        else:
            rows.append(_parameter(path, field))
    return rows


def _parameter(key: str, field: FieldInfo) -> tuple[str, str, str, str]:
    limits = [f"{_SIGNS[name]} {value}" for limit in field.metadata for name, value in _limit(limit)]
    return f"`{key}`", ", ".join([_type(field.annotation), *limits]), _default(field), field.description or ""


def _limit(limit: Any) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(limit, name)) for name in _SIGNS if hasattr(limit, name))


def _type(annotation: Any) -> str:
    """How a type is said in a table: ``list of text``, ``rgb or gray``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"name → {_type(arguments[1])}"
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in arguments)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Any: "value"}
    return names.get(annotation) or "{" + ", ".join(annotation.model_fields) + "}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.default
    if value is None or value in ("", (), {}):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _entry(kind: str, name: str) -> tuple[str, str]:
    """The first sentence of an entry's file, and its options with their defaults."""
    tree = ast.parse((files("ferflow") / kind / f"{name}.py").read_text())
    first = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
    said = re.sub(r"^\w+ ``\w+``: ", "", first)
    said = re.split(r"(?<=[a-z0-9)])\. (?=[A-Z])", said)[0].removesuffix(".").replace("``", "`")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "register" for one in node.decorator_list):
            given = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            options = [
                f"`{one.arg}: {json.dumps(ast.literal_eval(value))}`"
                for one, value in given
                if value is not None and one.arg not in registry.OURS
            ]
            return said, ", ".join(options) or ("those of the library" if node.args.kwarg else "")
    return said, ""


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, one in sorted(inner.items()):
        yield from _commands(one, f"{name} {word}")


def _paragraph(text: str) -> str:
    """A paragraph of help as Markdown; an example becomes a block that the test of commands reads."""
    said = " ".join(text.split())
    return f"```bash\n{said.removeprefix('Example: ')}\n```" if said.startswith("Example: ") else said


def _record(parameter: Any, context: Any) -> tuple[str, str]:
    words, said = parameter.get_help_record(context)
    said = re.sub(r"\[(default: [^]]*|required)\]", r"(\1)", " ".join(said.split()))
    return f"`{' '.join(words.split())}`", said


def main() -> None:
    """Write the pages into ``docs/reference`` of the working folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
        sys.stdout.write(f"{FOLDER / name}\n")


if __name__ == "__main__":
    main()

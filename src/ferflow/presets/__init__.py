"""Presets: a dataset and the members that suit it, one YAML file each, written over those blocks of params.yaml.

``params.yaml`` stays the only place that is read; a preset is a text to copy from. Comments survive. What a key means is known
to ``params`` alone.
"""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ferflow.params import PARAMS_FILE, ParamsError, load, parse
from ferflow.whole import write_whole

BACKUP = "params.before.yaml"
_BLOCK = re.compile(r"^(?=[A-Za-z_]+:)", re.MULTILINE)


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.name.removesuffix(".yaml") for path in files(__name__).iterdir() if path.name.endswith(".yaml"))


def apply(name: str, data: Path | None = None, params_file: Path = PARAMS_FILE) -> list[str]:
    """Write a preset's blocks over those of ``params.yaml`` and return their names; ``data`` replaces dataset.path.

    What was there before is kept beside it as ``params.before.yaml``.

    Raises ``ParamsError`` for an unknown preset or when the outcome would not be valid; the file is then untouched.
    """
    if name not in names():
        raise ParamsError(f"no preset is called {name!r}; known: {', '.join(names())}")
    if not params_file.exists():
        raise ParamsError(f"{params_file} is not here; run the command in the project's root")
    new = _blocks((files(__name__) / f"{name}.yaml").read_text())
    if data is not None:
        new["dataset"] = re.sub(r"(?m)^  path:.*$", lambda _: f"  path: {json.dumps(str(data))}", new["dataset"])
    _write(new, params_file, f"the preset {name}")
    return [block for block in new if block]


def set_dataset(
    source: str, path: Path, options: dict[str, Any], params_file: Path = PARAMS_FILE, *, frozen: bool = False
) -> None:
    """Make ``source`` at ``path`` the dataset of ``params.yaml``, with these options and the image size that it has.

    ``frozen``: its split, too, is taken as it stands in the data.

    Raises ``ParamsError`` when the outcome would not be valid; the file is then untouched.
    """
    settings = load(params_file)
    size, shares = settings.dataset.image_size, settings.split
    lines = [
        "dataset:",
        f"  source: {source}",
        f"  path: {json.dumps(str(path))}",
        f"  image_size: {size}",
        f"  options: {json.dumps(options)}",
        "",
        "",
    ]
    new = {"dataset": "\n".join(lines)}
    if frozen:
        new["split"] = (
            f"split: {{val: {shares.val}, test: {shares.test}, frozen: true}} # every face keeps the side that it has\n\n"
        )
    _write(new, params_file, f"the dataset {source}")


def set_members(change: Callable[[str], str], params_file: Path = PARAMS_FILE) -> None:
    """Put ``change(text)`` in the place of the text of the block ``members``.

    Raises ``ParamsError`` when the outcome would not be valid; the file is then untouched.
    """
    _write({"members": change(_blocks(params_file.read_text())["members"])}, params_file, "these members")


def _write(new: dict[str, str], params_file: Path, what: str) -> None:
    before = params_file.read_text()
    text = "".join((_blocks(before) | new).values())
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParamsError(
            f"{params_file} would be no YAML with {what}; write each of its blocks as 'members:' with entries below it, "
            "indented by two spaces"
        ) from error
    parse(raw, f"{params_file} with {what}")
    params_file.with_name(BACKUP).write_text(before)
    write_whole(params_file, text)


def _blocks(text: str) -> dict[str, str]:
    """The text cut at its top-level keys; what stands before the first has the name ''."""
    parts = _BLOCK.split(text)
    return {re.split(r":", part, maxsplit=1)[0] if _BLOCK.match(part) else "": part for part in parts if part}

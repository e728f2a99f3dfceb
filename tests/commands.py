"""The commands that the documentation shows, and what is wrong with one: read and parsed, never run."""

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import typer.main
from conftest import ROOT

from ferflow.cli import app
from ferflow.serving.routes import route_of

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "data/README.md",
    ROOT / "src/ferflow/starter/README.md",
    *sorted((ROOT / "reports/benchmarks").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROGRAMS = "ferflow|make|python|dvc|bentoml|git|pip|torchrun|curl"
_INLINE = re.compile(rf"(?<!`)`((?:[A-Z_]+=\S+ )*(?:{_PROGRAMS}) [^`]+)`(?!`)")
_ENDS = {"&&", "||", "|", ";", "(", ")", "&"}
# programs whose options are not looked at: where they are is the reader's machine
_ELSEWHERE = {"cd", "dask", "docker", "export", "jq", "ls", "mkdir", "mv", "podman", "ray", "source", "xdg-open"}


@dataclass(frozen=True)
class Command:
    """One command; ``whole`` where it can be typed as it stands, unlike `ferflow predict` in the middle of a sentence."""

    page: Path
    line: int
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {shlex.join(self.words)}"


def blocks(page: Path, *languages: str) -> Iterator[tuple[int, str, str]]:
    """``(line of its first line, language, text)`` of every fenced block in one of the languages."""
    text = page.read_text()
    for found in FENCE.finditer(text):
        if found[1] in languages:
            yield text.count("\n", 0, found.start(2)) + 1, found[1], found[2]


def commands(page: Path) -> Iterator[Command]:
    """Every command in shell blocks (of a console, after the prompt) and between backticks."""
    for start, language, text in blocks(page, "bash", "sh", "console"):
        for number, line in lines(text):
            if language != "console":
                yield from _taken_apart(page, start + number, line, whole=True)
            elif line.startswith("$ "):
                yield from _taken_apart(page, start + number, line[2:], whole=True)
    prose = FENCE.sub(lambda found: "\n" * found[0].count("\n"), page.read_text())
    for found in _INLINE.finditer(prose):
        yield from _taken_apart(page, prose.count("\n", 0, found.start()) + 1, found[1], whole=False)


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines; those that end in a backslash go on."""
    held, first = "", 0
    for number, line in enumerate(text.splitlines()):
        held, first = (held + line, first) if held else (line, number)
        if held.endswith("\\"):
            held = held[:-1]
        elif held.strip():
            yield first, held
            held = ""
        else:
            held = ""


def _taken_apart(page: Path, line: int, text: str, whole: bool) -> Iterator[Command]:
    reader = shlex.shlex(text, posix=True, punctuation_chars="();<>|&")
    reader.whitespace_split = True
    words: list[str] = []
    skip = False  # the file after > or <
    for word in [*reader, ";"]:
        if word in _ENDS:
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words and not (words[0] == "export" and len(words) == 2):
                yield Command(page, line, tuple(words), whole)
            words = []
        elif word in (">", ">>", "<"):
            skip = True
        elif skip:
            skip = False
        else:
            words.append(word)


def fault(command: Command) -> str:
    """What is wrong with it; empty where nothing is known to be."""
    program, *rest = command.words
    checks = {
        "ferflow": _ferflow, "make": _make, "python": _python, "dvc": _dvc, "bentoml": _bentoml, "git": _git, "pip": _pip,
        "torchrun": _torchrun, "curl": _curl, "cp": _cp,
    }  # fmt: skip
    if program in checks:
        return checks[program](rest, command.whole)
    return "" if program in _ELSEWHERE else f"{program} is not known to tests/commands.py"


def _ferflow(words: list[str], whole: bool) -> str:
    command, path = typer.main.get_command(app), ["ferflow"]
    while hasattr(command, "commands"):
        if not words:
            return "" if not whole else f"{' '.join(path)} needs a command"
        if words[0] in ("--help", "…"):
            return ""
        if words[0] not in command.commands:
            return f"{' '.join(path)} has no command {words[0]!r}; it has {', '.join(command.commands)}"
        command = command.commands[words[0]]
        path.append(words.pop(0))
    if not words and not whole:  # `ferflow predict` in a sentence
        return ""
    try:
        command.make_context(" ".join(path), [word.strip("[]") for word in words])
    except (SystemExit, typer.Exit):  # --help
        return ""
    except Exception as error:  # typer's own classes of errors are private
        return error.format_message() if hasattr(error, "format_message") else str(error)
    return ""


@cache
def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _make(words: list[str], whole: bool) -> str:
    wanted = [word for word in words if "=" not in word]
    return "".join(f"the Makefile has no target {word!r}" for word in wanted if word not in _targets())


def _python(words: list[str], whole: bool) -> str:
    if words[0] == "-m":
        try:
            ours = (ROOT / words[1].replace(".", "/")).with_suffix(".py")  # tests/ has a folder of the same name
            return "" if ours.is_file() or importlib.util.find_spec(words[1]) else f"there is no module {words[1]}"
        except ModuleNotFoundError as error:
            return str(error)
    script = ROOT / words[0]
    if not script.is_file():
        return f"there is no {words[0]}"
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    added = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"]
    known = {one.value for node in added for one in node.args if isinstance(one, ast.Constant)}
    if unknown := [word for word in words[1:] if word.startswith("-") and word.split("=")[0] not in known]:
        return f"{words[0]} has no option {unknown[0]}"
    for node in added:
        choices = next((ast.literal_eval(one.value) for one in node.keywords if one.arg == "choices"), None)
        if choices and not str(ast.literal_eval(node.args[0])).startswith("-") and words[1:] and words[1] not in choices:
            return f"{words[0]}: {words[1]} is none of {', '.join(choices)}"
    return ""


def _dvc(words: list[str], whole: bool) -> str:
    from dvc.cli import DvcParserError
    from dvc.cli.parser import get_main_parser

    if not whole and len(words) == 1:  # `dvc plots`, of its commands together
        words = [*words, "--help"]
    try:
        get_main_parser().parse_args(words)
    except DvcParserError:
        return "dvc does not take this"
    except SystemExit:  # --help
        pass
    return ""


@cache
def _of_bentoml():
    from bentoml_cli.cli import create_bentoml_cli

    return create_bentoml_cli()


def _bentoml(words: list[str], whole: bool) -> str:
    import click

    group = _of_bentoml()
    if words[0] not in group.commands:
        return f"bentoml has no command {words[0]!r}"
    try:
        group.commands[words[0]].make_context(words[0], words[1:])
    except click.ClickException as error:
        return error.format_message()
    return ""


@cache
def _of_git() -> set[str]:
    return set(subprocess.run(["git", "--list-cmds=main"], capture_output=True, text=True, check=True).stdout.split())


def _git(words: list[str], whole: bool) -> str:
    return "" if words[0] in _of_git() else f"git has no command {words[0]!r}"


def _pip(words: list[str], whole: bool) -> str:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name.strip() for found in re.findall(r"\[([\w, ]+)\]", " ".join(words)) for name in found.split(",")}
    return "".join(f"there is no extra {name!r}" for name in sorted(named - set(extras)))


def _torchrun(words: list[str], whole: bool) -> str:
    return _python(words[words.index("-m") :], whole) if "-m" in words else "no module is named (-m)"


def _cp(words: list[str], whole: bool) -> str:
    return "" if (ROOT / words[0]).exists() else f"there is no {words[0]}"


@cache
def _of_curl() -> set[str]:
    said = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", said))


def _curl(words: list[str], whole: bool) -> str:
    """Options are curl's; the address and the fields of the form or the JSON are the service's."""
    if unknown := [word for word in words if word.startswith("-") and word not in _of_curl()]:
        return f"curl has no option {unknown[0]}"
    url = next((word for word in words if word.startswith("http")), "")
    if urlsplit(url).port != 3000:
        return "" if url else "no address"
    route = route_of(urlsplit(url).path)
    if route is None:
        return f"the service has no address {urlsplit(url).path}"
    form = [words[at + 1].split("=")[0] for at, word in enumerate(words) if word == "-F"]
    body = [words[at + 1] for at, word in enumerate(words) if word == "--json"]
    if ("POST" if form or body else "GET") not in route.methods:
        return f"{urlsplit(url).path} answers to {' and '.join(route.methods)}"
    fields = set(route.fields.model_fields) if route.fields else set()
    if unknown := [name for name in form if name not in fields | {route.file}]:
        return f"{urlsplit(url).path} has no field {unknown[0]}"
    sent = {name for text in body for name in json.loads(text)}
    model = route.as_json or (None if route.file else route.fields)
    unknown = sorted(sent - set(model.model_fields if model else ()))
    return f"{urlsplit(url).path} has no field {unknown[0]}" if unknown else ""

"""dvc.yaml lists every file of ferflow that a stage's result depends on: compared with what the stage imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from ferflow.registry import KINDS, names

SRC = ROOT / "src/ferflow"
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# These carry values and hold none of the work: what they carry stands in params.yaml and in the paths of dvc.yaml.
CARRIERS = {"params.py", "registry.py"}


def imported(file: Path) -> Iterator[Path]:
    """Files of ferflow that a file imports, or asks the registry for by name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "get" and len(node.args) == 2:
            kind, name = (getattr(argument, "value", None) for argument in node.args)
            if isinstance(name, str):
                yield SRC / str(kind) / f"{name}.py"
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("ferflow"):
            continue
        parts = node.module.split(".")[1:]
        for found in [parts, *([*parts, alias.name] for alias in node.names)]:
            path = SRC.joinpath(*found).with_suffix(".py")
            if found and path.is_file():
                yield path


def needed(stage: str) -> set[str]:
    todo, seen = [SRC / "stages" / f"{stage}.py"], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imported(file)
    return {str(file.relative_to(ROOT)) for file in seen if str(file.relative_to(SRC)) not in CARRIERS}


@pytest.mark.parametrize("stage", names("stages"))
def test_a_stage_depends_on_every_file_it_imports(stage):
    entry = GRAPH[stage].get("do", GRAPH[stage])
    missing = {name for name in needed(stage) if not any(Path(name).is_relative_to(dep) for dep in entry["deps"])}
    assert not missing, f"dvc.yaml: {stage} imports these, and does not depend on them"
    files = {dep for dep in entry["deps"] if dep.startswith("src/") and dep.endswith(".py") and "$" not in dep}
    stale = {dep for dep in files if not Path(dep).name.startswith("_")} - needed(stage)
    assert not stale, f"dvc.yaml: {stage} depends on these, and does not import them"


def test_every_stage_of_the_graph_is_a_file():
    assert set(GRAPH) == set(names("stages"))
    assert "stages" not in KINDS


@pytest.mark.parametrize("kind", ["backbones", "transforms"])
def test_what_an_entry_shares_with_others_is_a_dependency_of_training(kind):
    shared = {str(file.relative_to(ROOT)) for file in (SRC / kind).glob("_[a-z]*.py")}
    assert shared
    for stage in ("train", "distil"):
        assert shared <= set(GRAPH[stage]["do"]["deps"])
    for name in names(kind):
        others = {str(file.relative_to(ROOT)) for file in imported(SRC / kind / f"{name}.py") if file.parent == SRC / kind}
        assert others <= shared, f"{kind}/{name} stands on an entry that its members do not depend on"

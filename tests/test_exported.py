"""What ``import ferflow`` gives: the names that are meant, each with a docstring, and no library that nobody asked for."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pkgutil import resolve_name

import pytest
from conftest import ROOT

import ferflow


@pytest.mark.parametrize("package", ["ferflow", "ferflow.livelog"])
def test_every_exported_name_is_there_and_says_what_it_is(package):
    module = import_module(package)
    found = {name: getattr(module, name) for name in module.__all__}
    assert len(found) == len(module.__all__), "a name is exported twice"
    for name, one in found.items():
        if callable(one):
            assert inspect.getdoc(one), f"{package}.{name} has no docstring"
            assert one.__module__.startswith("ferflow."), f"{package}.{name} is not ours"


def documented() -> list[str]:
    """What the pages of the Python API show: what stands behind ``:::``, and the members that are chosen of it."""
    found = []
    for page in sorted((ROOT / "docs/api").glob("*.md")):
        for name, options in re.findall(r"^::: (\S+)((?:\n {4}.*)*)", page.read_text(), re.MULTILINE):
            chosen = re.search(r"members: \[(.*?)\]", options)
            found += [name, *(f"{name}.{member}" for member in chosen[1].split(", "))] if chosen else [name]
    return found


def test_the_pages_of_the_python_api_are_read():
    assert {"ferflow.api.load", "ferflow.vocabulary.TASKS", "ferflow.detectors.needed"} <= set(documented())


@pytest.mark.parametrize("name", documented())
def test_what_the_python_api_shows_is_there_and_says_what_it_is(name):
    one = resolve_name(name)
    if inspect.isclass(one) or inspect.isfunction(one) or inspect.ismodule(one):  # not a tuple, a table, an alias of a type
        words, made = one.__doc__ or "", f"{name.rpartition('.')[2]}("  # what dataclass writes where there is none
        assert words.strip() and not words.startswith(made), f"{name} has no docstring"


def test_another_name_is_refused_with_those_that_there_are():
    with pytest.raises(AttributeError, match=r"ferflow has no 'predict'; it has FacePrediction, .*load"):
        ferflow.predict  # noqa: B018


def test_importing_it_loads_no_library():
    code = "import ferflow, sys; print(*({'numpy', 'cv2', 'onnxruntime', 'pydantic', 'typer', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""

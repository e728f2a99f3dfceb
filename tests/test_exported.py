"""What ``import ferflow`` gives: the names that are meant, each with a docstring, and no library that nobody asked for."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

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


def test_another_name_is_refused_with_those_that_there_are():
    with pytest.raises(AttributeError, match=r"ferflow has no 'predict'; it has FacePrediction, .*load"):
        ferflow.predict  # noqa: B018


def test_importing_it_loads_no_library():
    code = "import ferflow, sys; print(*({'numpy', 'cv2', 'onnxruntime', 'pydantic', 'typer', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""

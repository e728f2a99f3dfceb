"""Every benchmark starts, and the one of training gives ratios."""

import runpy

import pytest
from conftest import ROOT

from ferflow.registry import names


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_a_benchmark_has_what_it_imports(path):
    assert callable(runpy.run_path(str(path), run_name="imported")["main"])


def test_training_is_set_against_a_bare_loop(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    found = runpy.run_path(str(ROOT / "benchmarks/training.py"), run_name="imported")
    found["NETWORKS"].clear()
    found["NETWORKS"]["small"] = {"backbone": "cnn", "options": {"width": 4}}
    found["bench_epoch"](128, 1, 64)
    found["bench_layout"](128, 1)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| small")]
    assert len(rows) == 3
    assert all(float(cell) > 0 for row in rows for cell in row if cell.strip().replace(".", "").isdigit())


def test_what_recipes_can_feed_is_measured(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "benchmarks/training.py"), run_name="imported")["bench_input"](64, 1, 32)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == names("transforms")
    assert all(float(cell) > 0 for row in rows for cell in row[1:] if cell.strip() != "none")

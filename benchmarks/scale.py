"""Costs that docs/scale.md carries to larger numbers.

    python benchmarks/scale.py graph [--stages 10 200 1000]    what DVC takes to read, to ask and to run a stage of a large graph
    python benchmarks/scale.py log URL [--rows 100000]         rows a second into a database (an SQLAlchemy address)

Run in the project's root. Works in a folder for temporary files; rows that are written to URL stay there.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import yaml

ROOT = Path.cwd()
sys.path.insert(0, str(ROOT))


@contextmanager
def graph_of(members: int) -> Iterator[Path]:
    """A DVC project with that many stages of one kind, and one that needs them all; all are up to date."""
    with tempfile.TemporaryDirectory(prefix="ferflow-scale-") as name, chdir(name):
        member = {"cmd": "mkdir -p made && echo ${key} ${item.lr} > made/${key}", "deps": ["word"], "params": ["members.${key}"]}
        stages = {
            "train": {"foreach": "${members}", "do": member | {"outs": ["made/${key}"]}},
            "all": {"cmd": "cat made/* > all", "deps": ["made"], "outs": ["all"]},
        }
        Path("word").write_text("word\n")
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        write_params(members, {})
        for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, check=True)
        yield Path(name)


def write_params(members: int, changed: dict[str, float]) -> None:
    """params.yaml with a learning rate a member."""
    rates = {f"m{number}": {"lr": changed.get(f"m{number}", 0.1)} for number in range(members)}
    Path("params.yaml").write_text(yaml.safe_dump({"members": rates}))


def seconds(*command: str) -> float:
    """Of wall time that a command takes."""
    started = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    subprocess.run(command, check=True, capture_output=True, env=env)
    return time.perf_counter() - started


def bench_graph(sizes: list[int]) -> None:
    """Every size in a project of its own; commands by DVC, questions in this process as the pipeline asks them."""
    from flows.graph import Graph

    columns = ("stages", "all, a stage", "read the graph", "is anything stale?", "one stage: 'dvc repro -s'", "none: 'dvc repro'")
    print(f"| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|")
    dvc = (sys.executable, "-m", "dvc")
    for size in sizes:
        with graph_of(size - 1):
            first = seconds(*dvc, "repro", "-q")
            graph, started = Graph(), time.perf_counter()
            plan = graph.plan()
            read, started = time.perf_counter() - started, time.perf_counter()
            assert not graph.stale(plan)
            asked = time.perf_counter() - started
            write_params(size - 1, {"m3": 0.2})
            one = seconds(*dvc, "--wait-for-lock", "repro", "-q", "-s", "train@m3")
            seconds(*dvc, "repro", "-q")
            nothing = seconds(*dvc, "repro", "-q")
            print(f"| {size} | {first / size:.2f} s | {read:.2f} s | {asked:.2f} s | {one:.1f} s | {nothing:.1f} s |", flush=True)


def bench_log(url: str, rows: int) -> None:
    """One process, one thread that writes: rows a second, from the first to the last in the database."""
    from ferflow.livelog import PredictionLog
    from ferflow.vocabulary import LIVE_COLUMNS

    numbers = {name: 0.125 for name, kind in LIVE_COLUMNS.items() if kind == "float32"}
    with tempfile.TemporaryDirectory() as spill:
        log = PredictionLog(url, Path(spill), capacity=rows + 1000)
        now, client = datetime.now(UTC), "scale"
        started = time.perf_counter()
        for _ in range(rows // 100):
            log.add([{**numbers, "id": uuid4().hex, "time": now, "client": client, "expression": "happy"} for _ in range(100)])
        added = time.perf_counter() - started
        while log.state()["written"] < rows // 100 * 100:
            time.sleep(0.05)
        written = time.perf_counter() - started
        log.close()
    print(f"{rows} rows: added in {added:.1f} s, in the database after {written:.1f} s: {rows / written:.0f} rows a second")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    graph = what.add_parser("graph")
    graph.add_argument("--stages", type=int, nargs="+", default=[10, 200, 1000])
    log = what.add_parser("log")
    log.add_argument("url")
    log.add_argument("--rows", type=int, default=100_000)
    asked = parser.parse_args()
    if asked.what == "graph":
        bench_graph(asked.stages)
    else:
        bench_log(asked.url, asked.rows)


if __name__ == "__main__":
    main()

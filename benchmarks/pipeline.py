"""What running side by side brings and costs: members in parallel against serial, and what an engine adds to a stage.

    python benchmarks/pipeline.py members [--members 6] [--workers 2] [--epochs 40]    real members: dvc repro, then every engine
    python benchmarks/pipeline.py empty [--stages 6] [--workers 2]                     stages that do nothing: overhead alone

Run in the project's root; it works in a copy below the system's folder for temporary files, with a Prefect server of its own.
Nothing else should run on the machine. Every way trains the same members anew (another learning rate), with one thread a member.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from loopback import free_port

WAYS = {"dvc repro": None, "processes": "processes", "Dask": "dask", "Ray": "ray"}
EMPTY = {"stages": {"none": {"foreach": [], "do": {"cmd": "echo ${item} > none-${item}", "outs": ["none-${item}"]}}}}


def copy_of_the_project(folder: Path) -> dict[str, str]:
    """Tracked and new files, a git and a DVC of its own; the environment for commands in it."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if name != "dvc.lock" and Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_", "FERFLOW_"))}
    return clean | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}",
        "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}",
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "PREFECT_HOME": str(folder / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def prefect(folder: Path, env: dict[str, str]) -> Iterator[None]:
    """A server that is ready before anything is timed."""
    port = env["PREFECT_API_URL"].split(":")[2].split("/")[0]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with (folder / "prefect.log").open("ab") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        while True:
            try:
                with urlopen(f"{env['PREFECT_API_URL']}/health", timeout=2):
                    break
            except (URLError, OSError):
                time.sleep(0.5)
        yield
    finally:
        server.terminate()
        server.wait(30)


def change(folder: Path, block: str, **values: object) -> None:
    """Change values of a block of params.yaml."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params[block] = values if block == "members" else params[block] | values
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def timed(folder: Path, env: dict[str, str], way: str | None, workers: int, stages: list[str]) -> float:
    """Seconds of wall time, from the command to its end."""
    command = ["dvc", "repro", *stages]
    if way:
        command = [sys.executable, "-m", "flows.pipeline", "--on", way, "--workers", str(workers), *stages]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def bench_members(folder: Path, env: dict[str, str], count: int, workers: int, epochs: int) -> None:
    """Wall time of all members, and how much of it is not training: what is left when work is shared out evenly."""
    member = {"backbone": "cnn", "modality": "gray", "recipe": "crp", "options": {"width": 16}}
    change(folder, "members", **{f"m{number}": member for number in range(count)})
    change(folder, "dataset", image_size=48, options={"count": 2000, "size": 48})
    stages = [f"train@m{number}" for number in range(count)]
    timed(folder, env, None, 1, ["split"])
    print(f"| {count} members | wall | of the serial time | work of all members | around it, a member |\n|---|---|---|---|---|")
    serial = 0.0
    for number, (name, way) in enumerate(WAYS.items()):
        change(folder, "training", epochs=epochs, lr=0.002 + 0.0001 * number)
        wall = timed(folder, env, way, workers, stages)
        serial = serial or wall
        work = [json.loads(file.read_text())["work_s"] for file in (folder / ".ferflow/results").glob("train-*.json")]
        around = (wall - sum(work) / (workers if way else 1)) / count
        print(f"| {name} | {wall:.1f} s | {wall / serial:.2f} | {sum(work):.1f} s | {around:.1f} s |", flush=True)


def bench_empty(folder: Path, env: dict[str, str], count: int, workers: int) -> None:
    """Wall time of stages that do nothing, of one, and the difference for each further one."""
    print("| way | one stage | all | a further stage |\n|---|---|---|---|")
    for number, (name, way) in enumerate(WAYS.items()):
        walls = []
        for stages in (1, count):
            graph = EMPTY["stages"]["none"] | {"foreach": [f"{number}-{stages}-{one}" for one in range(stages)]}
            (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"none": graph}}))
            walls.append(timed(folder, env, way, workers, []))
        print(f"| {name} | {walls[0]:.1f} s | {walls[1]:.1f} s | {(walls[1] - walls[0]) / (count - 1):.2f} s |", flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("members", "empty"))
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--stages", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=40)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ferflow-pipeline-") as name:
        folder = Path(name)
        env = copy_of_the_project(folder)
        with prefect(folder, env):
            if asked.what == "members":
                bench_members(folder, env, asked.members, asked.workers, asked.epochs)
            else:
                bench_empty(folder, env, asked.stages, asked.workers)


if __name__ == "__main__":
    main()

"""The whole pipeline as a user runs it: real dvc, Prefect, MLflow and BentoML on a few drawn faces, in a copy of the project."""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, png
from loopback import free_port
from running import SCRIPTS, Running, serving

pytestmark = pytest.mark.slow
BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('prefect', 'mlflow', 'bentoml', 'dvc'):
            raise ImportError(name + ' is not installed here')
sys.meta_path.insert(0, Absent())
import runpy
sys.argv = [sys.argv[1], *sys.argv[2:]]
runpy.run_module('ferflow.stages.' + sys.argv[0], run_name='__main__')
"""


class Project:
    """A copy of the project with a small params.yaml, its own git and DVC, and its own ports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        files = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in files.stdout.split("\n"):
            if name and name != "dvc.lock" and (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        self.port = free_port()
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_", "FERFLOW_"))}
        self.env = clean | {
            "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
        }
        self.change(self._small)
        for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"]):
            subprocess.run(["git", *command], cwd=root, check=True)

    @staticmethod
    def _small(params: dict) -> None:
        params["dataset"] |= {"image_size": 32, "options": {"count": 240, "size": 32}}
        params["training"] |= {"epochs": 1, "batch_size": 32}
        member = {"backbone": "cnn", "recipe": "none", "options": {"width": 4}}
        params["members"] = {"rgb": member | {"modality": "rgb"}, "gray": member | {"modality": "gray"}}

    def change(self, edit) -> None:
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        edit(params)
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(SCRIPTS / command[0]), *command[1:]],
            cwd=self.root, env=self.env, capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def repro(self, *options: str) -> list[str]:
        """Run ``dvc repro`` and return the stages that ran (with ``--dry``: that would)."""
        lines = self.run("dvc", "repro", *options).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def python(self, code: str) -> str:
        return self.run("python", "-W", "ignore", "-c", code)


def first_json(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("{"))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


FOLLOWING = ["ensemble", "cost", "evaluate", "robustness", "explain", "export", "report", "register"]


def test_one_command_runs_every_stage_and_the_second_time_none(project):
    assert project.repro() == ["ingest", "validate", "split", "train@rgb", "train@gray", *FOLLOWING]
    assert project.repro() == []
    assert "up to date" in project.run("dvc", "status")
    reference = pd.read_parquet(project.root / "models/release/reference.parquet")
    assert set(reference["split"]) == {"test"}
    assert len(reference) == 36  # 0.15 of 240
    assert reference[["brightness", "contrast", "sharpness", "certain", "expression", "label"]].notna().all().all()
    assert max(side["largest_difference"] for side in _parity(project)) < 1e-4
    assert "rgb" in project.run("dvc", "metrics", "show")
    assert "index.html" in project.run("dvc", "plots", "show")
    printed = project.run("ferflow", "results")
    assert "as champion" in printed
    assert "orchestration costs" in printed


def _parity(project) -> list[dict]:
    parity = json.loads((project.root / "models/release/parity.json").read_text())["onnx"]
    return [parity["from_pytorch"], parity["from_evaluation"]]


def test_nothing_is_left_running_after_the_run(project):
    deadline = time.monotonic() + 60
    while list((project.root / ".ferflow").glob("companion*.sock")):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{project.port}/api/health", timeout=5)
        except httpx.TransportError:
            break
        assert time.monotonic() < deadline, "Prefect's server still answers"
        time.sleep(0.3)


def flow_states(project, name: str) -> list[str]:
    database = sqlite3.connect(project.root / ".prefect/prefect.db")
    return [state for (state,) in database.execute("select state_type from flow_run where name = ?", [name])]


def test_prefect_remembers_a_run_of_every_stage_with_its_table(project):
    database = sqlite3.connect(project.root / ".prefect/prefect.db")
    runs = dict(database.execute("select name, state_type from flow_run").fetchall())
    names = ["ingest", "validate", "split", "train-rgb", "train-gray", *FOLLOWING]
    assert {name: runs.get(name) for name in names} == dict.fromkeys(names, "COMPLETED")
    assert {key for (key,) in database.execute("select key from artifact")} >= set(names)
    tasks = {name.rsplit("-", 1)[0] for (name,) in database.execute("select name from task_run")}
    assert {"run ingest", "run train", "publish table"} <= tasks


def test_mlflow_holds_a_comparable_run_for_every_member_and_the_champion(project):
    found = project.python(
        "import mlflow, json\n"
        "runs = mlflow.search_runs(experiment_names=['ferflow'])\n"
        "children = runs[runs['tags.member'].notna()]\n"
        "client = mlflow.MlflowClient()\n"
        "version = client.get_model_version_by_alias('ferflow', 'champion')\n"
        "info = mlflow.models.get_model_info('models:/ferflow@champion')\n"
        "print(json.dumps({'members': sorted(children['tags.member']), 'lr': children['params.lr'].tolist(),\n"
        "  'accuracy': children['metrics.test.expression.accuracy'].tolist(),\n"
        "  'parents': children['tags.mlflow.parentRunId'].unique().tolist(), 'run': version.run_id,\n"
        "  'tags': sorted(version.tags), 'inputs': str(info.signature.inputs),\n"
        "  'example': info.saved_input_example_info is not None}))"
    )
    facts = json.loads(first_json(found))
    assert facts["members"] == ["ensemble", "gray", "rgb"]
    assert facts["parents"] == [facts["run"]]
    assert len([lr for lr in facts["lr"] if lr]) == 2
    assert len([a for a in facts["accuracy"] if 0 <= a <= 1]) == 3
    assert {"code", "data", "ferflow.release"} <= set(facts["tags"])
    assert "uint8" in facts["inputs"]
    assert facts["example"]


@pytest.fixture
def service(project) -> Iterator[Running]:
    with serving(project.root, ".", PYTHONPATH=project.env["PYTHONPATH"]) as running:
        yield running


def test_the_service_answers_with_the_champion_and_never_with_a_500(project, service, request):
    client = service.client
    assert client.post("/model").json()["version"] == "ferflow/1"
    assert client.get("/model").json()["card"]["name"] == "release"
    assert client.post("/model", files={"image": b"junk"}).status_code == 200
    thin = [cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes() for shape in ((1, 2000, 3), (10_000, 3, 3))]
    assert [client.post("/predict", files={"image": data}).status_code for data in thin] == [200, 200]
    empty = client.post("/predict", files={"image": png(size=100)})
    assert (empty.status_code, empty.json()["faces"]) == (200, [])
    assert (empty.json()["width"], empty.json()["model_version"]) == (100, "ferflow/1")
    bad = {
        "no image": {"files": {"image": b"text"}},
        "half an image": {"files": {"image": png()[:200]}},
        "empty file": {"files": {"image": b""}},
        "empty body": {},
        "no field": {"files": {"picture": png()}},
        "text field": {"data": {"image": "x"}},
        "an address beside the file": {"files": {"image": png()}, "data": {"image": "http://127.0.0.1:9/x.png"}},
        "json": {"json": {"image": "x"}},
    }
    codes = {name: client.post("/predict", **parts).status_code for name, parts in bad.items()}
    assert codes == dict.fromkeys(bad, 400) | {"text field": 415}
    assert client.post("/predict", files={"image": b"x" * 11_000_000}).status_code == 413
    assert "/predict" in client.get("/docs.json").json()["paths"]
    media = request.getfixturevalue("shared") / "media/two_people.jpg"
    with ThreadPoolExecutor(4) as pool:  # threads of the service share its detector
        replies = list(pool.map(lambda _: client.post("/predict", files={"image": media.read_bytes()}), range(12)))
    assert [len(reply.json()["faces"]) for reply in replies] == [2] * 12
    faces = replies[0].json()["faces"]
    assert {"box_xyxy", "detection_score", "expression", "confidence", "top3", "valence", "age", "gender", "race"} <= set(
        faces[0]
    )
    assert len(faces[0]["probabilities"]["expression"]) == 8


def test_a_changed_member_is_retrained_alone_and_a_removed_one_leaves_nothing_behind(project):
    before = yaml.safe_load((project.root / "params.yaml").read_text())
    project.change(lambda params: params["members"].pop("rgb"))
    assert project.repro("--dry") == FOLLOWING
    project.change(lambda params: params.update(before))
    project.change(lambda params: params["members"]["gray"].update(lr=0.001))
    assert project.repro("--dry") == ["train@gray", *FOLLOWING]
    project.change(lambda params: params["members"].pop("rgb"))
    assert project.repro() == ["train@gray", *FOLLOWING]
    assert [path.name for path in (project.root / "models/members").iterdir()] == ["gray"]
    assert "up to date" in project.run("dvc", "status")


def test_a_second_version_is_a_challenger(project):
    registration = json.loads((project.root / "reports/registration.json").read_text())
    assert (registration["version"], registration["alias"]) == (2, "challenger")


def test_registering_twice_makes_no_second_version(project):
    project.run("python", "-m", "ferflow.stages.register")
    registration = json.loads((project.root / "reports/registration.json").read_text())
    assert (registration["version"], registration["created"]) == (2, False)


def test_a_member_that_comes_back_is_not_trained_again(project):
    both = {"rgb": {"modality": "rgb"}, "gray": {}}
    project.change(lambda params: params.update(members={name: params["members"]["gray"] | own for name, own in both.items()}))
    project.change(lambda params: params["members"]["rgb"].pop("lr"))
    project.run("dvc", "checkout", "models/members/rgb")
    assert (project.root / "models/members/rgb/weights.pt").exists()
    assert project.repro("--dry") == FOLLOWING


def test_a_new_member_is_all_that_is_trained_and_a_bare_machine_can_train_it(project):
    project.change(lambda params: params["members"].update(small={**params["members"]["gray"], "options": {"width": 2}}))
    stale = {stage for stage in json.loads(first_json(project.run("dvc", "status", "--json"))) if stage.startswith("train")}
    assert stale == {"train@small"}
    project.run("python", "-c", BARE, "train", "small")
    assert (project.root / "models/members/small/weights.pt").exists()
    assert pd.read_parquet(project.root / "models/members/small/predictions.parquet")["split"].value_counts().to_dict() == {
        "test": 36,
        "val": 36,
    }


def test_bad_data_stops_the_pipeline_with_a_list_and_an_unreachable_server_does_not(project):
    project.change(lambda params: params["validate"].update(min_rows=10_000))
    output = project.run("dvc", "repro", "validate", code=255)
    assert output.count("the data breaks 1 expectations") == 1, "what would fail again is not tried again"
    assert "not fewer rows than validate.min_rows: 240 rows" in output
    assert "FAILED" in flow_states(project, "validate")
    project.env["PREFECT_API_URL"] = "http://prefect.invalid/api"
    project.change(lambda params: params["validate"].update(min_rows=50))
    output = project.run("dvc", "repro", "validate")
    assert "no Prefect server answers" in output

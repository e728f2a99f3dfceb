"""A project whose pipeline costs nothing: real DVC, a real registry and real models, and stages that only pretend to train.

Every stage writes a line to ``runs.log``; ``train`` sleeps for the seconds in the file ``nap``, makes a release that fails the
gate's check of parity while there is a file ``spoil``, and fails itself while there is a file ``trip``.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import ROOT
from liverows import people_say
from loopback import free_port

from ferflow.livelog import PredictionLog

GRAPH = """
stages:
  data:
    cmd: python stage.py data
    deps: ["${dataset.path}"]
    params: [seed, dataset, split]
    outs: [data/manifest.parquet, data/splits.parquet, reports/data]
  train:
    cmd: python stage.py train
    deps: [data/manifest.parquet, data/splits.parquet]
    outs: [models/release, reports/registration.json]
"""
STAGE = """
import json, os, shutil, sys, time
from hashlib import sha256
from pathlib import Path

stage = sys.argv[1]
with open("runs.log", "a") as log:
    log.write(stage + "\\n")
if stage == "data":
    import pyarrow as pa
    import pyarrow.parquet as pq
    import yaml
    source = yaml.safe_load(Path("params.yaml").read_text())["dataset"]["path"]
    Path("reports/data").mkdir(parents=True)
    Path("data").mkdir(exist_ok=True)
    shutil.copy(source, "data/manifest.parquet")  # it has the manifest's columns
    table = pq.read_table(source, columns=["id", "official_split"])
    cut = ["test" if i % 20 < 3 else "val" if i % 20 < 6 else "train" for i in range(len(table))]
    sides = [known or drawn for known, drawn in zip(table["official_split"].to_pylist(), cut)]
    pq.write_table(pa.table({"id": table["id"], "split": sides}), "data/splits.parquet")
    checks = [{"name": "rows", "severity": "fail", "passed": True, "found": "enough"}]
    Path("reports/data/validation.json").write_text(json.dumps({"checks": checks}))
elif stage == "train":
    began = time.monotonic()
    while time.monotonic() - began < float(Path("nap").read_text() or 0):
        time.sleep(0.1)
    if Path("trip").exists():
        print("train: it cannot be trained")
        sys.exit(int(Path("trip").read_text()))
    import numpy as np
    import onnx
    from conftest_free import reference
    from ferflow import tracking
    from ferflow.frozen import TEST_FACES, fingerprint
    folder = Path("models/release")
    folder.mkdir(parents=True)
    model = onnx.load("model.onnx")
    model.doc_string = sha256(Path("data/manifest.parquet").read_bytes()).hexdigest()  # another model for other data
    release = folder / "model.onnx"
    onnx.save(model, release)
    reference(folder)
    off = 1.0 if Path("spoil").exists() else 0.0
    side = {"largest_difference": off}
    said = {"onnx": {"from_pytorch": side, "from_evaluation": side, "allowed": {"largest_difference": 1e-3}}}
    (folder / "parity.json").write_text(json.dumps(said))
    found = tracking.register_release(
        release, release_hash=sha256(release.read_bytes()).hexdigest(), experiment="e", model="ferflow", members=[], metrics={},
        tags={TEST_FACES: fingerprint(Path("data/manifest.parquet"), Path("data/splits.parquet"))},
        input_example=np.zeros((1, 40, 40, 3), np.uint8), files=[], tables={},
    )
    Path("reports/registration.json").write_text(json.dumps(vars(found)))
"""
REFERENCE = '''
from pathlib import Path


def reference(folder):
    """What the model says of its test faces, and its card."""
    from ferflow.evidence import _NO_FACES, ask
    from ferflow.inference import Predictor
    from ferflow.tables import load_labels

    predictor = Predictor(folder / "model.onnx", _NO_FACES)
    labels = load_labels(Path("data/manifest.parquet"), Path("data/splits.parquet"))
    ((predictions, _),) = ask([predictor], Path("data/manifest.parquet"), labels[labels["split"] == "test"])
    predictions.to_parquet(folder / "reference.parquet")
    (folder / "card.json").write_text(predictor.card.model_dump_json())
'''


class Faked:
    """The project in ``folder``; ``model`` is an ONNX file of ferflow's, ``faces`` a manifest."""

    def __init__(self, folder: Path, model: Path, faces: Path, webhook: str = "") -> None:
        self.folder, self.port = folder, free_port()
        shutil.copy(model, folder / "model.onnx")
        shutil.copy(faces, folder / "base.parquet")
        for name, text in (("dvc.yaml", GRAPH), ("stage.py", STAGE), ("conftest_free.py", REFERENCE), ("nap", "0")):
            (folder / name).write_text(text)
        (folder / ".gitignore").write_text(
            "/.ferflow\n/.prefect\n/mlflow.db*\n/mlruns\n/runs.log\n/nap\n/spoil\n/trip\n*.log\n/kept\n/spill\nparams.before.yaml\n/reports/gate\n/data/versions/*\n!/data/versions/*.dvc\n"
        )
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["dataset"] = {"source": "parquet", "path": "base.parquet", "image_size": 32, "options": {}}
        params["serve"] |= {"keep_crops": "kept"}
        params["monitor"] = {"cron": ""}
        params["gate"] = {"margin": 0.5, "class_floors": {}, "class_floor": 0, "ece": 1.0, "latency_ratio": 50.0}
        params["retrain"] = {"min_feedback": 4, "hold_out": 0.25, "cron": "", "webhook": webhook}
        (folder / "params.yaml").write_text("# my comment\n" + yaml.safe_dump(params, sort_keys=False))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT", "FERFLOW_"))}
        self.env = clean | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_HOME": str(folder / ".prefect"),
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PYTHONWARNINGS": "ignore",
            "FERFLOW_RETRY_S": "0.2",
        }
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"], ["git", "add", "-A"]):
            self.run(*command)
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start")

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *module: str, log: str = "out.log") -> subprocess.Popen:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *module], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip

    def feedback(self, count: int, label: str = "happy", seed: int = 0) -> list[str]:
        """People gave faces and said what they show."""
        log = PredictionLog(f"sqlite:///{self.folder}/.ferflow/live.db", self.folder / "spill")
        return people_say(log, self.folder / "kept", count, label, seed)

    def ran(self) -> list[str]:
        """The stages that ran since the last call."""
        lines = self.lines()
        (self.folder / "runs.log").unlink(missing_ok=True)
        return lines

    def lines(self) -> list[str]:
        """The stages that began since ``ran`` was asked."""
        path = self.folder / "runs.log"
        return path.read_text().split() if path.exists() else []

    def tree(self) -> dict[str, bytes]:
        """Every file that is the user's or the pipeline's."""
        left_out = (
            ".git/",
            ".dvc/",
            ".ferflow/",
            ".prefect/",
            "kept/",
            "mlruns/",
            "mlflow.db",
            "reports/gate/",
            "data/versions/",
        )
        found = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        names = [name for name in sorted(found) if not name.startswith(left_out) and not name.endswith(".log")]
        return {name: found[name].read_bytes() for name in names}

    def aliases(self) -> dict[str, int]:
        code = "import json; from ferflow import tracking; print(json.dumps(tracking.aliases('ferflow')))"
        said = self.run("python", "-c", code)
        return json.loads(next(line for line in said.splitlines() if line.startswith("{")))

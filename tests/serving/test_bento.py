"""``bentoml build`` makes a Bento that answers from its own folder, with nothing but what inference needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clips
import cv2
import httpx
import pytest
from conftest import ROOT, png
from running import SCRIPTS, Running, serving

pytestmark = pytest.mark.slow
ABSENT = ("albumentations", "dvc", "evidently", "fairlearn", "mlflow", "onnx", "prefect", "sklearn", "timm", "torch")
OWN = "<!-- this Bento's -->"
# Python runs a sitecustomize at every start, so the supervisor and its workers have it. The editable installation of this
# repository goes, too: a path of its own, or a finder among sys.meta_path.
BARE = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {ABSENT!r}:
            raise ModuleNotFoundError(name + ' is not installed here', name=name)
sys.path[:] = [one for one in sys.path if not one.endswith('/src')]
sys.meta_path[:] = [Absent(), *(one for one in sys.meta_path if 'editable' not in repr(one).lower())]
"""


@pytest.fixture(scope="module")
def bento(release, tmp_path_factory) -> Path:
    """The folder of a Bento, built in a copy of the project in which ``make repro`` has made a release."""
    project, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("home")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, files.stdout.split("\n")):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    (project / "models/release").mkdir(parents=True)
    shutil.copy(release, project / "models/release/model.onnx")
    (project / "data").mkdir(exist_ok=True)
    (project / "data/manifest.parquet").write_bytes(b"people's faces")  # must not come along
    (project / ".env").write_text("POSTGRES_PASSWORD=secret")
    env = _clean() | {"BENTOML_HOME": str(home), "PYTHONPATH": str(project / "src"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, str(SCRIPTS / "bentoml"), "build", "--output", "tag"]
    built = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (folder,) = [one for one in (home / "bentos/ferflow").iterdir() if one.is_dir()]
    shutil.rmtree(project)  # a Bento must not need it
    return folder


def _clean() -> dict[str, str]:
    ours = ("MLFLOW_", "PREFECT_", "FERFLOW_", "BENTOML_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def test_a_bento_has_the_code_the_model_and_nothing_else(bento):
    files = [path.relative_to(bento) for path in bento.rglob("*") if path.is_file()]
    assert {one.parts[0] for one in files} <= {"README.md", "apis", "bento.yaml", "env", "src"}
    carried = {str(one.relative_to("src")) for one in files if one.parts[0] == "src"}
    about = {"bentofile.yaml", "LICENSE", "README.md", "params.yaml", "pyproject.toml", "models/release/model.onnx"}
    assert {one for one in carried if not one.startswith("ferflow/")} == about
    assert "ferflow/serving/page/index.html" in carried
    assert not [one for one in files if one.suffix in (".parquet", ".pyc", ".db", ".env") or one.name in (".env", "dvc.lock")]
    assert sum((bento / one).stat().st_size for one in files) < 20e6, "more than code and a small model"
    wanted = (bento / "env/python/requirements.txt").read_text()
    assert "onnxruntime==" in wanted
    assert "--hash=sha256:" in wanted
    assert not [name for name in ABSENT if f"\n{name}==" in wanted]


@pytest.fixture(scope="module")
def service(bento, tmp_path_factory) -> Iterator[Running]:
    bare = tmp_path_factory.mktemp("bare")
    (bare / "sitecustomize.py").write_text(BARE)
    with (bento / "src/ferflow/serving/page/index.html").open("a") as page:
        page.write(OWN)
    with serving(bento, ".", PYTHONPATH=str(bare)) as running:
        yield running


def test_a_bento_answers_from_its_own_folder_without_a_training_library(service, tmp_path):
    about = httpx.get(f"{service.url}/model").json()
    assert (about["version"], about["source"], about["members"]) == ("models/release", "release", ["gray", "rgb"])
    noise = httpx.post(f"{service.url}/predict", files={"image": png(size=100)}).json()
    assert noise["faces"] == []
    *_, drawn = clips.frames(1)
    cv2.imwrite(str(tmp_path / "face.png"), drawn)
    reply = httpx.post(f"{service.url}/predict", files={"image": (tmp_path / "face.png").read_bytes()}, timeout=30).json()
    (face,) = reply["faces"]
    assert sum(face["probabilities"]["expression"].values()) == pytest.approx(1, abs=1e-3)
    assert OWN in httpx.get(f"{service.url}/ui/").text, "its code is not its own"
    assert httpx.get(f"{service.url}/readyz").status_code == 200

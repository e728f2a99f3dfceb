"""components.env: what it may say, and who wins."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from ferflow import components, params
from ferflow.components import ComponentsError


def test_a_file_is_names_and_values(tmp_path):
    file = tmp_path / "c.env"
    file.write_text("# databases\n\nexport FERFLOW_LOG='postgresql://a:b@h/n?x=1'\nMLFLOW_TRACKING_URI = sqlite:///x.db # mine\n")
    assert components.read(file) == {"FERFLOW_LOG": "postgresql://a:b@h/n?x=1", "MLFLOW_TRACKING_URI": "sqlite:///x.db"}


@pytest.mark.parametrize("line", ["FERFLOW_LOG", "PATH=/tmp", "serve: {log: x}"])
def test_a_bad_line_is_named(tmp_path, line):
    file = tmp_path / "c.env"
    file.write_text(f"# one\n{line}\n")
    with pytest.raises(ComponentsError, match="line 2: expected NAME=VALUE with a name of MLFLOW_"):
        components.read(file)


def test_the_example_is_usable_also_with_every_line_of_it(tmp_path):
    text = (ROOT / "components.example.env").read_text()
    (tmp_path / "all.env").write_text(re.sub(r"(?m)^# (?=[A-Z0-9_]+=)", "", text))
    every = components.read(tmp_path / "all.env")
    assert every["MLFLOW_S3_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert every["PREFECT_API_URL"] == "http://prefect.example:4200/api"
    found = components.read(ROOT / "components.example.env")
    assert {"MLFLOW_TRACKING_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "PREFECT_SERVER_DATABASE_CONNECTION_URL"} < set(found)


def test_every_process_reads_it_and_what_is_set_already_wins(tmp_path):
    (tmp_path / "components.env").write_text(
        "MLFLOW_TRACKING_URI=postgresql+psycopg://h/mlflow\nFERFLOW_LOG=sqlite:///elsewhere.db\nPREFECT_API_URL=http://p:1/api\n"
    )
    code = (
        "import os, flows.companion, ferflow.params as p; from pathlib import Path\n"
        f"print(os.environ['MLFLOW_BACKEND_STORE_URI'], p.load(Path({str(ROOT / 'params.yaml')!r})).serve.log,"
        " flows.companion.api_url())"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_", "FERFLOW_"))}
    env = clean | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PREFECT_API_URL": "http://mine:2/api"}

    def said(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=env | more, capture_output=True, text=True, check=False
        )

    assert said().stdout.split() == ["postgresql+psycopg://h/mlflow", "sqlite:///elsewhere.db", "http://mine:2/api"]
    other = tmp_path / "other.env"
    other.write_text("MLFLOW_TRACKING_URI=sqlite:///m.db\n")
    default = params.load(ROOT / "params.yaml").serve.log
    assert said(FERFLOW_COMPONENTS=str(other)).stdout.split() == ["sqlite:///m.db", default, "http://mine:2/api"]
    assert "which is not there" in said(FERFLOW_COMPONENTS="nowhere.env").stderr

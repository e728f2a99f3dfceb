"""``ferflow forget`` and ``ferflow log``, on a project of its own."""

import shutil
import sqlite3
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from conftest import ROOT
from liverows import row, stored
from typer.testing import CliRunner

from ferflow.cli import app
from ferflow.consent import Crops
from ferflow.livelog import SPILL, PredictionLog, writing

run = CliRunner().invoke
URL = "sqlite:///.ferflow/live.db"
CROPS = Path("data/consented")


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)


def log_of(*rows: dict) -> None:
    log = PredictionLog(URL)
    log.add(rows)
    log.close(30)
    assert log.state()["written"] == len(rows)


def test_help_has_examples():
    for name in ("forget", "log"):
        assert f"Example: ferflow {name}" in run(app, [name, "--help"]).output
        assert name in run(app, ["--help"]).output


def test_log_before_there_is_one_says_who_writes_it(project):
    result = run(app, ["log"])
    assert result.exit_code == 1
    assert "no log yet" in result.stderr
    assert "bentoml serve" in result.stderr
    assert not Path(".ferflow").exists()


def test_log_shows_what_is_in_it(project):
    log_of(row(0), row(1, client="anna", certain=False, expression="sad"), row(2, expression=None, certain=None, faces=0))
    result = run(app, ["log", "--last", "2"])
    assert result.exit_code == 0, result.output
    assert "3 rows from 2026-03-01 12:00:00 to 2026-03-01 12:00:02 UTC" in result.stdout
    assert "2 faces, 1 picture without one; 50.0% of the answers are uncertain" in result.stdout
    assert "by class:  happy 1 (50%), sad 1 (50%)" in result.stdout
    assert "by client: c 2 (67%), anna 1 (33%)" in result.stdout
    assert "The last 2" in result.stdout
    table = result.stdout.splitlines()[-2:]
    assert "anna" in table[0]
    assert " no " in table[0]
    assert " - " in table[1]
    assert "nan" not in result.stdout.lower().replace("anna", "")
    assert "The last" not in run(app, ["log", "--last", "0"]).stdout


def test_an_empty_log_and_no_log_at_all_are_said(project):
    log_of()
    assert "no prediction yet" in run(app, ["log"]).stdout
    params = Path("params.yaml")
    params.write_text(params.read_text().replace(f"log: {URL}", 'log: ""'))
    assert "serve.log of params.yaml is empty" in run(app, ["log"]).stdout


def test_forget_removes_from_log_waiting_rows_and_crops_and_says_what_went(project):
    here, waits, stays = row(0), row(1), row(2)
    log = PredictionLog(URL)
    log.add([here, stays])
    assert log.feedback(here["id"], "sad")
    log.close(30)
    spill = writing.Spill(SPILL, 10**9)
    spill.append([("predictions", waits)])
    spill.close()
    assert Crops(CROPS, 90).keep(here["id"], np.zeros((8, 8, 3), np.uint8))
    result = run(app, ["forget", here["id"], waits["id"]])
    assert result.exit_code == 0, result.output
    assert f"{here['id']}: 2 rows of the log and 1 crop removed" in result.stdout
    assert f"{waits['id']}: 1 row of the log and 0 crops removed" in result.stdout
    log_of()  # takes the spill file up
    assert stored(URL) == [stays["id"]]
    assert Crops(CROPS, 90).paths() == []


def test_forget_goes_on_after_an_unknown_id_and_fails(project):
    known = row()
    log_of(known)
    unknown = uuid4().hex
    result = run(app, ["forget", unknown, "../../x", known["id"]])
    assert result.exit_code == 1
    assert f"{unknown}: no prediction has this id" in result.stderr
    assert "../../x: no prediction has this id" in result.stderr
    assert stored(URL) == []
    assert run(app, ["forget"]).exit_code == 1


def test_forget_says_when_the_database_is_away(project):
    known = row()
    log_of(known)
    other = sqlite3.connect(".ferflow/live.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    result = run(app, ["forget", known["id"]])
    other.close()
    assert result.exit_code == 1
    assert "locked" in result.stderr
    assert "try again" in result.stderr
    assert "Traceback" not in result.output


def test_forget_expired_purges_crops(project):
    assert Crops(CROPS, 90).keep(uuid4().hex, np.zeros((8, 8, 3), np.uint8))
    (path,) = Crops(CROPS, 90).paths()
    path.parent.rename(CROPS / "2020-02-02")
    assert Crops(CROPS, 90).keep(uuid4().hex, np.zeros((8, 8, 3), np.uint8))
    result = run(app, ["forget", "--expired"])
    assert result.exit_code == 0, result.output
    assert "1 crops older than 90 days are removed; 1 stay" in result.stdout

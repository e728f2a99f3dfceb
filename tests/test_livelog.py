"""The prediction log on SQLite: rows once and typed, and what becomes of them while the database is away."""

import os
import signal
import sqlite3
import subprocess
import time
from datetime import timedelta, timezone
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from liverows import NOON, command, each_once, row, stored, two_processes_write, until

from ferflow import livelog
from ferflow.livelog import LogError, PredictionLog, writing
from ferflow.vocabulary import LIVE_COLUMNS


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/of/its/own/live.db"


@pytest.fixture
def opened(url, tmp_path):
    """Makes logs that are closed at the end."""
    made: list[PredictionLog] = []

    def make(**settings) -> PredictionLog:
        made.append(PredictionLog(url, tmp_path / "spill", **{"interval_s": 0.05} | settings))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def locked(url):
    """A lock that another program has on the file."""
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN EXCLUSIVE")
    yield other
    other.close()


def spill_files(tmp_path) -> list[Path]:
    return sorted((tmp_path / "spill").glob("*"))


def test_a_row_comes_back_as_it_went_in(opened, url):
    numbers = {name: np.float32(0.1 + n) for n, (name, kind) in enumerate(LIVE_COLUMNS.items()) if kind == "float32"}
    berlin = timezone(timedelta(hours=2))
    full = row(0, **numbers, request_id="r", model_version="ferflow 3", member="ensemble", time=NOON.astimezone(berlin))
    bare = {"id": uuid4().hex, "time": NOON + timedelta(microseconds=1), "faces": 0}
    log = opened()
    log.add([full, bare])
    until(lambda: log.state()["written"] == 2)
    found = livelog.read(url, NOON, NOON + timedelta(hours=1))
    assert list(found) == [*LIVE_COLUMNS, "label"]
    assert found["id"].tolist() == [full["id"], bare["id"]]
    assert str(found["time"].dtype) == "datetime64[us, UTC]"
    assert found["time"].tolist() == [NOON, bare["time"]]
    assert {str(found[name].dtype) for name in (*numbers, "faces", "face", "certain")} == {"float32"}
    assert all(found[name][0] == np.float32(value) for name, value in numbers.items())
    assert found.loc[0, ["client", "member", "model_version", "expression"]].tolist() == ["c", "ensemble", "ferflow 3", "happy"]
    assert found["certain"][0] == 1
    assert found["faces"].tolist() == [1, 0]
    assert found.loc[1, ["client", "expression", "label"]].tolist() == [None] * 3
    assert found.loc[1, list(numbers)].isna().all()


def test_nothing_that_is_added_raises_and_what_is_no_row_is_counted(opened, url, caplog):
    log = opened()
    good = [
        row(1, confidence=float("nan"), latency_ms=float("inf"), entropy=1e300),
        row(2, client="a\0b\udcff" + "x" * 5000, odd=1),
    ]
    bad = [
        row(id="../../etc/passwd"),
        row(id=None),
        row(time="soon"),
        row(time=None),
        row(face=2**40),
        row(confidence="much"),
        7,
        None,
    ]
    log.add([*good, *bad])
    log.add(None)
    log.add([good[0]])
    until(lambda: log.state()["written"] == 3)
    assert log.state()["dropped"] == len(bad) + 1
    assert "dropped" in caplog.text
    assert each_once(url, [one["id"] for one in good])
    found = livelog.read(url, NOON, NOON + timedelta(hours=1))
    assert np.isnan(found.loc[0, ["confidence", "latency_ms", "entropy"]].astype(float)).all()
    assert found["client"][1] == ("ab?" + "x" * 5000)[:200]


def test_a_locked_database_holds_nobody_up_and_everything_is_written_afterwards(locked, opened, url, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_PATIENCE_S", 0.5)
    log = opened(capacity=300)
    rows = [row(n) for n in range(3000)]
    slowest = 0.0
    for one in rows:
        begin = time.perf_counter()
        log.add([one])
        slowest = max(slowest, time.perf_counter() - begin)
        time.sleep(0.0002)
    assert slowest < 0.2, "adding waits for nothing; a thread's turn is all it may take"
    until(lambda: log.state()["spilled"] + log.state()["waiting"] == 3000 and log.state()["waiting"] <= 300)
    until(lambda: "locked" in log.state()["last_error"])
    assert not log.state()["up"]
    assert [path.stat().st_mode & 0o777 for path in spill_files(tmp_path)] == [0o600]
    locked.execute("ROLLBACK")
    until(lambda: log.state()["written"] == 3000)
    until(lambda: log.state()["up"])
    assert stored(url, "face") == list(range(3000))
    assert each_once(url, [one["id"] for one in rows])
    assert spill_files(tmp_path) == []
    assert log.state() | {"last_error": ""} == {
        "written": 3000,
        "waiting": 0,
        "spilled": 0,
        "dropped": 0,
        "up": True,
        "last_error": "",
    }


def test_rows_are_written_in_the_order_in_which_they_came(locked, opened, url, tmp_path):
    log = opened(capacity=100)
    log.add([row(0, face=n) for n in range(150)])
    until(lambda: log.state()["spilled"] > 0)
    log.add([row(0, face=n) for n in range(150, 400)])
    locked.execute("ROLLBACK")
    until(lambda: log.state()["written"] == 400)
    assert stored(url, "face") == list(range(400)), "of one time: as they lie in the table"


def test_a_full_spill_folder_drops_the_oldest_and_counts_them(locked, opened, url):
    log = opened(capacity=100, spill_bytes=60_000)
    log.add([row(n) for n in range(500)])

    def settled() -> bool:
        first = log.state()
        time.sleep(0.3)
        return first["waiting"] <= 100 and first == log.state()

    until(settled)
    before = log.state()
    assert 0 < before["spilled"] < 400
    assert before["dropped"] == 500 - before["spilled"] - before["waiting"] > 0
    assert "no room" in before["last_error"] or "locked" in before["last_error"]
    locked.execute("ROLLBACK")
    until(lambda: log.state()["written"] == 500 - before["dropped"])
    assert log.state()["dropped"] == before["dropped"]
    assert len(stored(url)) == 500 - before["dropped"]


FULL_DISK = """
import resource, sys
from liverows import row, until
from ferflow.livelog import PredictionLog
url, folder = sys.argv[1:]
log = PredictionLog(url, folder, capacity=100, interval_s=0.05)
log.add([row(0)])
until(lambda: log.state()["written"] == 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
total = 1
def away():
    global total
    log.add([row(total + n) for n in range(20)])
    total += 20
    return not log.state()["up"] and log.state()["spilled"] and log.state()["dropped"]
until(away)
before = log.state()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
until(lambda: log.state()["up"] and not log.state()["waiting"] and not log.state()["spilled"])
after = log.state()
assert after["written"] == total - after["dropped"], (before, after)
log.add([row(total)])
log.close()
print(log.state()["written"], before["last_error"], sep="|")
"""


def test_a_full_disk_loses_only_what_is_counted_and_comes_back_by_itself(url, tmp_path):
    done = subprocess.run(command(FULL_DISK, url, tmp_path / "spill"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    written, error = done.stdout.split("|")
    assert error.strip()
    assert len(stored(url)) == len(set(stored(url))) == int(written)
    assert spill_files(tmp_path) == []


KILLED = """
import os, signal, sys
from liverows import row, until
from ferflow.livelog import PredictionLog
log = PredictionLog(sys.argv[1], sys.argv[2], capacity=100)
rows = [row(n) for n in range(1000)]
log.add(rows)
log.feedback(rows[0]["id"], "sad")
until(lambda: log.state()["waiting"] <= 100)
print(*(one["id"] for one in rows[:900]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_spill_file_of_a_killed_process_is_taken_up_at_the_next_start(locked, opened, url, tmp_path):
    done = subprocess.run(command(KILLED, url, tmp_path / "spill"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = spill_files(tmp_path)
    with left.open("ab") as file:
        file.write(b'["predictions",{"id":"cut o')
    locked.execute("ROLLBACK")
    log = opened()
    until(lambda: log.state()["written"] >= 900)
    until(lambda: spill_files(tmp_path) == [])
    assert set(done.stdout.split()) <= set(stored(url))
    assert len(stored(url)) == len(set(stored(url)))
    until(lambda: log.state()["dropped"] == 1)  # the line that was cut off, counted after its file is gone


def test_a_spill_file_that_was_half_written_already_gives_no_row_twice(opened, url, tmp_path):
    log = opened()
    rows = [row(n) for n in range(10)]
    log.add(rows[:6])
    until(lambda: log.state()["written"] == 6)
    spill = writing.Spill(tmp_path / "spill", 10**9)
    assert spill.append([("predictions", one) for one in rows])
    spill.close()
    log.close()
    other = opened()
    until(lambda: other.state()["written"] == 10)
    assert each_once(url, [one["id"] for one in rows])


def test_nobody_takes_the_file_of_a_process_that_lives(locked, opened, url, tmp_path):
    first, second = opened(capacity=100), opened(capacity=100)
    rows = [row(n) for n in range(300)]
    for log, part in ((first, rows[:150]), (second, rows[150:])):
        log.add(part)
        until(lambda log=log: log.state()["spilled"] > 0)
    assert len(spill_files(tmp_path)) == 2
    assert writing.spilling.adopt(tmp_path / "spill", 10**9) == []
    locked.execute("ROLLBACK")
    until(lambda: first.state()["written"] + second.state()["written"] == 300)
    assert each_once(url, [one["id"] for one in rows])


def test_several_processes_make_the_tables_and_write_into_one_file(url, tmp_path):
    two_processes_write(url, tmp_path / "spill", 1500)
    assert spill_files(tmp_path) == []


def test_feedback_reaches_predictions_wherever_they_are_and_the_last_word_counts(locked, opened, url, monkeypatch):
    log = opened(capacity=100)
    rows = [row(n) for n in range(300)]
    log.add(rows)
    until(lambda: log.state()["spilled"] > 0)
    assert log.feedback(rows[0]["id"], "sad", "anna"), "it is on disk"
    assert log.feedback(rows[299]["id"], "fear", "anna"), "it is in memory"
    locked.execute("ROLLBACK")
    until(lambda: log.state()["written"] == 302)
    until(lambda: log.state()["up"])
    assert log.feedback(rows[0]["id"], "anger", "bob"), "it is in the database"
    assert not log.feedback(uuid4().hex, "happy")
    assert not log.feedback("../x", "happy")
    with pytest.raises(ValueError, match="there are neutral, happy"):
        log.feedback(rows[0]["id"], "joy")
    until(lambda: log.state()["written"] == 303)
    found = livelog.read(url, NOON, NOON + timedelta(hours=1), columns=["id", "label"]).set_index("id")["label"]
    assert found[rows[0]["id"]] == "anger"
    assert found[rows[299]["id"]] == "fear"
    assert found.notna().sum() == 2
    assert stored(url, "label", "feedback") == ["sad", "fear", "anger"], "every word is kept"


def test_what_is_forgotten_goes_from_everywhere(locked, opened, url, tmp_path, monkeypatch):
    log = opened(capacity=100)
    rows = [row(n) for n in range(300)]
    log.add(rows)
    until(lambda: log.state()["spilled"] > 0)
    assert log.feedback(rows[0]["id"], "sad")
    for number in (0, 299):
        with pytest.raises(LogError, match="locked"):
            log.forget(rows[number]["id"])
    assert rows[0]["id"] not in "".join(path.read_text() for path in spill_files(tmp_path)), "memory and disk let go at once"
    locked.execute("ROLLBACK")
    until(lambda: log.state()["written"] == 298)
    assert not {rows[0]["id"], rows[299]["id"]} & set(stored(url))
    assert log.feedback(rows[5]["id"], "sad")
    until(lambda: stored(url, "label", "feedback") == ["sad"])
    assert log.forget(rows[5]["id"]) == 2
    assert log.forget(rows[5]["id"]) == log.forget(uuid4().hex) == log.forget("' OR 1=1") == 0
    assert len(stored(url)) == 297
    assert stored(url, "label", "feedback") == []
    assert log.state()["dropped"] == 0


def test_a_row_that_arrives_after_it_was_forgotten_is_not_kept(opened, url, tmp_path):
    one = row()
    log = opened()
    until(lambda: log.state()["up"])
    assert livelog.forget(url, one["id"], tmp_path / "spill") == 0, "by another process: it still waits in this one"
    log.add([one, row(1)])
    until(lambda: log.state()["written"] == 2)
    assert one["id"] not in stored(url)
    assert len(stored(url)) == 1


def test_rows_of_a_closed_log_are_written_at_the_next_start(locked, opened, url, tmp_path):
    log = opened()
    rows = [row(n) for n in range(50)]
    log.add(rows)
    begin = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - begin < 3
    log.close()
    assert log.state()["spilled"] + log.state()["waiting"] + log.state()["written"] == 0 or log.state()["dropped"] == 0
    log.add([row()])
    assert log.state()["dropped"] == 1, "too late"
    locked.execute("ROLLBACK")
    other = opened()
    until(lambda: other.state()["written"] == 50)
    assert each_once(url, [one["id"] for one in rows])


def test_a_table_of_another_version_is_said_and_rows_wait_until_it_is_away(opened, url, caplog):
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE predictions (id VARCHAR PRIMARY KEY, time DATETIME, client VARCHAR, confidence VARCHAR)")
    other.close()
    log = opened()
    log.add([row()])
    until(lambda: "another version" in log.state()["last_error"])
    assert not log.state()["up"]
    assert "predictions" in caplog.text
    other = sqlite3.connect(path)
    other.execute("ALTER TABLE predictions RENAME TO predictions_old")
    other.close()
    until(lambda: log.state()["written"] == 1)
    assert len(stored(url)) == 1


def test_a_file_that_was_taken_away_is_made_anew(opened, url):
    log = opened()
    log.add([row()])
    until(lambda: log.state()["written"] == 1)
    path = Path(url.removeprefix("sqlite:///"))
    path.rename(path.with_name("kept.db"))
    second = row(1)
    log.add([second])
    until(lambda: log.state()["written"] == 2)
    assert stored(url) == [second["id"]]


def test_an_address_that_cannot_be_a_log_is_refused_at_once(tmp_path):
    for address in ("mysql://u:secret@h/d", "sqlite://", "live.db", "sqlite:///:memory:", "nosuch+driver://h/d"):
        with pytest.raises(LogError, match=r"serve\.log") as caught:
            PredictionLog(address, tmp_path / "spill")
        assert "secret" not in str(caught.value)


def test_a_window_is_read_and_a_large_one_sampled_the_same_way_each_time(opened, url):
    log = opened()
    rows = [row(n, confidence=n / 1000) for n in range(1000)]
    log.add(rows)
    until(lambda: log.state()["written"] == 1000)
    window = (NOON + timedelta(seconds=100), NOON + timedelta(seconds=900))
    found = livelog.read(url, *window, columns=["face", "confidence"])
    assert found["face"].tolist() == list(range(100, 900))
    assert list(found) == ["face", "confidence"]
    first, again, more = (livelog.read(url, *window, limit=n, columns=["id", "time", "confidence"]) for n in (200, 200, 400))
    assert first.equals(again)
    assert len(first) == 200
    assert first["time"].is_monotonic_increasing
    assert set(first["id"]) < set(more["id"]) < {one["id"] for one in rows[100:900]}
    assert abs(first["confidence"].mean() - 0.5) < 0.06, "four standard errors of a uniform sample"
    assert livelog.read(url, *window, limit=5000, columns=["id"]).shape == (800, 1)
    nothing = livelog.read(url, NOON - timedelta(days=2), NOON - timedelta(days=1))
    assert len(nothing) == 0
    assert str(nothing["time"].dtype) == "datetime64[us, UTC]"
    with pytest.raises(LogError, match="no column 'joy'"):
        livelog.read(url, *window, columns=["joy"])


def test_reading_where_there_is_no_log_says_so_and_makes_none(url, tmp_path):
    for ask in (lambda: livelog.summary(url), lambda: livelog.read(url, NOON, NOON), lambda: livelog.recent(url, 3)):
        with pytest.raises(LogError, match="no log yet"):
            ask()
    assert list(tmp_path.iterdir()) == []
    assert livelog.forget(url, uuid4().hex, tmp_path / "spill") == 0


def test_the_summary_counts(opened, url):
    log = opened()
    log.add([row(0), row(1, expression="sad", certain=False, client="d"), row(2), row(3, faces=0, expression=None, certain=None)])
    until(lambda: log.state()["written"] == 4)
    found = livelog.summary(url)
    assert found is not None
    assert (found.rows, found.no_face, found.feedback) == (4, 1, 0)
    assert (found.first, found.last) == (NOON, NOON + timedelta(seconds=3))
    assert found.expressions == {"happy": 2, "sad": 1}
    assert found.clients == {"c": 3, "d": 1}
    assert found.uncertain == pytest.approx(1 / 3)
    assert livelog.recent(url, 2, ["face"])["face"].tolist() == [2, 3]


def test_an_exit_without_close_writes_what_waits(url, tmp_path):
    code = "import sys\nfrom liverows import row\nfrom ferflow.livelog import PredictionLog\n"
    code += "PredictionLog(sys.argv[1], sys.argv[2], interval_s=30).add([row(n) for n in range(20)])"
    subprocess.run(command(code, url, tmp_path / "spill"), timeout=60, check=True, env=os.environ)
    assert len(stored(url)) + sum(path.read_bytes().count(b"\n") for path in spill_files(tmp_path)) == 20

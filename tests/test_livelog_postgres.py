"""The prediction log on a real PostgreSQL server, which is killed, hung and started again under load."""

import itertools
import threading
import time

import psycopg
import pytest
from liverows import NOON, each_once, row, stored, two_processes_write, until
from sqlalchemy import text

from ferflow import livelog
from ferflow.livelog import LogError, PredictionLog, writing
from ferflow.livelog.store import Store
from ferflow.livelog.tables import connect

pytestmark = pytest.mark.slow


class Load(threading.Thread):
    """A client that adds rows without a pause for breath until it is told to stop."""

    def __init__(self, log: PredictionLog) -> None:
        super().__init__()
        self.log, self.ids, self.slowest, self.over = log, [], 0.0, threading.Event()

    def run(self) -> None:
        for number in itertools.count():
            if self.over.is_set():
                return
            rows = [row(number), row(number)]
            begin = time.perf_counter()
            self.log.add(rows)
            self.slowest = max(self.slowest, time.perf_counter() - begin)
            self.ids += [one["id"] for one in rows]
            time.sleep(0.001)


@pytest.mark.parametrize("way", ["kill", "immediate"])
def test_a_server_killed_and_restarted_under_load_loses_no_row_and_gets_none_twice(postgres, way, tmp_path):
    url = postgres.database()
    log = PredictionLog(url, tmp_path / "spill", capacity=300, interval_s=0.05)
    load = Load(log)
    load.start()
    until(lambda: log.state()["written"] > 200)
    for _ in range(2):
        before = log.state()["written"]
        getattr(postgres, way)()
        until(lambda: not log.state()["up"] and log.state()["spilled"] > 300)
        assert log.feedback(load.ids[-1], "sad", "anna"), "while the server is away"
        postgres.start()
        until(lambda before=before: log.state()["up"] and log.state()["written"] > before + 500)
    load.over.set()
    load.join()
    until(lambda: log.state()["waiting"] == log.state()["spilled"] == 0)
    state = log.state()
    log.close()
    assert state["dropped"] == 0
    assert each_once(url, load.ids), (len(stored(url)), len(load.ids))
    assert stored(url, "label", "feedback") == ["sad", "sad"]
    assert load.slowest < 0.25
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_server_that_hangs_keeps_no_row_from_the_disk(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_PATIENCE_S", 0.5)
    url = postgres.database()
    log = PredictionLog(url, tmp_path / "spill", capacity=100, interval_s=0.05)
    until(lambda: log.state()["up"])
    postgres.pause()
    try:
        rows = [row(n) for n in range(700)]
        log.add(rows[:200])
        until(lambda: not log.state()["up"])
        log.add(rows[200:])
        until(lambda: log.state()["spilled"] > 300)
        assert log.feedback(rows[3]["id"], "sad"), "nobody waits for the server"
    finally:
        postgres.go_on()
    until(lambda: log.state()["written"] == 701)
    log.close()
    assert each_once(url, [one["id"] for one in rows])


def test_several_processes_make_the_tables_and_write_into_one_database(postgres, tmp_path):
    two_processes_write(postgres.database(), tmp_path / "spill", 1000)


def test_who_forgets_waits_for_who_is_just_writing(postgres):
    url = postgres.database()
    store, one = Store(url), row()
    store.prepare()
    engine = connect(url)
    with engine.begin() as writer:  # a row of another process that is not committed yet
        writer.execute(text("SELECT pg_advisory_xact_lock_shared(7215402)"))
        writer.execute(text("INSERT INTO predictions (id, time) VALUES (:id, :time)"), {"id": one["id"], "time": one["time"]})
        gone: list[set[str]] = []
        forgetting = threading.Thread(target=lambda: gone.append(store.forget(one["id"])))
        forgetting.start()
        time.sleep(0.3)
        assert gone == []
    forgetting.join(10)
    assert gone == [{one["id"]}]
    assert stored(url) == []
    engine.dispose()
    store.close()


def test_rows_are_typed_sampled_and_counted_as_on_sqlite(postgres, tmp_path):
    url = postgres.database()
    log = PredictionLog(url.replace("postgresql+psycopg", "postgres"), tmp_path / "spill", interval_s=0.05)
    rows = [row(n, confidence=1e-46 if n else 1e300, client="ä\0" * 300, certain=n % 2 == 0) for n in range(100)]
    log.add(rows)
    until(lambda: log.state()["written"] == 100)
    assert log.state()["dropped"] == 0
    assert log.feedback(rows[7]["id"], "fear")
    assert log.feedback(rows[7]["id"], "sad")
    until(lambda: log.state()["written"] == 102)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        names = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'predictions'"
        )
        kinds = dict(names.fetchall())
    assert (kinds["time"], kinds["confidence"], kinds["certain"]) == ("timestamp with time zone", "real", "boolean")
    found = livelog.read(url, NOON, rows[99]["time"])
    assert found["face"].tolist() == list(range(99))
    assert str(found["time"].dtype) == "datetime64[us, UTC]"
    assert found["time"].tolist() == [one["time"] for one in rows[:99]]
    assert found["label"].tolist() == [None] * 7 + ["sad"] + [None] * 91
    assert str(found["confidence"].dtype) == "float32"
    sample = livelog.read(url, NOON, rows[99]["time"], limit=30)
    assert sample.equals(livelog.read(url, NOON, rows[99]["time"], limit=30))
    assert sorted(sample["id"]) == sorted(found["id"])[:30]
    counted = livelog.summary(url)
    assert counted is not None
    assert (counted.rows, counted.uncertain, counted.first) == (100, 0.5, NOON)
    assert log.forget(rows[7]["id"]) == 3
    log.close()


def test_a_password_is_never_told(postgres, tmp_path, caplog):
    url = postgres.database().replace("only-for-tests", "a-wrong-secret")
    log = PredictionLog(url, tmp_path / "spill", interval_s=0.05)
    until(lambda: "password authentication failed" in log.state()["last_error"])
    assert not log.state()["up"]
    log.close(0.1)
    with pytest.raises(LogError) as caught:
        livelog.summary(url)
    assert "secret" not in caplog.text + str(caught.value) + log.state()["last_error"]


def test_a_row_that_only_the_database_refuses_does_not_hold_up_the_others(postgres, tmp_path):
    url = postgres.database()
    log = PredictionLog(url, tmp_path / "spill", interval_s=0.05)
    until(lambda: log.state()["up"])
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("ALTER TABLE predictions ALTER COLUMN client TYPE VARCHAR(5)")
    rows = [row(0), row(1, client="longer than that"), row(2)]
    log.add(rows)
    until(lambda: log.state()["written"] == 2)
    assert log.state()["dropped"] == 1
    assert "too long" in log.state()["last_error"]
    log.close()
    assert each_once(url, [rows[0]["id"], rows[2]["id"]])

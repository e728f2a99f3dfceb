"""From a source to a manifest, in one process, in several, and on a Dask cluster: the same bytes."""

import os
from pathlib import Path

import pandas as pd
import pytest
from conftest import ACTION_UNITS, png

from ferflow import tables
from ferflow.datasets import DataError
from ferflow.ingestion import ingest, join
from ferflow.measuring import measure
from ferflow.parallel import each, shares, workers
from ferflow.params import Dataset
from ferflow.tables import read_labels, write_rows


def drawn(count: int = 60) -> Dataset:
    return Dataset(source="synthetic", path=ACTION_UNITS, image_size=32, options={"count": count, "size": 32})


def made(tmp_path, monkeypatch, **environment) -> bytes:
    for name in ("FERFLOW_WORKERS", "FERFLOW_DASK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ingest(drawn(), 3, tmp_path / "manifest.parquet") == 60
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.parquet"], "nothing else is left"
    return (tmp_path / "manifest.parquet").read_bytes()


def test_several_processes_make_the_same_bytes_as_one(tmp_path, monkeypatch):
    assert made(tmp_path, monkeypatch, FERFLOW_WORKERS="1") == made(tmp_path, monkeypatch, FERFLOW_WORKERS="2")


@pytest.mark.slow
def test_a_dask_cluster_makes_the_same_bytes_and_measures(tmp_path, monkeypatch):
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    monkeypatch.setattr(tables, "ROWS_A_GROUP", 2000)
    alone = made(tmp_path, monkeypatch, FERFLOW_WORKERS="1")
    expected = measure(tmp_path / "manifest.parquet")
    path = f"{os.environ.get('PYTHONPATH', '')}:tests"
    monkeypatch.setenv("PYTHONPATH", path)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "120s"}),  # on a busy machine a worker takes long to begin
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
    ):
        assert made(tmp_path, monkeypatch, FERFLOW_DASK=cluster.scheduler_address) == alone
        assert shares() == 8
        monkeypatch.chdir(tmp_path)  # the workers stand where the cluster was started
        pd.testing.assert_frame_equal(measure(Path("manifest.parquet")), expected)
        (tmp_path / "here").mkdir()
        (tmp_path / "units.yaml").write_bytes(ACTION_UNITS.read_bytes())
        assert ingest(drawn().model_copy(update={"path": Path("units.yaml")}), 3, Path("here/manifest.parquet")) == 60
        assert Path("here/manifest.parquet").read_bytes() == alone
        with pytest.raises(DataError, match="no row for the expression"):
            broken = tmp_path / "broken.yaml"
            broken.write_text("{}")
            ingest(drawn().model_copy(update={"path": broken}), 3, tmp_path / "none.parquet")


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    dask = pytest.importorskip("dask")
    monkeypatch.setenv("FERFLOW_DASK", "tcp://127.0.0.1:9")
    soon, named = {"distributed.comm.timeouts.connect": "1s"}, r"FERFLOW_DASK=tcp://127\.0\.0\.1:9"
    with dask.config.set(soon), pytest.raises(ConnectionError, match=named):
        list(each(len, ["a"]))


def test_the_number_of_workers_is_checked(monkeypatch):
    monkeypatch.setenv("FERFLOW_WORKERS", "many")
    with pytest.raises(ValueError, match="FERFLOW_WORKERS is 'many'"):
        workers()
    monkeypatch.setenv("FERFLOW_WORKERS", "3")
    assert workers() == 3


def parts(tmp_path, *shared):
    for index, ids in enumerate(shared):
        write_rows(({"id": id_, "image": png()} for id_ in ids), tmp_path / f"{index}.parquet")
    return [tmp_path / f"{index}.parquet" for index in range(len(shared))]


def test_row_groups_do_not_depend_on_how_rows_were_shared(tmp_path, monkeypatch):
    monkeypatch.setattr("ferflow.ingestion.ROWS_A_GROUP", 4)
    made = []
    for shared in (["abcdefghij"], ["abc", "", "defghi", "j"], ["a", "bcdefghij"]):
        assert join(parts(tmp_path, *shared), tmp_path / "manifest") == 10
        made.append((tmp_path / "manifest").read_bytes())
    assert made[0] == made[1] == made[2]
    assert "".join(read_labels(tmp_path / "manifest")["id"]) == "abcdefghij"


@pytest.mark.parametrize(
    ("shared", "words"), [(["ab", "ca"], "row 3 has the id 'a'"), (["", ""], "no rows"), ([["a", None]], "row 1 has no id")]
)
def test_ids_are_unique_and_an_error_leaves_no_manifest(shared, words, tmp_path):
    with pytest.raises(DataError, match=words):
        join(parts(tmp_path, *shared), tmp_path / "manifest")
    assert not list(tmp_path.glob("manifest*"))

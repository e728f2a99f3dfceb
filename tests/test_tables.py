import numpy as np
import pandas as pd
import pytest
from conftest import png

from ferflow.card import Card
from ferflow.datasets import DataError
from ferflow.tables import (
    check_manifest,
    check_splits,
    iter_images,
    labelled_tasks,
    predictions_table,
    read_images,
    read_labels,
    task_labels,
    write_rows,
)


def test_what_is_written_is_read_again_with_sizes_filled_in(tmp_path):
    path = tmp_path / "manifest.parquet"
    rows = [{"id": "a", "image": png(), "expression": "happy"}, {"id": "b", "image": b"junk"}, {"id": "c"}]
    assert write_rows(rows, path) == 3
    labels = read_labels(path)
    assert labels["id"].tolist() == ["a", "b", "c"]
    assert labels[["width", "height"]].to_numpy().tolist() == [[48, 48], [0, 0], [0, 0]]
    assert [id_ for batch in iter_images(path) for id_, _ in batch] == ["a", "b", "c"]
    assert read_images(path, {"b", "a", "x"}) == {"a": png(), "b": b"junk"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"id": "a", "image": b"", "mood": 1}], "'a'.*mood"),
        ([{"id": "a", "image": b"x"}, {"id": "b", "image": b"x", "age": "old"}], "'b'"),
    ],
)
def test_bad_rows_are_named(rows, words, tmp_path):
    with pytest.raises(DataError, match=words):
        write_rows(rows, tmp_path / "manifest.parquet")


def test_a_file_with_other_columns_is_not_a_manifest(tmp_path):
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="image"):
        check_manifest(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="ingest"):
        check_manifest(tmp_path / "y.parquet")


def test_tasks_are_those_with_labels_and_classes_those_that_occur():
    labels = pd.DataFrame(
        {
            "expression": ["sad", "happy", None],
            "valence": [0.1, None, None],
            "arousal": [np.nan] * 3,
            "age": [3.0, 95.0, None],
            "gender": [None] * 3,
            "race": ["asian"] * 3,  # one class alone cannot be learned
        }
    )
    assert labelled_tasks(labels) == {"expression": ("happy", "sad"), "age": ("0-9", "90+")}
    assert task_labels(labels, "age")["age"].tolist()[:2] == ["0-9", "90+"]


def test_predictions_have_a_column_a_class_and_confidence_and_entropy():
    card = Card(
        name="m", members={}, input_size=8, modality="rgb", dataset="d", parameters=1,
        tasks={"expression": ("happy", "sad"), "affect": ("valence", "arousal")},
    )  # fmt: skip
    outputs = {"expression": np.array([[0.5, 0.5], [1, 0]]), "affect": np.array([[0.1, 0.2], [0.3, 0.4]])}
    table = predictions_table(card, ["a", "b"], "val", outputs)
    assert list(table) == [
        "id", "member", "split", "p_expression_happy", "p_expression_sad", "valence", "arousal", "confidence", "entropy",
    ]  # fmt: skip
    assert table["confidence"].tolist() == [0.5, 1.0]
    assert table["entropy"].tolist() == pytest.approx([np.log(2), 0], abs=1e-6)


def test_splits_with_unknown_names_or_repeated_ids_are_refused():
    with pytest.raises(DataError, match="holdout"):
        check_splits(pd.DataFrame({"id": ["a"], "split": ["holdout"]}), "x")
    with pytest.raises(DataError, match="'a' occurs twice"):
        check_splits(pd.DataFrame({"id": ["a", "a"], "split": ["val", "val"]}), "x")

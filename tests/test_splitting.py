import numpy as np
import pandas as pd
import pytest

from ferflow.params import Split
from ferflow.splitting import leak_report, split

SHARES = Split(val=0.2, test=0.3)


def table(n: int = 400, **columns) -> pd.DataFrame:
    frame = pd.DataFrame({"id": [f"f{i}" for i in range(n)], "official_split": None, "subject": None})
    frame["expression"] = ["happy", "sad", "sad", "sad"] * (n // 4)
    return frame.assign(**columns)


def hashes(frame: pd.DataFrame, groups=None) -> pd.Series:
    return pd.Series(frame["id"].to_numpy() if groups is None else groups, index=frame["id"])


def test_shares_are_kept_within_every_class():
    frame = table()
    found = split(frame, hashes(frame), SHARES, seed=1).merge(frame, on="id")
    share = pd.crosstab(found["expression"], found["split"], normalize="index")
    assert share["val"].to_numpy() == pytest.approx([0.2, 0.2], abs=0.01)
    assert share["test"].to_numpy() == pytest.approx([0.3, 0.3], abs=0.01)
    assert not found["leaked"].any()


def test_the_seed_decides():
    frame = table()
    same = [split(frame, hashes(frame), SHARES, seed)["split"].tolist() for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_identical_images_and_subjects_never_cross_even_through_each_other():
    rng = np.random.default_rng(0)
    frame = table(subject=[f"s{i}" for i in rng.integers(0, 120, 400)])
    pixels = hashes(frame, rng.integers(0, 380, 400).astype(str))
    found = split(frame, pixels, SHARES, seed=1).merge(frame[["id", "subject"]], on="id")
    assert (found.groupby("subject")["split"].nunique() == 1).all()
    assert (found.groupby("duplicate_group")["split"].nunique() == 1).all()
    assert set(found["split"]) == {"train", "val", "test"}


def test_an_official_test_split_is_kept_and_what_it_leaks_is_marked():
    frame = table(official_split=["train"] * 300 + ["test"] * 100)
    pixels = hashes(frame, [*[f"p{i}" for i in range(300)], *[f"p{i}" for i in range(10)], *[f"q{i}" for i in range(90)]])
    found = split(frame, pixels, SHARES, seed=1)
    assert (found["split"] == "test").tolist() == [False] * 300 + [True] * 100
    assert found["leaked"].sum() == 10
    assert (found["split"] == "val").sum() == pytest.approx(60, abs=2)
    report = leak_report(found, frame)
    assert report["leaked_test_images"] == report["groups_across_splits"] == report["identical_groups"] == 10
    assert report["unique_images"] == 390


def test_conflicting_labels_are_counted():
    frame = table(8)
    report = leak_report(split(frame, hashes(frame, ["x", "x", *"abcdef"]), SHARES, seed=1), frame)
    assert report["groups_with_conflicting_labels"] == 1

import numpy as np
import pandas as pd
import pytest

from ferflow.params import Split
from ferflow.splitting import leak_report, split

SHARES = Split(val=0.2, test=0.3)


def table(n: int = 400, **columns) -> pd.DataFrame:
    frame = pd.DataFrame({"id": [f"f{i}" for i in range(n)], "source": "s", "official_split": None, "subject": None})
    frame["expression"] = ["happy", "sad", "sad", "sad"] * (n // 4)
    return frame.assign(**columns)


def hashes(frame: pd.DataFrame, same=None, near=None) -> pd.DataFrame:
    same = pd.factorize(frame["id"].to_numpy() if same is None else np.asarray(same))[0]
    return pd.DataFrame({"same": same, "near": same if near is None else near}, index=frame["id"])


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
    assert report["test images identical to one in training or validation"] == 10
    assert report["groups of identical images across splits"] == report["groups of identical images"] == 10
    assert report["unique images"] == 390
    assert report["subjects"] == 0


def test_conflicting_labels_are_counted():
    frame = table(8)
    report = leak_report(split(frame, hashes(frame, ["x", "x", *"abcdef"]), SHARES, seed=1), frame)
    assert report["groups of identical images with different expressions"] == 1


def test_alike_images_share_a_side_where_it_is_ours_and_are_marked_where_it_is_not():
    frame = table()
    near = np.arange(400) // 2
    found = split(frame, hashes(frame, near=near), SHARES, seed=1)
    assert (found.groupby("alike_group")["split"].nunique() == 1).all()
    assert not found["nearly_leaked"].any()
    frame = table(official_split=["train", "test"] * 200)
    found = split(frame, hashes(frame, near=near), SHARES, seed=1)
    assert found["leaked"].sum() == 0
    assert found["nearly_leaked"].sum() == 200
    assert leak_report(found, frame)["groups of alike images across splits"] == 200


def test_subjects_that_an_official_split_divides_are_counted():
    frame = table(8, official_split=["train", "test"] * 4, subject=["anna", "anna", "ben", "ben", *"cdef"])
    report = leak_report(split(frame, hashes(frame), SHARES, seed=1), frame)
    assert (report["subjects"], report["subjects across splits"]) == (6, 2)


def test_a_source_without_an_official_test_beside_one_that_has_it_is_dealt_out():
    frame = table(source=["a", "b"] * 200, official_split=["test", None] * 200)
    frame.loc[frame.index[::8], "official_split"] = "train"
    found = split(frame, hashes(frame), SHARES, seed=1).merge(frame, on="id")
    share = pd.crosstab(found["source"], found["split"], normalize="index")
    assert share.loc["b", ["val", "test"]].tolist() == pytest.approx([0.2, 0.3], abs=0.02)
    assert share.loc["a", "test"] == 0.75
    assert share.loc["a", "val"] == pytest.approx(0.25 * 0.2, abs=0.02)


def test_faces_without_an_official_split_follow_their_likes_that_have_one():
    own, other = table(200, official_split="test"), table(200, source="t")
    other["id"] = [f"t{i}" for i in range(200)]
    frame = pd.concat([own, other], ignore_index=True)
    same = [*range(200), *range(100), *range(300, 400)]  # half of the second source are copies of official test faces
    found = split(frame, hashes(frame, same), SHARES, seed=1).set_index("id")
    assert (found.loc[[f"t{i}" for i in range(100)], "split"] == "test").all()
    assert set(found.loc[[f"t{i}" for i in range(100, 200)], "split"]) == {"train", "val", "test"}
    assert not found["leaked"].any()


def test_a_subject_is_one_of_its_source():
    first, second = table(200, subject=[f"{i % 20}" for i in range(200)]), table(200, subject=[f"{i % 20}" for i in range(200)])
    first["official_split"] = "test"
    second = second.assign(source="t", id=[f"t{i}" for i in range(200)])
    frame = pd.concat([first, second], ignore_index=True)
    found = split(frame, hashes(frame), SHARES, seed=1)
    assert set(found.merge(second, on="id")["split"]) == {"train", "val", "test"}
    report = leak_report(found, frame)
    assert (report["subjects"], report["subjects across splits"]) == (40, 0)


@pytest.mark.parametrize("seed", range(5))
def test_classes_keep_their_shares_although_subjects_have_several(seed):
    rng = np.random.default_rng(seed)
    subjects = rng.integers(0, 100, 900)
    frame = table(900, subject=[f"s{i}" for i in subjects])
    frame["expression"] = rng.choice(["happy", "sad", "fear", "anger", "disgust"], 900, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    found = split(frame, hashes(frame), Split(val=0.15, test=0.15), seed).merge(frame, on="id")
    assert (found.groupby("subject")["split"].nunique() == 1).all()
    share = pd.crosstab(found["expression"], found["split"], normalize="index")
    assert share["test"].between(0.1, 0.2).all()
    assert share["val"].between(0.1, 0.2).all()


def test_without_expressions_gender_and_age_keep_their_shares():
    frame = table(
        1000, expression=None, gender=["male", "female", "female", "female"] * 250, age=[float(i % 80) for i in range(1000)]
    )
    found = split(frame, hashes(frame), SHARES, seed=1).merge(frame, on="id")
    share = pd.crosstab([found["gender"], found["age"] // 10], found["split"], normalize="index")
    assert share["test"].to_numpy() == pytest.approx(0.3, abs=0.04)

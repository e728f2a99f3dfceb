"""Which face is for training, validation or test: the official split where there is one, else stratified.

Identical images always share a side wherever the choice is ours, and subjects too where they are known.
What an official split leaks is kept, counted and marked. Values in, values out.
"""

import numpy as np
import pandas as pd

from ferflow.params import Split


def split(labels: pd.DataFrame, pixel_hashes: pd.Series, shares: Split, seed: int) -> pd.DataFrame:
    """One row a face: ``id, split, duplicate_group, leaked``.

    ``labels`` has ``id, official_split, subject, expression``; ``pixel_hashes`` is indexed by id. Rows with an
    official split keep it; validation, and test where the source has none, are cut from the rest so that
    each expression keeps its share. ``leaked`` marks a test row whose very pixels are trained on or validated with.
    """
    frame = labels[["id", "official_split", "subject", "expression"]].copy()
    frame["duplicate_group"] = frame["id"].map(pixel_hashes)
    official = frame["official_split"]
    frame["split"] = official.where(official.isin(["val", "test"]))
    free = frame["split"].isna()
    wanted = {name: share for name, share in (("test", shares.test), ("val", shares.val)) if not (official == name).any()}
    frame.loc[free, "split"] = _assign(frame[free], wanted, seed)
    seen = set(frame.loc[frame["split"] != "test", "duplicate_group"])
    frame["leaked"] = (frame["split"] == "test") & frame["duplicate_group"].isin(seen)
    return frame[["id", "split", "duplicate_group", "leaked"]].reset_index(drop=True)


def _assign(frame: pd.DataFrame, wanted: dict[str, float], seed: int) -> pd.Series:
    """Deal groups (a subject, or identical images) into the wanted splits by their shares, expression by expression."""
    groups = frame["subject"].fillna(frame["duplicate_group"]).rename("group")
    groups = _join_through_duplicates(groups, frame["duplicate_group"])
    firsts = frame.assign(group=groups).drop_duplicates("group")[["group", "expression"]]
    firsts = firsts.iloc[np.random.default_rng(seed).permutation(len(firsts))]
    by_class = firsts.groupby(firsts["expression"].fillna("none"))
    position = (by_class.cumcount() + 0.5) / by_class["group"].transform("size")
    side = pd.Series("train", index=firsts["group"].to_numpy())
    edge = 0.0
    for name, share in wanted.items():
        side[((position >= edge) & (position < edge + share)).to_numpy()] = name
        edge += share
    return groups.map(side)


def _join_through_duplicates(groups: pd.Series, duplicates: pd.Series) -> pd.Series:
    """Merge groups that share identical images, so that neither a subject nor an image crosses a split."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    left, right = pd.factorize(groups)[0], pd.factorize(duplicates)[0]
    size = left.max() + 1
    edges = coo_matrix((np.ones(len(left), bool), (left, right + size)), shape=(size + right.max() + 1,) * 2)
    return pd.Series(connected_components(edges, directed=False)[1][left], index=groups.index, name="group")


def leak_report(splits: pd.DataFrame, labels: pd.DataFrame) -> dict[str, int]:
    """Counts of identical images: groups, groups across splits, leaked test rows, and groups with conflicting labels."""
    frame = splits.merge(labels[["id", "expression"]], on="id")
    groups = frame.groupby("duplicate_group")
    size = groups["id"].size()
    return {
        "images": len(frame),
        "unique_images": len(size),
        "identical_groups": int((size > 1).sum()),
        "groups_across_splits": int((groups["split"].nunique() > 1).sum()),
        "groups_with_conflicting_labels": int((groups["expression"].nunique() > 1).sum()),
        "leaked_test_images": int(frame["leaked"].sum()),
    }

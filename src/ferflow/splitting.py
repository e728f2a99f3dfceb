"""Which face is for training, validation or test: the official split where there is one, else stratified.

Identical and nearly identical images share a side wherever the choice is ours, and subjects too where they are known.
What an official split leaks is kept, counted and marked. Values in, values out.
"""

import numpy as np
import pandas as pd

from ferflow.params import Split


def split(labels: pd.DataFrame, groups: pd.DataFrame, shares: Split, seed: int) -> pd.DataFrame:
    """One row a face: ``id, split, duplicate_group, alike_group, leaked, nearly_leaked``.

    ``labels`` has ``id, source, official_split, subject, expression``; ``groups``, indexed by id, has ``same`` and ``near``, the
    groups of identical and of alike images. Rows with an official split keep it; validation and test, where a
    source has none, are cut from its rest so that each expression keeps its share. ``leaked`` marks a test row whose
    very pixels are trained on or validated with, ``nearly_leaked`` one with an alike image there (a leaked one, too).
    """
    frame = labels[["id", "source", "official_split", "subject", "expression"]].copy()
    frame["source"] = frame["source"].fillna("")
    frame["duplicate_group"] = frame["id"].map(groups["same"])
    frame["alike_group"] = frame["id"].map(groups["near"])
    official = frame["official_split"]
    frame["split"] = official.where(official.isin(["val", "test"]))
    free = frame["split"].isna()
    has = {name: set(frame["source"][official == name]) for name in ("test", "val")}
    if free.any():
        frame.loc[free, "split"] = _assign(frame[free], {"test": shares.test, "val": shares.val}, has, seed)
    is_test = frame["split"] == "test"
    for mark, group in (("leaked", "duplicate_group"), ("nearly_leaked", "alike_group")):
        frame[mark] = is_test & frame[group].isin(set(frame.loc[~is_test, group]))
    return frame[["id", "split", "duplicate_group", "alike_group", "leaked", "nearly_leaked"]].reset_index(drop=True)


def _assign(frame: pd.DataFrame, wanted: dict[str, float], has: dict[str, set[str]], seed: int) -> pd.Series:
    """Deal groups (a subject, or alike images) into splits by their shares, source by source and expression by expression.

    A split takes groups drawn by lot until its share of the faces is reached; nothing from sources in ``has`` of it.
    """
    groups = frame["subject"].fillna("alike " + frame["alike_group"].astype(str)).rename("group")
    groups = _join_through_duplicates(groups, frame["alike_group"])
    sizes = groups.value_counts()
    firsts = frame.assign(group=groups).drop_duplicates("group")[["group", "source", "expression"]]
    firsts = firsts.iloc[np.random.default_rng(seed).permutation(len(firsts))]
    rows = firsts["group"].map(sizes)
    by_class = rows.groupby([firsts["source"], firsts["expression"].fillna("none")])
    position = (by_class.cumsum() - rows / 2) / by_class.transform("sum")
    side = pd.Series("train", index=firsts["group"].to_numpy())
    edge = pd.Series(0.0, index=firsts.index)
    for name, share in wanted.items():
        end = edge + share * (~firsts["source"].isin(has[name]))
        side[((position >= edge) & (position < end)).to_numpy()] = name
        edge = end
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
    """What crosses from one split to another, in numbers: identical images, alike images, subjects, and leaked test rows."""
    frame = splits.merge(labels[["id", "expression", "subject"]], on="id")
    same, near, subjects = (frame.groupby(name) for name in ("duplicate_group", "alike_group", "subject"))
    return {
        "images": len(frame),
        "unique images": same.ngroups,
        "groups of identical images": int((same["id"].size() > 1).sum()),
        "groups of identical images with different expressions": int((same["expression"].nunique() > 1).sum()),
        "groups of identical images across splits": int((same["split"].nunique() > 1).sum()),
        "groups of alike images across splits": int((near["split"].nunique() > 1).sum()),
        "subjects": subjects.ngroups,
        "subjects across splits": int((subjects["split"].nunique() > 1).sum()),
        "test images identical to one in training or validation": int(frame["leaked"].sum()),
        "test images identical or nearly identical to one there": int(frame["nearly_leaked"].sum()),
    }

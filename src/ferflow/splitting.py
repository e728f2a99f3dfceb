"""Which face is for training, validation or test: the official split where there is one, else stratified.

Identical and nearly identical images share a side wherever the choice is ours, and subjects too where they are known (a
subject is one of its source: two sources may number theirs alike). Faces without an official split follow their likes that
have one.
What an official split leaks is kept, counted and marked. Values in, values out.
"""

import numpy as np
import pandas as pd

from ferflow.params import Split


def split(labels: pd.DataFrame, groups: pd.DataFrame, shares: Split, seed: int) -> pd.DataFrame:
    """One row a face: ``id, split, duplicate_group, alike_group, leaked, nearly_leaked``.

    ``labels`` has ``id, source, official_split, subject, expression``; ``groups``, indexed by id, has ``same`` and ``near``, the
    groups of identical and of alike images. Rows with an official split keep it; validation and test, where a
    source has none, are cut from its rest so that each class (of expressions, else of gender and age group) keeps its
    share; where ``shares.frozen``, nothing is cut. ``leaked`` marks a test row whose
    very pixels are trained on or validated with, ``nearly_leaked`` one with an alike image there (a leaked one, too).
    """
    frame = labels[["id", "source", "official_split", "subject"]].copy()
    frame["source"] = frame["source"].astype("string").fillna("")
    frame["subject"] = frame["source"] + "/" + frame["subject"].astype("string")
    frame["stratum"] = strata(labels)
    frame["duplicate_group"] = frame["id"].map(groups["same"])
    frame["alike_group"] = frame["id"].map(groups["near"])
    official = frame["official_split"]
    if shares.frozen:
        frame["split"] = official.astype(object).where(official.notna(), "train")
        return _marked(frame)
    frame["split"] = official.where(official.isin(["val", "test"]))
    frame["group"] = _groups(frame)
    for name in ("val", "test"):  # test wins where a group has both
        likes = official.isna() & frame["group"].isin(set(frame.loc[official == name, "group"]))
        frame.loc[likes, "split"] = name
    free = frame["split"].isna()
    has = {name: set(frame["source"][official == name]) for name in ("test", "val")}
    if free.any():
        frame.loc[free, "split"] = _assign(frame[free], {"test": shares.test, "val": shares.val}, has, seed)
    return _marked(frame)


def _marked(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of splits, with the marks of test rows that leak."""
    is_test = frame["split"] == "test"
    for mark, group in (("leaked", "duplicate_group"), ("nearly_leaked", "alike_group")):
        frame[mark] = is_test & frame[group].isin(set(frame.loc[~is_test, group]))
    return frame[["id", "split", "duplicate_group", "alike_group", "leaked", "nearly_leaked"]].reset_index(drop=True)


def strata(labels: pd.DataFrame) -> pd.Series:
    """The class whose shares a split keeps: the expression; of a face without one, gender and decade, as far as known."""
    gender = (
        labels["gender"].astype("string").fillna("") if "gender" in labels else pd.Series("", index=labels.index, dtype="string")
    )
    decade = (
        (labels["age"] // 10).astype("string").fillna("")
        if "age" in labels
        else pd.Series("", index=labels.index, dtype="string")
    )
    return labels["expression"].astype("string").fillna("none " + gender + " " + decade)


def _groups(frame: pd.DataFrame) -> pd.Series:
    """What must not be parted: a subject's faces, alike images, and whatever these join."""
    groups = frame["subject"].fillna("alike " + frame["alike_group"].astype(str)).rename("group")
    return _join_through_duplicates(groups, frame["alike_group"])


def _assign(frame: pd.DataFrame, wanted: dict[str, float], has: dict[str, set[str]], seed: int) -> pd.Series:
    """Deal whole groups into splits, source by source, so that each class comes close to its share in each of them.

    Groups come in an order drawn by lot, the large ones (more than one face) first, and go where the faces of their
    classes are most missed, as a share of what a split wants (halves are rounded as Sainte-Laguë does; a tie goes where
    faces of all classes are most missed). Nothing goes to a split in ``has`` of their source.
    """
    side: dict[int, str] = {}
    draw = np.random.default_rng(seed)
    for source, faces in frame.groupby("source", sort=True):
        shares = {name: 0.0 if source in has[name] else share for name, share in wanted.items()}
        shares["train"] = 1 - sum(shares.values())
        names = list(shares)
        counts = pd.crosstab(faces["group"], faces["stratum"])
        order = draw.permutation(len(counts))
        order = order[np.argsort(-np.minimum(counts.to_numpy()[order].sum(axis=1), 2), kind="stable")]
        table = counts.to_numpy()
        missed = np.outer(list(shares.values()), table.sum(axis=0)).astype(float)  # split x class: faces still wanted
        weight = 1 / np.maximum(table.sum(axis=0), 1)  # a rare class counts as much as a frequent one
        wants = np.maximum(list(shares.values()), 1e-9)
        closed = np.array([-np.inf if share <= 0 else 0.0 for share in shares.values()])
        keys = counts.index.to_numpy()
        for row in order:
            faces_of = table[row]
            need = ((missed - faces_of / 2) * weight) @ faces_of / wants + 1e-9 * missed.sum(axis=1) / wants
            best = int(np.argmax(need + closed))
            side[keys[row]] = names[best]
            missed[best] -= faces_of
    return frame["group"].map(side)


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
    frame = splits.merge(labels[["id", "source", "expression", "subject"]], on="id")
    frame["subject"] = frame["source"].astype("string").fillna("") + "/" + frame["subject"].astype("string")
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

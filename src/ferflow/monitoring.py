"""What a service sees, compared with what its model was tested on; the only importer of evidently.

``compare`` judges: effect sizes against limits that are calibrated on the reference itself, for windows of the same size, so
that a window without drift hardly ever alarms, however many features are looked at. ``report`` lets Evidently show the same
features with the same limits. Values in, values out: where rows and reports lie is the flow's matter.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ferflow.effects import (
    FOLDS,
    Measures,
    auc_by_chance,
    by_chance,
    domain_auc,
    effects,
    limits,
    standardised,
    wilson,
)
from ferflow.livelog import Counts, Window
from ferflow.params import Monitor
from ferflow.vocabulary import TASKS, probability_column
from ferflow.wording import headline, words_of

Verdict = Literal["too few", "no drift", "drift"]
NUMBERS = ("confidence", "entropy", "valence", "arousal", "brightness", "contrast", "sharpness", "face_size", "detection_score")
NO_FACE, ANY = "no face", "all together"  # features of their own: pictures without a face; the domain classifier
_WASSERSTEIN, _JENSEN_SHANNON, _SHARE, _AUC = "Wasserstein / SD", "Jensen-Shannon", "share", "AUC"
_SKEWED = ("sharpness", "face_size")  # the classifier sees their logarithm
_CLASSIFIED = 2000  # faces of each side that the domain classifier looks at: enough to find, few enough to be quick
_SEED = 0  # of the draws: the same window is always judged the same way
_CLIENTS = 20  # of whom a slice is shown
_SURE = 3.0  # standard deviations by which pictures without a face must be too many


class MonitorError(RuntimeError):
    """A comparison that cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Feature:
    """One row of the judgement. ``value`` and ``threshold`` are in units of ``statistic``; None: ``why`` it is not compared.

    ``reference`` and ``current`` say what both sides are like: a mean, or a share by class.
    """

    feature: str
    statistic: str
    value: float | None = None
    threshold: float | None = None
    drifted: bool = False
    reference: float | dict[str, float] | None = None
    current: float | dict[str, float] | None = None
    words: str = ""
    why: str = ""


@dataclass(frozen=True)
class Accuracy:
    """The share of right answers among the faces of which somebody said what they show, with its 95 % interval (Wilson).

    ``tested`` is that of the reference (None: it has no labels). Who answers chooses the faces, so it is no fair sample.
    """

    right: int
    count: int
    value: float
    low: float
    high: float
    tested: float | None = None


@dataclass(frozen=True)
class Slice:
    """What one client sent: how much, and the features in which it stands out from the reference (None: too few faces)."""

    client: str
    counts: Counts
    stands_out: tuple[str, ...] | None
    accuracy: Accuracy | None


@dataclass(frozen=True)
class Drift:
    """The judgement of a window. ``looked_at``: faces compared (a sample of a large window); counts are of all rows."""

    verdict: Verdict
    words: str
    rows: tuple[Feature, ...]
    counts: Counts
    looked_at: int
    reference: int
    accuracy: Accuracy | None = None
    slices: tuple[Slice, ...] = ()
    window: dict[str, Any] = field(default_factory=dict)

    @property
    def drifted(self) -> list[str]:
        """The names of the features that drifted, the furthest first."""
        found = [row for row in self.rows if row.drifted]
        return [row.feature for row in sorted(found, key=lambda row: -far(row))]

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        said = asdict(self) | {"drifted": self.drifted}
        said["counts"] |= {"faces": self.counts.faces}
        return said


def far(row: Feature) -> float:
    """How far a feature is: 1 is at its limit. 0 where it is not compared."""
    if row.value is None or row.threshold is None:
        return 0.0
    zero = 0.5 if row.statistic == _AUC else 0.0
    return max(0.0, (row.value - zero) / max(row.threshold - zero, 1e-9))


Known = dict[tuple[Any, ...], dict[str, float]]  # limits of one reference, by the features and sizes that they are for


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, settings: Monitor, window: Window | None = None, known: Known | None = None
) -> Drift:
    """Judge the rows of a window (columns of the log; ``label`` where people spoke) against a reference with the same columns.

    ``window``: counts of all rows, where ``current`` is a sample of them. ``known``: an empty dictionary, which keeps the limits
    for further windows against the same reference. Raises ``MonitorError`` where nothing can be compared.
    """
    window = counted(current) if window is None else window
    counts = window.total
    if "faces" in current:
        current = current[current["faces"] != 0]
    accuracy = _accuracy(counts, reference)
    drift = Drift("too few", "", (_no_face(counts, settings),), counts, len(current), len(reference), accuracy)
    if len(current) >= settings.min_rows:
        tasks = tasks_of(reference)
        rows, found = _judged(reference, current, tasks, settings, {} if known is None else known)
        verdict: Verdict = "drift" if any(row.drifted for row in (*rows, *drift.rows)) else "no drift"
        slices = _slices(found, current, window, settings, accuracy)
        drift = replace(drift, verdict=verdict, rows=(*rows, *drift.rows), slices=slices)
    elif drift.rows[0].drifted:
        drift = replace(drift, verdict="drift")
    furthest = sorted(drift.rows, key=lambda row: -far(row))
    return replace(drift, words=headline(drift.verdict, furthest, len(current), settings.min_rows))


def counted(frame: pd.DataFrame) -> Window:
    """The counts of a frame that holds every row of its window; what it lacks counts as a face, alone in its picture."""
    rows = pd.DataFrame(index=frame.index)
    for name in ("model_version", "client", "expression"):
        rows[name] = frame[name].fillna("") if name in frame else ""
    label = frame["label"] if "label" in frame else pd.Series(None, index=frame.index, dtype=object)
    rows["rows"] = 1
    rows["pictures"] = (frame["face"] == 0).astype(int) if "face" in frame else 1
    rows["no_face"] = (frame["faces"] == 0).astype(int) if "faces" in frame else 0
    rows["uncertain"] = (frame["certain"] == 0).astype(int) if "certain" in frame else 0
    rows["labelled"] = (label.notna() & (rows["expression"] != "")).astype(int)
    rows["right"] = (label == rows["expression"]).astype(int)
    sums = rows.groupby(["model_version", "client", "expression"]).sum()
    return Window({key: Counts(*map(int, row)) for key, row in zip(sums.index, sums.to_numpy(), strict=True)})


def tasks_of(frame: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The classification tasks that a table of predictions has, each with its classes; those without any value are left out."""
    found = {}
    for name, task in TASKS.items():
        classes = tuple(
            one
            for one in task.classes
            if not task.auxiliary and (column := probability_column(name, one)) in frame and frame[column].notna().any()
        )
        if classes:
            found[name] = classes
    return found


def shown(frame: pd.DataFrame, tasks: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """The features of a table as people read them: numbers, the predicted class of every task, certain or uncertain."""
    columns: dict[str, Any] = {name: frame[name].astype(np.float64) for name in NUMBERS if _has(frame, name)}
    for task, classes in tasks.items():
        names = [probability_column(task, one) for one in classes]
        if set(names) <= set(frame):
            shares = frame[names].to_numpy(np.float32)
            known = np.isfinite(shares).all(axis=1)
            if not known.any():
                continue
            best = np.array([*classes, None], dtype=object)[np.where(known, np.nan_to_num(shares, nan=-1).argmax(axis=1), -1)]
            columns[task] = pd.Series(best, index=frame.index, dtype=object)
    if _has(frame, "certain"):
        said = {1.0: "certain", 0.0: "uncertain"}
        columns["certain"] = frame["certain"].astype(np.float64).map(said)
    return pd.DataFrame(columns, index=frame.index)


def _has(frame: pd.DataFrame, name: str) -> bool:
    return name in frame and bool(frame[name].notna().any())


def measures(table: pd.DataFrame, classes: dict[str, tuple[str, ...]]) -> Measures:
    """What ``shown`` gives, as numbers."""
    numbers = {name: table[name].to_numpy(np.float64) for name in NUMBERS if name in table}
    codes = {
        name: np.asarray(pd.Categorical(table[name], categories=list(known)).codes, np.int64)
        for name, known in classes.items()
        if name in table
    }
    return Measures(numbers, codes, {name: len(classes[name]) for name in codes})


@dataclass(frozen=True)
class _Found:
    """Both sides, prepared: what slices are compared with once more."""

    reference: pd.DataFrame
    current: pd.DataFrame
    classes: dict[str, tuple[str, ...]]

    @property
    def both(self) -> list[str]:
        return [str(name) for name in self.reference.columns if name in self.current]


def _judged(
    reference: pd.DataFrame, current: pd.DataFrame, tasks: dict[str, tuple[str, ...]], settings: Monitor, known: Known
) -> tuple[list[Feature], _Found]:
    found = _Found(shown(reference, tasks), shown(current, tasks), {**tasks, "certain": ("certain", "uncertain")})
    if not found.both:
        raise MonitorError("the window and the reference have no feature in common: is it the reference of another model?")
    values = _effects(found, found.current)
    first, second = (_space(side, reference, tasks, found.both) for side in (reference, current))
    folds = np.random.default_rng(_SEED).integers(FOLDS, size=len(first) + len(second))
    side = np.repeat([0, 1], [len(first), len(second)])
    values[ANY] = domain_auc(np.vstack([first, second]), 1 - side, side, folds)
    key = (tuple(values), len(current), len(second))
    if key not in known:
        chance = _chance(found, list(values), len(current), settings)
        chance[ANY] = auc_by_chance(first, (len(first), len(second)), settings.draws, _SEED)
        known[key] = limits(chance, settings.false_alarms)
    allowed = known[key]
    rows = [_row(name, found, values[name], allowed[name], settings) for name in values]
    return rows + _not_compared(found), found


def _effects(found: _Found, current: pd.DataFrame) -> dict[str, float]:
    """The effect of every feature that both sides have."""
    both = pd.concat([found.reference[found.both], current[found.both]], ignore_index=True)
    side = np.repeat([[0.0, 1.0]], [len(found.reference), len(current)], axis=1)
    every = effects(measures(both, found.classes), 1 - side, side)
    return {name: float(effect[0]) for name, effect in every.items() if np.isfinite(effect[0])}


def _chance(found: _Found, names: list[str], size: int, settings: Monitor) -> dict[str, np.ndarray]:
    """What chance makes of the effects in windows of a size."""
    names = [name for name in names if name in found.reference]
    table = measures(found.reference[names], found.classes)
    chance = by_chance(table, (len(found.reference), size), settings.draws, _SEED)
    return {name: np.nan_to_num(values) for name, values in chance.items()}


def _space(side: pd.DataFrame, like: pd.DataFrame, tasks: dict[str, tuple[str, ...]], both: list[str]) -> np.ndarray:
    """What the domain classifier looks at: every probability, valence and arousal, and how the picture is."""
    names = [probability_column(task, one) for task, classes in tasks.items() if task in both for one in classes]
    names += [name for name in NUMBERS if name in both]

    def values(frame: pd.DataFrame) -> np.ndarray:
        table = frame.reindex(columns=names).astype(np.float64)
        for name in set(_SKEWED) & set(names):
            table[name] = np.log1p(table[name])
        return table.to_numpy()

    some = side.sample(min(_CLASSIFIED, len(side)), random_state=_SEED)
    return standardised(values(some), values(like))


def _row(name: str, found: _Found, value: float, allowed: float, settings: Monitor) -> Feature:
    if name == ANY:
        threshold = max(settings.auc, allowed)
        row = Feature(name, _AUC, value, threshold, value > threshold)
        return replace(row, words=words_of(row.feature, None, None, row.drifted))
    threshold = max(settings.effect, allowed)
    number = name in NUMBERS
    statistic = _WASSERSTEIN if number else _JENSEN_SHANNON
    before, now = (_summary(side[name], None if number else found.classes[name]) for side in (found.reference, found.current))
    drifted = value > threshold
    return Feature(name, statistic, value, threshold, drifted, before, now, words_of(name, before, now, drifted))


def _summary(values: pd.Series, classes: tuple[str, ...] | None) -> float | dict[str, float]:
    if classes is None:
        return float(values.mean())
    shares = values.value_counts(normalize=True)
    return {name: float(shares.get(name, 0.0)) for name in classes}


def _not_compared(found: _Found) -> list[Feature]:
    """What only one side has: it is said, and not judged."""
    rows = []
    for name in (*NUMBERS, *found.classes):
        if (name in found.reference) != (name in found.current):
            here = found.current if name in found.current else found.reference
            side = "current" if name in found.current else "reference"
            why = "no reference" if side == "current" else "not in the window"
            statistic = _WASSERSTEIN if name in NUMBERS else _JENSEN_SHANNON
            summary = _summary(here[name], None if name in NUMBERS else found.classes[name])
            rows.append(Feature(name, statistic, why=why, **{side: summary}))  # type: ignore[arg-type]
    return rows


def _no_face(counts: Counts, settings: Monitor) -> Feature:
    """Pictures without a face: a reference of faces knows none, so that what is too many is said in the settings."""
    row = Feature(NO_FACE, _SHARE, threshold=settings.max_no_face, why="no picture")
    if not counts.pictures:
        return row
    share = counts.no_face / counts.pictures
    low, _ = wilson(counts.no_face, counts.pictures, _SURE)
    drifted = counts.pictures >= settings.min_rows and low > settings.max_no_face
    return replace(row, value=share, current=share, drifted=drifted, why="", words=words_of(NO_FACE, None, share, drifted))


def _accuracy(counts: Counts, reference: pd.DataFrame) -> Accuracy | None:
    if not counts.labelled:
        return None
    tested = None
    if {"label", "expression"} <= set(reference) and (known := reference["label"].notna()).any():
        tested = float((reference["label"] == reference["expression"])[known].mean())
    low, high = wilson(counts.right, counts.labelled)
    return Accuracy(counts.right, counts.labelled, counts.right / counts.labelled, low, high, tested)


def _slices(
    found: _Found, current: pd.DataFrame, window: Window, settings: Monitor, accuracy: Accuracy | None
) -> tuple[Slice, ...]:
    clients = list(window.clients.items())[:_CLIENTS]
    if "client" not in current or len(window.clients) < 2:
        return ()
    who = current["client"].fillna("")
    made = []
    for client, counts in clients:
        part = found.current[(who == client).to_numpy()]
        stands_out = tuple(_standing_out(found, part, settings, len(clients))) if len(part) >= settings.min_rows else None
        right = _accuracy(counts, pd.DataFrame())
        if right is not None and accuracy is not None:
            right = replace(right, tested=accuracy.tested)
        made.append(Slice(client, counts, stands_out, right))
    return tuple(made)


def _standing_out(found: _Found, part: pd.DataFrame, settings: Monitor, clients: int) -> Iterable[str]:
    """Features in which a client is further from the reference than chance allows; the more clients, the stricter."""
    values = _effects(found, part)
    allowed = limits(_chance(found, list(values), len(part), settings), settings.false_alarms / clients) if values else {}
    return [name for name, value in values.items() if value > max(settings.effect, allowed[name])]


def report(reference: pd.DataFrame, current: pd.DataFrame, drift: Drift) -> tuple[str, dict[str, Any]]:
    """Evidently's report of the features that were compared, with their limits: a page that loads nothing, and its JSON.

    It takes the same rows as ``compare``. Importing Evidently takes seven seconds.
    """
    import os
    import warnings

    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        if "faces" in current:
            current = current[current["faces"] != 0]
        tasks = tasks_of(reference)
        compared = {
            row.feature: row.threshold for row in drift.rows if row.statistic in (_WASSERSTEIN, _JENSEN_SHANNON) and row.threshold
        }
        names = list(compared)
        definition = DataDefinition(
            numerical_columns=[name for name in names if name in NUMBERS],
            categorical_columns=[name for name in names if name not in NUMBERS],
        )
        sides = [
            Dataset.from_pandas(shown(side, tasks)[names].reset_index(drop=True), data_definition=definition)
            for side in (current, reference)
        ]
        preset = DataDriftPreset(
            columns=names,
            drift_share=0.99 / len(names),  # as with us, one is enough
            num_method="wasserstein",
            cat_method="jensenshannon",
            per_column_threshold=compared,
        )
        snapshot = Report([preset], include_tests=False).run(*sides)
        return _sealed(snapshot.get_html_str(as_iframe=False)), snapshot.dict()


# Evidently's page carries its scripts and fonts; this sees to it that nothing is asked of another host, in later versions too.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def _sealed(html: str) -> str:
    return html.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{_POLICY}">', 1)

"""Whether a challenger may become champion: a table of checks, each with both models' figures, the limit, and why.

Values in, values out: it knows no file, no network and no registry. What cannot be judged fails where it matters, and says so.

Differences of accuracy are judged as non-inferiority: the challenger passes where the whole 95 % interval of its difference
from the champion, on the same resamples of the same faces, lies above minus the margin (Piaggio et al., JAMA 308, 2012).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ferflow.card import Card, task_columns
from ferflow.fairness import GROUPINGS
from ferflow.metrics import ece
from ferflow.params import Gate
from ferflow.resampling import Resamples, interval
from ferflow.tables import task_labels, task_target
from ferflow.vocabulary import MIN_FACES, TASKS


@dataclass(frozen=True)
class Evidence:
    """What is known of one model.

    ``predictions`` (a predictions table) and ``labels`` (the manifest's columns) have the same rows: the test faces; ``live``
    and ``live_labels`` the newest labelled live faces, None where there are none. ``latency_ms`` is of one face,
    ``size_mb`` of the file. Of a challenger alone: ``parity`` (the largest difference from what was evaluated, and the one
    that is allowed) and ``validation`` (the checks of its data: name, severity, passed, found). ``test_faces`` is the
    fingerprint of the faces it was tested on when it was made. None: not known.
    """

    version: int
    card: Card
    predictions: pd.DataFrame
    labels: pd.DataFrame
    live: pd.DataFrame | None = None
    live_labels: pd.DataFrame | None = None
    latency_ms: float | None = None
    size_mb: float | None = None
    parity: tuple[float, float] | None = None
    validation: list[dict[str, Any]] | None = None
    test_faces: str | None = None


@dataclass(frozen=True)
class Check:
    """One row of the decision: figures in words, whether it passed, and why."""

    check: str
    champion: str
    challenger: str
    limit: str
    passed: bool
    why: str


@dataclass(frozen=True)
class Decision:
    """The table, and what follows from it. ``data``: the version of the data that the challenger was trained on, in words."""

    champion: int
    challenger: int
    rows: tuple[Check, ...]
    data: str = ""
    made: str = ""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(row.passed for row in self.rows)

    @property
    def failed(self) -> list[Check]:
        """The checks that did not."""
        return [row for row in self.rows if not row.passed]

    def in_words(self) -> str:
        """One line: the verdict, and every reason against."""
        if self.passed:
            return f"version {self.challenger} passed all {len(self.rows)} checks against version {self.champion}"
        reasons = "; ".join(f"{row.check}: {row.why}" for row in self.failed)
        return f"version {self.challenger} is refused against version {self.champion}: {reasons}"

    def as_markdown(self) -> str:
        """The table for people."""
        lines = [f"# Gate: version {self.challenger} against version {self.champion}", "", f"{self.in_words()}.", ""]
        if self.data:
            lines += [f"Data: {self.data}.", ""]
        lines += ["| check | champion | challenger | limit | passed | why |", "|---|---|---|---|---|---|"]
        for row in self.rows:
            cells = [row.check, row.champion, row.challenger, row.limit, "yes" if row.passed else "**no**", row.why]
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"passed": self.passed}


class NotJudgedError(ValueError):
    """A check for which something is missing; the message says what."""


def decide(champion: Evidence, challenger: Evidence, settings: Gate, resamples: int = 1000, seed: int = 0) -> Decision:
    """Every check of the challenger against the champion."""
    draw = _Draws(resamples, seed)
    checks: dict[str, Callable[[], Check]] = {
        "test faces": lambda: _test_faces(champion, challenger),
        "answers": lambda: _answers(champion, challenger),
        "accuracy": lambda: _accuracy(champion, challenger, settings.margin, draw),
        "live accuracy": lambda: _live(champion, challenger, settings, draw),
        "live labels": lambda: _live_labels(champion, challenger, settings, draw),
        "class floor": lambda: _class_floor(champion, challenger, settings),
        "fairness": lambda: _fairness(champion, challenger, settings.fairness_gap, draw),
        "calibration": lambda: _calibration(champion, challenger, settings.ece),
        "latency": lambda: _latency(champion, challenger, settings),
        "size": lambda: _size(champion, challenger, settings.size_mb),
        "parity": lambda: _parity(challenger),
        "validation": lambda: _validation(challenger),
    }
    rows = []
    for name, check in checks.items():
        try:
            rows.append(check())
        except NotJudgedError as error:
            rows.append(Check(name, "-", "-", "-", False, f"cannot be judged: {error}"))
    return Decision(champion.version, challenger.version, tuple(rows))


class _Draws:
    """Resamples of any number of rows, drawn once each."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._known: dict[int, Resamples] = {}

    def means(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The mean of ``values`` (n) over the rows that are ``known``, resample by resample."""
        rows = len(values)
        if rows not in self._known:
            self._known[rows] = Resamples(rows, self._count, self._seed)
        return self._known[rows].means(values[known].astype(np.float64)[:, None], known)[:, 0]


def main_task(card: Card) -> str:
    """The task by whose classes models are compared: the expression, else the first with classes."""
    able = [task for task in card.tasks if TASKS[task].kind == "classification"]
    if not able:
        raise NotJudgedError("the champion answers no question that has classes; promote by hand")
    return "expression" if "expression" in able else able[0]


def _right(predictions: pd.DataFrame, labels: pd.DataFrame, card: Card, task: str) -> np.ndarray:
    """For every face 1 where its label is the answer, 0 where it is not (a class that the model does not know, too), -1
    without a label."""
    if task not in card.tasks:
        raise NotJudgedError(f"it does not answer {task}")
    classes = card.tasks[task]
    shares = predictions[task_columns(task, classes)].to_numpy()
    truth = task_labels(labels, task).iloc[:, 0]
    known = truth.notna().to_numpy()
    if wrong := int((~np.isfinite(shares[known])).any(axis=1).sum()):
        raise NotJudgedError(f"for {wrong} faces its answers are no numbers")
    return np.where(known, np.array(classes, object)[shares.argmax(axis=1)] == truth.to_numpy(object), -1).astype(np.int8)


def _pair(champion: Evidence, challenger: Evidence, live: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of both, face by face, on the test faces or on the live ones."""
    task = main_task(champion.card)
    both = []
    for one in (champion, challenger):
        predictions, labels = (one.live, one.live_labels) if live else (one.predictions, one.labels)
        if predictions is None or labels is None or not len(predictions):
            raise NotJudgedError(f"version {one.version} was asked about no face")
        both.append((predictions["id"].tolist(), _right(predictions, labels, one.card, task)))
    if both[0][0] != both[1][0]:
        raise NotJudgedError("the two were not asked about the same faces")
    if not (both[0][1] >= 0).any():
        raise NotJudgedError(f"no face has a label of {task}")
    return both[0][1], both[1][1]


def _test_faces(champion: Evidence, challenger: Evidence) -> Check:
    count, was, now = len(challenger.predictions), champion.test_faces, challenger.test_faces
    before, after = ("unknown" if one is None else one[:8] for one in (was, now))
    if now is None:
        raise NotJudgedError("the challenger does not say which faces it was tested on; run dvc repro")
    if was is None:
        why = f"the champion does not say what it was tested on; both are asked about the same {count} faces here"
        return Check("test faces", before, after, "the same", True, why)
    why = f"the same {count} faces" if was == now else "the test faces are not those that the champion was judged on"
    return Check("test faces", before, after, "the same", was == now, why)


def _answers(champion: Evidence, challenger: Evidence) -> Check:
    lost = [task for task in champion.card.tasks if task not in challenger.card.tasks]
    for task in set(champion.card.tasks) & set(challenger.card.tasks):
        lost += [f"{task} {one}" for one in champion.card.tasks[task] if one not in challenger.card.tasks[task]]
    before, after = (", ".join(one.card.tasks) for one in (champion, challenger))
    why = f"it cannot answer any more: {', '.join(sorted(lost))}" if lost else "it answers all that the champion does"
    return Check("answers", before, after, "no fewer", not lost, why)


def _difference(name: str, right: tuple[np.ndarray, np.ndarray], margin: float, draw: _Draws) -> Check:
    known = right[0] >= 0
    before, after = (float(one[known].mean()) for one in right)
    low, high = interval(draw.means(right[1].astype(float) - right[0], known))
    words = f"{100 * (after - before):+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] on {int(known.sum())} faces"
    passed = bool(low > -margin)
    why = words if passed else f"{words}: that it is not worse by {100 * margin:g} points is not shown"
    return Check(name, _percent(before), _percent(after), f"lower end above {-100 * margin:+g}", passed, why)


def _accuracy(champion: Evidence, challenger: Evidence, margin: float, draw: _Draws) -> Check:
    return _difference("accuracy", _pair(champion, challenger), margin, draw)


def _too_few(name: str, challenger: Evidence, least: int) -> Check | None:
    count = 0 if challenger.live is None else len(challenger.live)
    why = f"not judged: {count} labelled live faces, and it takes {least}"
    return Check(name, "-", "-", "-", True, why) if count < least else None


def _live(champion: Evidence, challenger: Evidence, settings: Gate, draw: _Draws) -> Check:
    if (few := _too_few("live accuracy", challenger, settings.min_live)) is not None:
        return few
    return _difference("live accuracy", _pair(champion, challenger, live=True), settings.live_margin, draw)


def _live_labels(champion: Evidence, challenger: Evidence, settings: Gate, draw: _Draws) -> Check:
    """Whether the labels fit the faces: a model that learned from the other live faces has to get some of these right.

    Wrong labels that are too few to win over the right ones leave no trace in accuracy; here they do.
    """
    if (few := _too_few("live labels", challenger, settings.min_live)) is not None:
        return few
    right = _pair(champion, challenger, live=True)
    known = right[0] >= 0
    before, after = (float(one[known].mean()) for one in right)
    low, high = interval(draw.means(right[1].astype(float), known))
    passed = bool(high >= settings.live_floor)
    words = f"it agrees with {_percent(after)} [{100 * low:.1f}, {100 * high:.1f}] of what people said"
    why = words if passed else f"{words}: faces and labels do not belong together"
    return Check(
        "live labels", _percent(before), _percent(after), f"upper end at least {100 * settings.live_floor:g}", passed, why
    )


def _class_floor(champion: Evidence, challenger: Evidence, settings: Gate) -> Check:
    task = main_task(champion.card)
    right = _pair(champion, challenger)
    truth = task_labels(challenger.labels, task).iloc[:, 0].to_numpy(object)
    classes = [*champion.card.tasks[task], *(one for one in challenger.card.tasks[task] if one not in champion.card.tasks[task])]
    floors = {name: settings.class_floors.get(name, settings.class_floor) for name in classes}
    judged = [name for name in classes if floors[name] > 0]
    if absent := [name for name in judged if not (truth == name).any()]:
        raise NotJudgedError(f"no test face is {', '.join(absent)} (gate.class_floors can exempt a class: 0)")
    recalls = [{name: float(one[truth == name].mean()) for name in judged} for one in right]
    if not judged:
        return Check("class floor", "-", "-", "none", True, "every class is exempt")
    below = [name for name in judged if recalls[1][name] < floors[name]]
    worst, now = (f"{name} {_percent(one[name])}" for one in recalls for name in [min(one, key=one.__getitem__)])
    why = ", ".join(f"{name} {_percent(recalls[1][name])} of {int((truth == name).sum())} (floor {_percent(floors[name])})"
                    for name in below)  # fmt: skip
    why = f"below its floor: {why}" if below else f"the worst of {len(judged)} classes is above its floor"
    return Check("class floor", worst, now, _percent(settings.class_floor), not below, why)


def _fairness(champion: Evidence, challenger: Evidence, tolerance: float, draw: _Draws) -> Check:
    """It fails where the gap is wider by more than the tolerance, and that is not chance (the interval is above 0)."""
    task = main_task(champion.card)
    right = _pair(champion, challenger)
    found = []
    for grouping in (name for name in GROUPINGS if name != task):
        belongs = task_labels(challenger.labels, grouping)[grouping].to_numpy(object)
        sizes = pd.Series(belongs[right[0] >= 0]).value_counts()
        if len(large := [group for group in sizes.index if sizes[group] >= MIN_FACES]) > 1:
            found.append((grouping, *_gaps(right, [(belongs == group) & (right[0] >= 0) for group in large], draw)))
    limit = f"wider by {100 * tolerance:g} at most"
    if not found:
        why = f"not judged: no two groups (age, gender, race) of {MIN_FACES} labelled faces"
        return Check("fairness", "-", "-", limit, True, why)
    grouping, before, after, low, high = max(found, key=lambda one: (one[2] - one[1] > tolerance and one[3] > 0, one[2] - one[1]))
    wider = after - before
    passed = not (wider > tolerance and low > 0)
    why = f"by {grouping}: {100 * wider:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    return Check("fairness", f"{100 * before:.1f} points", f"{100 * after:.1f} points", limit, passed, why)


def _gaps(right: tuple[np.ndarray, np.ndarray], groups: list[np.ndarray], draw: _Draws) -> tuple[float, float, float, float]:
    """The gap between the best and the worst group of both models, and the interval of its widening."""
    gaps = [np.ptp([one[group].mean() for group in groups]) for one in right]
    drawn = [np.stack([draw.means(one, group) for group in groups]) for one in right]
    low, high = interval(np.ptp(drawn[1], axis=0) - np.ptp(drawn[0], axis=0))
    return float(gaps[0]), float(gaps[1]), low, high


def _calibration(champion: Evidence, challenger: Evidence, limit: float) -> Check:
    task = main_task(champion.card)
    errors = []
    for one in (champion, challenger):
        _right(one.predictions, one.labels, one.card, task)  # raises where answers are no numbers
        classes = one.card.tasks[task]
        truth = task_target(task_labels(one.labels, task), task, classes)
        if not (truth >= 0).any():
            raise NotJudgedError(f"no face has a label of {task}")
        errors.append(ece.score(truth[truth >= 0], one.predictions[task_columns(task, classes)].to_numpy()[truth >= 0]))
    passed = bool(errors[1] <= limit)
    why = f"calibration error {errors[1]:.3f}, " + ("within the limit" if passed else f"more than {limit:g}")
    return Check("calibration", f"{errors[0]:.3f}", f"{errors[1]:.3f}", f"{limit:g}", passed, why)


def _latency(champion: Evidence, challenger: Evidence, settings: Gate) -> Check:
    before, after = champion.latency_ms, challenger.latency_ms
    if before is None or after is None or not (np.isfinite([before, after]).all() and before > 0):
        raise NotJudgedError("it was not measured")
    limit = settings.latency_ratio * before
    words = f"{settings.latency_ratio:g} x champion"
    if settings.latency_ms:
        limit, words = min(limit, settings.latency_ms), f"{words}, and {settings.latency_ms:g} ms"
    passed = after <= limit
    why = f"{after / before:.2f} times as long as the champion" + ("" if passed else f"; {limit:.2f} ms would be allowed")
    return Check("latency", f"{before:.2f} ms", f"{after:.2f} ms", words, passed, why)


def _size(champion: Evidence, challenger: Evidence, limit: float) -> Check:
    if challenger.size_mb is None:
        raise NotJudgedError("its size is not known")
    before = "unknown" if champion.size_mb is None else f"{champion.size_mb:.2f} MB"
    passed = challenger.size_mb <= limit
    why = "within the limit" if passed else f"larger than {limit:g} MB"
    return Check("size", before, f"{challenger.size_mb:.2f} MB", f"{limit:g} MB", passed, why)


def _parity(challenger: Evidence) -> Check:
    if challenger.parity is None:
        raise NotJudgedError("the release has no parity.json; run dvc repro export")
    found, allowed = challenger.parity
    passed = bool(found <= allowed)  # not a number: no
    why = "the export answers as what was evaluated" if passed else "the export does not answer as what was evaluated"
    return Check("parity", "-", f"{found:.2g}", f"{allowed:.2g}", passed, why)


def _validation(challenger: Evidence) -> Check:
    if not challenger.validation:
        raise NotJudgedError("there is no report of the data; run dvc repro validate")
    severe = [one for one in challenger.validation if one["severity"] == "fail"]
    broken = [one for one in severe if not one["passed"]]
    warned = sum(not one["passed"] for one in challenger.validation) - len(broken)
    why = "; ".join(f"{one['name']}: {one['found']}" for one in broken) or f"all passed, with {warned} warnings"
    return Check("validation", "-", f"{len(severe) - len(broken)} of {len(severe)}", "all", not broken, why)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"

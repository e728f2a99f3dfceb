"""The page on a window's drift: the judgement in words, then drawings, then the figures. It loads nothing and runs no script.

Its style sheet is a file of the web page, so that the service can link it where its policy allows no styles in a page; on disk
the sheet stands in the page itself. What is drift is ``monitoring``'s to judge.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from ferflow import driftplots
from ferflow.monitoring import NUMBERS, Drift, Feature, far, shown, tasks_of
from ferflow.wording import number

STYLE = Path(__file__).parent / "serving" / "page" / "drift.css"
_ENVIRONMENT = Environment(
    loader=PackageLoader("ferflow"), autoescape=select_autoescape(("html.j2",)), trim_blocks=True, lstrip_blocks=True
)
_LINES = 3  # numbers whose course is drawn
_USUAL = ("confidence", "brightness")  # drawn where no number drifted


@dataclass(frozen=True)
class _Plot:
    title: str
    words: str
    drawing: Markup
    drifted: bool = False


def page(drift: Drift, reference: pd.DataFrame, current: pd.DataFrame, report: str = "") -> str:
    """The page as HTML. ``reference`` and ``current`` are what ``compare`` judged; ``report``: where Evidently's lies."""
    if "faces" in current:
        current = current[current["faces"] != 0]
    tasks = tasks_of(reference)
    before, now = shown(reference, tasks), shown(current, tasks)
    rows = sorted((row for row in drift.rows if row.value is not None), key=lambda row: -far(row))
    template = _ENVIRONMENT.get_template("drift.html.j2")
    return template.render(
        style=Markup(STYLE.read_text()),
        drift=drift,
        title={"drift": "Drift", "no drift": "No drift", "too few": "Too few to judge"}[drift.verdict],
        tiles=_tiles(drift),
        rows=[(row, driftplots.bar(far(row)), _sides(row)) for row in rows],
        missing=[row for row in drift.rows if row.value is None],
        courses=_courses(drift, before, now, current),
        numbers=[_histogram(row, before, now) for row in rows if row.feature in NUMBERS],
        classes=[_shares(row) for row in rows if isinstance(row.reference, dict)],
        report=report,
    )


def _tiles(drift: Drift) -> list[tuple[str, str, str]]:
    counts, accuracy = drift.counts, drift.accuracy
    faces = counts.faces
    sample = f"{drift.looked_at:,} of them compared" if drift.looked_at != faces else f"{counts.rows:,} rows of the log"
    tiles = [("faces", f"{faces:,}", sample)]
    if counts.pictures:
        tiles.append(("pictures without a face", f"{100 * counts.no_face / counts.pictures:.1f} %", f"of {counts.pictures:,}"))
    certain = next((row for row in drift.rows if row.feature == "certain"), None)
    tested = ""
    if certain and isinstance(certain.reference, dict):
        tested = f"{100 * certain.reference['uncertain']:.0f} % in the test"
    if faces:
        tiles.append(("uncertain answers", f"{100 * counts.uncertain / faces:.1f} %", tested))
    if accuracy is None:
        tiles.append(("live accuracy", "–", "nobody has said what faces really show"))
    else:
        test = f", {100 * accuracy.tested:.0f} % in the test" if accuracy.tested is not None else ""
        words = f"{100 * accuracy.low:.0f} to {100 * accuracy.high:.0f} %, {accuracy.count} words of feedback{test}"
        tiles.append(("live accuracy", f"{100 * accuracy.value:.0f} %", words))
    return tiles


def _sides(row: Feature) -> str:
    if isinstance(row.reference, float) and isinstance(row.current, float):
        return f"{number(row.reference)} → {number(row.current)}"
    if row.statistic in ("AUC", "share"):
        return number(row.value or 0.0)
    return ""


def _histogram(row: Feature, before: pd.DataFrame, now: pd.DataFrame) -> _Plot:
    then, seen = (side[row.feature].to_numpy(np.float64) for side in (before, now))
    return _Plot(row.feature.replace("_", " "), _sides(row), driftplots.histogram(then, seen, row.drifted), row.drifted)


def _shares(row: Feature) -> _Plot:
    assert isinstance(row.reference, dict)
    assert isinstance(row.current, dict)
    return _Plot(row.feature, "test → now", driftplots.shares(row.reference, row.current, row.drifted), row.drifted)


def _courses(drift: Drift, before: pd.DataFrame, now: pd.DataFrame, current: pd.DataFrame) -> list[_Plot]:
    """When it happened: faces, and the mean of what drifted most, from the window's begin to its end."""
    if "time" not in current or not len(current) or "since" not in drift.window:
        return []
    since, until = (pd.Timestamp(drift.window[name]) for name in ("since", "until"))
    times = pd.to_datetime(current["time"], utc=True)
    places = ((times - since) / (until - since)).clip(0, 1).to_numpy(np.float64)
    ends = [f"{one:%Y-%m-%d %H:%M} UTC" for one in (since, until)]
    plots = [_Plot("faces", "", driftplots.timeline(places, None, None, ends))]
    moved = [name for name in drift.drifted if name in NUMBERS]
    for name in (moved or [one for one in _USUAL if one in now and one in before])[:_LINES]:
        middle, spread = float(before[name].mean()), float(before[name].std())
        band = (middle - spread, middle + spread)
        drawing = driftplots.timeline(places, now[name].to_numpy(np.float64), band, ends)
        plots.append(_Plot(name.replace("_", " "), "grey: usual in the test (mean ± deviation)", drawing, name in moved))
    return plots

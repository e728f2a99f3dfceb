"""The report as one self-contained page, and the model card: what the stages measured, put in order for reading.

It reads tables and pictures that are given to it, knows no stage and no path, and nothing in the page comes from elsewhere.
"""

import base64
import math
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from ferflow import limits

_ENVIRONMENT = Environment(
    loader=PackageLoader("ferflow"), autoescape=select_autoescape(("html.j2",)), trim_blocks=True, lstrip_blocks=True
)

LARGE = 150_000  # bytes: galleries have more, lines and bars less
# Figures that are shares of faces, or made of them: shown in percent. Areas, kappa, CCC and losses stay as they are.
PERCENT = {
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "macro_f1", "micro_f1", "macro_precision", "macro_recall",
    "top2", "top3", "within_one", "ece", "sign_agreement", "coverage",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What stands in a table and what it is sorted by: a number, or text; empty comes last."""

    text: str
    sort: str

    @property
    def figure(self) -> str:
        """The text without its interval."""
        return self.text.partition(" [")[0]

    @property
    def interval(self) -> str:
        """The interval, in its brackets; nothing where there is none."""
        return "".join(self.text.partition(" [")[1:]).strip()


@dataclass(frozen=True)
class Table:
    """A table that sorts by a click on a column's head."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Picture:
    """A picture, inside the page."""

    caption: str
    source: str


@dataclass(frozen=True)
class Section:
    """A chapter of the page: words, tables, pictures, and parts that are folded until somebody asks."""

    title: str
    words: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    folded: list["Section"] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Its name in the page's address."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def table(caption: str, frame: pd.DataFrame) -> Table:
    """A data frame as a table of the page; numbers are rounded for reading and sorted exactly."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return Table(caption, [str(column) for column in frame.columns], rows)


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None or (isinstance(value, float) and value != value):
        return Cell("", "")
    if isinstance(value, bool) or str(type(value)) == "<class 'numpy.bool'>":
        return Cell("yes" if value else "no", str(int(value)))
    if isinstance(value, float) and math.isinf(value):
        return Cell("inf" if value > 0 else "-inf", "Infinity" if value > 0 else "-Infinity")  # as a browser reads it
    if isinstance(value, float):
        small = 0 < abs(value) < 0.001
        text = f"{value:.1e}" if small else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}".rstrip("0").rstrip(".")
        return Cell(text, repr(value))
    if isinstance(value, int) or hasattr(value, "dtype"):
        return Cell(f"{value:,}", str(value))
    text = str(value)
    return Cell(text, text.split(" [")[0])  # a figure with its interval sorts by the figure


def picture(caption: str, path: Path) -> Picture:
    """A PNG file as a picture of the page; one with photographs, which make a PNG large, as WebP."""
    data, kind = path.read_bytes(), "png"
    if len(data) > LARGE:
        image = Image.open(path).convert("RGB")
        image.save(packed := BytesIO(), "WEBP", quality=85)
        data, kind = packed.getvalue(), "webp"
    return Picture(caption, f"data:image/{kind};base64," + base64.b64encode(data).decode())


def with_interval(
    value: float | None, low: float | None, high: float | None, percent: bool = True, unit: str = "", sign: bool = False
) -> str:
    """``91.2 [90.1, 92.3]``: a figure with its interval, in percent or as it is; nothing where it is not defined.

    ``unit`` follows the figure; with ``sign`` a positive number has its plus.
    """
    if value is None or value != value:
        return ""
    scale, style = (100, ".1f") if percent else (1, ".3f")
    style = ("+" if sign else "") + style
    text = f"{scale * value:{style}}{unit}"
    if low is None or high is None or low != low or high != high:
        return text
    return f"{text} [{scale * low:{style}}, {scale * high:{style}}]"


def joined(frame: pd.DataFrame, value: str = "value", unit: str = " %", sign: bool = False) -> pd.DataFrame:
    """The columns ``value``, low and high as one, a cell each: times 100 and with ``unit`` where ``metric`` is a share.

    Cells sort by the value itself.
    """
    cells = []
    for row in frame.to_dict("records"):
        share = row["metric"] in PERCENT
        text = with_interval(row[value], row.get("low"), row.get("high"), share, unit if share else "", sign)
        cells.append(Cell(text, repr(float(row[value])) if text else ""))
    shown = frame.drop(columns=["low", "high"], errors="ignore")
    return shown.assign(**{value: pd.Series(cells, index=shown.index, dtype=object)})


def in_percent(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that are shares (``PERCENT`` has their names) in percent, with one digit."""
    shares = [column for column in frame.columns if column in PERCENT]
    return frame.assign(**{column: frame[column].map(share_cell).astype(object) for column in shares})


def share_cell(value: float) -> Cell:
    """A share as ``91.2 %``."""
    return Cell(with_interval(value, None, None, unit=" %"), "" if value != value else repr(float(value)))


def threshold(above: float) -> Cell:
    """A threshold of confidence as a reader takes it: 0 makes every answer certain, more than 1 makes none."""
    return Cell("0 (all are)" if above <= 0 else "1 (none is)" if above > 1 else f"{above:.3f}", repr(above))


def counted(number: int, what: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def page(title: str, tiles: list[tuple[str, str, str]], drawn: bool, sections: list[Section]) -> str:
    """The whole page as HTML: nothing in it is loaded from anywhere. ``tiles`` are (name, figure, words)."""
    template = _ENVIRONMENT.get_template("report.html.j2")
    return template.render(title=title, tiles=tiles, drawn=limits.DRAWN if drawn else "", sections=sections, limits=limits)


def model_card(front_matter: str, facts: dict[str, Any]) -> str:
    """The model card in Hugging Face's form: YAML front matter, then Markdown."""
    return _ENVIRONMENT.get_template("model_card.md.j2").render(front_matter=front_matter, limits=limits, **facts)

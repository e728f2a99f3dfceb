"""What a window of the log holds, counted by the database over all of its rows, however many they are.

It counts and judges nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, select

from ferflow.livelog import tables
from ferflow.livelog.reading import existing, last_words, must_exist
from ferflow.livelog.tables import PREDICTIONS

_P = PREDICTIONS.c
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Counts:
    """``rows`` of the log, of which ``no_face`` are pictures without a face; ``pictures`` with and without; answers that were
    ``uncertain``; faces of which somebody said what they show (``labelled``), and whose answer was that (``right``)."""

    rows: int = 0
    pictures: int = 0
    no_face: int = 0
    uncertain: int = 0
    labelled: int = 0
    right: int = 0

    @property
    def faces(self) -> int:
        """Rows that are a face."""
        return self.rows - self.no_face

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Window:
    """Counts by model version, client and expression ("" where there is none)."""

    groups: dict[_Key, Counts]

    def of(self, version: str) -> "Window":
        """What one version answered."""
        return Window({key: counts for key, counts in self.groups.items() if key[0] == version})

    @property
    def total(self) -> Counts:
        """Everything."""
        return sum(self.groups.values(), Counts())

    @property
    def versions(self) -> dict[str, Counts]:
        """By the model's version, the one with most rows first."""
        return self._by(0)

    @property
    def clients(self) -> dict[str, Counts]:
        """By client, the one with most rows first."""
        return self._by(1)

    def _by(self, place: int) -> dict[str, Counts]:
        found: dict[str, Counts] = {}
        for key, counts in self.groups.items():
            found[key[place]] = found.get(key[place], Counts()) + counts
        return dict(sorted(found.items(), key=lambda pair: (-pair[1].rows, pair[0])))


def window(url: str, since: datetime, until: datetime) -> Window:
    """The predictions from ``since`` on and before ``until``, counted; ``LogError`` where there is no log."""
    inside = and_(_P.time >= since, _P.time < until)
    keys = (_P.model_version, _P.client, _P.expression)
    every = select(*keys, func.count(), _number(_P.face == 0), _number(_P.faces == 0), _number(_P.certain.is_(False)))
    words = last_words()
    said = select(*keys, func.count(), _number(words.c.label == _P.expression))
    said = said.join(words, words.c.prediction == _P.id).where(inside, words.c.place == 1, _P.expression.is_not(None))
    engine = existing(url)
    try:
        with tables.said(engine), engine.connect() as connection:
            must_exist(connection)
            rows = connection.execute(every.where(inside).group_by(*keys))
            groups = _counts(rows, ("rows", "pictures", "no_face", "uncertain"))
            labels = _counts(connection.execute(said.group_by(*keys)), ("labelled", "right"))
    finally:
        engine.dispose()
    return Window({key: groups.get(key, Counts()) + labels.get(key, Counts()) for key in groups | labels})


def _number(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))


def _counts(rows: Iterable[Any], names: tuple[str, ...]) -> dict[_Key, Counts]:
    found: dict[_Key, Counts] = {}
    for version, client, expression, *numbers in rows:
        counts = Counts(**dict(zip(names, map(int, numbers), strict=True)))
        found[version or "", client or "", expression or ""] = counts
    return found

"""What the pipeline is doing, for people: lines as things happen, and on a terminal what runs now with its time.

It knows no stage and no worker: it shows what it is told.
"""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Board:
    """Tells how a run goes. ``rows`` keeps it as a table: a row a stage that ran."""

    def __init__(self, stages: int, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self.rows: list[dict[str, Any]] = []
        self._fresh: set[str] = set()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._all = self._progress.add_task("stages", total=stages)
        self._lines: dict[str, TaskID] = {}

    def __enter__(self) -> "Board":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def up_to_date(self, stage: str) -> None:
        """Nothing to do."""
        self._fresh.add(stage)
        self._progress.update(self._all, completed=len(self._fresh | self._done))

    @property
    def _done(self) -> set[str]:
        return {row["stage"] for row in self.rows if row["state"] == "done"}

    @property
    def fresh(self) -> int:
        """How many stages had nothing to do."""
        return len(self._fresh - self._done)

    def started(self, stage: str, why: str, attempt: int) -> None:
        """It was given to a worker."""
        self._lines[stage] = self._progress.add_task(f"  {stage}", total=None)
        again = f" (attempt {attempt})" if attempt > 1 else f" ({why})" if why else ""
        self.say(f"{stage}: started{again[:100]}")

    def ended(self, stage: str, where: str, seconds: float, attempt: int) -> None:
        """It is done."""
        self._drop(stage)
        self.rows.append({"stage": stage, "attempts": attempt, "seconds": round(seconds, 1), "where": where, "state": "done"})
        self._progress.update(self._all, completed=len(self._fresh | self._done))
        self.say(f"{stage}: done in {seconds:.1f} s on {where}")

    def failed(self, stage: str, why: str, attempt: int, final: bool) -> None:
        """It is not done; ``final``: nor will it be."""
        self._drop(stage)
        if final:
            self.rows.append({"stage": stage, "attempts": attempt, "seconds": None, "where": "", "state": "failed"})
        self.say(f"{stage}: {why}; {'it will not be tried again' if final else 'it is tried again'}")

    def say(self, line: str) -> None:
        """A line with the time of day."""
        self._progress.console.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False)

    def _drop(self, stage: str) -> None:
        if stage in self._lines:
            self._progress.remove_task(self._lines.pop(stage))

"""What BentoML keeps of a task: its result for a day, and, unless it is told otherwise, the request with the video.

The request goes as soon as the work begins: nothing is kept of a person's video but the answer. It knows neither what was asked
nor what is answered.
"""

import json
import os
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

_EMPTY = json.dumps({"scope": {"type": "http", "method": "POST", "path": "/", "query_string": "", "headers": []}, "content": ""})


_OLD_S = 3600.0


def purge_uploads() -> None:
    """Remove what workers that were killed left of requests: BentoML puts files that are sent into temporary folders.

    The folders stay: those of living workers are used again.
    """
    for file in Path(tempfile.gettempdir()).glob("bentoml-request-*/*"):
        try:
            if time.time() - file.stat().st_mtime > _OLD_S:
                file.unlink()
        except OSError:  # another user's, or gone
            continue


def make_private() -> None:
    """Let what this process writes, and BentoML's store of answers, be read by nobody else."""
    from bentoml._internal.container import BentoMLContainer

    os.umask(0o077)
    with suppress(OSError):
        for file in Path(BentoMLContainer.result_store_file.get()).parent.glob("task_result.db*"):
            file.chmod(0o600)


def forget_input(task_id: str | None) -> None:
    """Overwrite what BentoML stored of the request; None, or a task that it does not have, changes nothing."""
    if task_id is None:
        return
    from bentoml._internal.container import BentoMLContainer

    with closing(sqlite3.connect(BentoMLContainer.result_store_file.get(), timeout=30)) as store:
        store.execute("pragma secure_delete = on")
        with store:
            store.execute("update result set input = ? where task_id = ?", (_EMPTY.encode(), task_id))
        store.execute("pragma wal_checkpoint(truncate)")  # what was written first stands in the journal, too

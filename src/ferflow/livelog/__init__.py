"""The prediction log: what a service saw, as rows of a database, written behind its back; no picture is ever in it.

It owns the tables ``predictions``, ``feedback`` and ``forgotten`` and is the only importer of SQLAlchemy. It knows no model,
no request and no server. ``PredictionLog`` writes, ``read``, ``window`` and ``summary`` read, ``forget`` removes.
"""

from ferflow.livelog.counting import Counts, Window, window
from ferflow.livelog.reading import Summary, labelled, read, recent, summary
from ferflow.livelog.rows import SPILL, LogError
from ferflow.livelog.writing import PredictionLog, forget

__all__ = [
    "SPILL",
    "Counts",
    "LogError",
    "PredictionLog",
    "Summary",
    "Window",
    "forget",
    "labelled",
    "read",
    "recent",
    "summary",
    "window",
]

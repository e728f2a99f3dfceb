"""One line of JSON a request, for people and machines: who, what, how it ended, how long it took. Never a query, body or key.

The lines go through the logger ``ferflow.requests``; where nobody gave that one a handler, to the standard output. It knows no
route and no model.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from pydantic import ValidationError

_LOGGER = logging.getLogger("ferflow.requests")
_LONGEST = 200  # characters of a path, which strangers choose


class _NotOurs(logging.Filter):
    """Drops the stack traces that BentoML writes for what a client got wrong: strangers could fill a disk with them."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, ValidationError) and int(getattr(error, "error_code", 500)) >= 500


_BENTOML, _NOT_OURS = logging.getLogger("bentoml._internal.server.http_app"), _NotOurs()


def configure() -> None:
    """Let the lines through: BentoML's own configuration of logging switches off every logger that was there before it."""
    _BENTOML.addFilter(_NOT_OURS)
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "ferflow":
            logging.getLogger(name).disabled = False
    ours = logging.getLogger("ferflow")  # what the service does of itself: another model, a log that is away
    ours.setLevel(logging.INFO)
    if not ours.hasHandlers():
        ours.addHandler(_handler("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if not _LOGGER.handlers:
        _LOGGER.addHandler(_handler("%(message)s"))
        _LOGGER.propagate = False


def _handler(form: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(form))
    return handler


def write(request_id: str, client: str, method: str, path: str, status: int, ms: float, size: int) -> None:
    """Write a request's line; ``status`` 499: the client left before it was answered (nginx's custom)."""
    if not _LOGGER.isEnabledFor(logging.INFO):
        return
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": request_id,
        "client": client,
        "method": method,
        "path": path[:_LONGEST],
        "status": status,
        "ms": round(ms, 2),
        "bytes": size,
    }
    # a record of our own: looking for the calling line, as info() does, costs as much as all the rest
    _LOGGER.handle(logging.LogRecord(_LOGGER.name, logging.INFO, __file__, 0, json.dumps(line), None, None))

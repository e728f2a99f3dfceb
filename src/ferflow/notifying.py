"""Who hears of it: a line in the log, and a message to a webhook. Nothing that goes wrong here fails what it tells of.

The message is a JSON object with ``text`` (what chat servers show), ``event`` and whatever is given. An address often holds a
secret: it never stands in a log. It knows no event by name.
"""

import json
import logging
import os
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

log = logging.getLogger("ferflow.notify")
TIMEOUT_S = 5.0
_TRIES = 3
_PAUSE_S = 1.0  # before the second try; twice that before the third


def notify(event: str, text: str, webhook: str = "", **more: Any) -> bool:
    """Write ``text`` to the log, and send it to ``webhook`` (an address, ``$NAME`` of an environment variable, or nothing).

    Whether a message arrived; True where there is nobody to tell. Never raises; takes at most about 20 seconds.
    """
    log.info("%s: %s", event, text)
    address = os.environ.get(webhook[1:], "") if webhook.startswith("$") else webhook
    if not address:
        if webhook:
            log.warning("nobody is told: the environment has no %s", webhook[1:])
        return not webhook
    try:
        return _post(address, json.dumps({"text": text, "event": event, **more}, default=str).encode())
    except Exception as error:  # whatever it is, what we tell of must go on
        log.warning("nobody is told: %s", type(error).__name__)
        return False


class _NoRedirect(HTTPRedirectHandler):
    """A message goes where the settings say, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(address: str, body: bytes) -> bool:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        log.warning("nobody is told: the webhook's address is not http(s)")
        return False
    where = f"{parts.scheme}://{parts.hostname}"
    asked = Request(address, body, {"content-type": "application/json", "user-agent": "ferflow"})
    why = ""
    for number in range(_TRIES):
        time.sleep(number * _PAUSE_S)
        try:
            with build_opener(_NoRedirect).open(asked, timeout=TIMEOUT_S) as reply:
                reply.read(1)
            return True
        except HTTPError as error:
            why = f"status {error.code}"
            error.close()
            if error.code < 500 and error.code != 429:
                break  # it would say the same again
        except (URLError, OSError) as error:
            why = str(getattr(error, "reason", error))
    log.warning("nobody is told: %s does not take the message (%s)", where, why)
    return False

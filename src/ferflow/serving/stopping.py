"""How the service ends: what is in flight is answered, and nobody new is let in.

On SIGTERM ``bentoml serve`` lets its workers answer what they have, for as long as it takes, but its supervisor (circus)
keeps the listening socket open until the last of them has ended: the system accepts connections meanwhile that nobody will
ever answer. Here the supervisor stops listening as soon as the workers have, so that a newcomer is refused at once and asks
somebody else. It knows no request and no model.
"""

import socket
from contextlib import suppress
from functools import wraps
from typing import Any

_WORKERS_S = 0.3  # in which workers have let go of the socket: uvicorn looks ten times a second whether it should


def install() -> None:
    """Let the supervisor of this process, where it is one, stop listening when it is told to stop."""
    from circus.arbiter import Arbiter

    if hasattr(Arbiter.stop, "stops_listening"):
        return
    end = Arbiter.stop

    @wraps(end)
    def stop(arbiter: Any) -> Any:
        arbiter.loop.call_later(_WORKERS_S, _stop_listening, arbiter)
        return end(arbiter)

    stop.stops_listening = True  # type: ignore[attr-defined]
    Arbiter.stop = stop


def _stop_listening(arbiter: Any) -> None:
    """Closing it would not do, for the workers have it as well; ``shutdown`` ends a socket for all who have it (Linux)."""
    for listening in arbiter.sockets.values():
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)

"""Connections that send nothing, send slowly, or never read: what uvicorn lets stay for ever, and no middleware ever sees.

uvicorn hands a request on when its head is complete, and waits for that without a limit of time or size; a body or an answer
can then be as slow as it likes. Here a connection without a request in work has ten seconds to deliver the head of one (and
what is left of a body that was refused), a head has a size, an answer must be read, and there are only so many connections:
when they run out, the one that has been waiting for longest goes. Bodies are the guard's. It knows no key and no model.
"""

import asyncio
import logging
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import config
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ferflow.serving.page import FILES
from ferflow.serving.routes import PAGE, route_of

HEAD_S = 10.0  # for a whole head, from the connection's start or the last answer's end
READ_S = 60.0  # for a client to read on, when an answer piles up
MAX_HEAD = 32_768  # bytes
NOWHERE = "/nowhere"  # what every address that is none is counted as
_PAGES = {"/ui", *(f"/ui/{name}" for name in FILES)}
_SPARE = 128  # file descriptors for everything else

log = logging.getLogger("ferflow.serving")


def install() -> None:
    """Let uvicorn's servers of this process, from now on, talk to clients that way. Called before the server starts."""
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:Protocol"


def max_connections() -> int:
    """How many may be open: as the system gives this process file descriptors, at most 4,000."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 400
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 4000 if files < 0 else max(64, min(4000, files - _SPARE))


class _Impatient:
    """What is added to uvicorn's protocol, whichever of its two it is."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    app: ASGIApp
    connections: set[Any]
    cycle: Any
    _waiting: dict["_Impatient", None] = {}  # of the process, oldest first  # noqa: RUF012
    _most = 0
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_head = False
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.app = named(self.app)
        super().connection_made(transport)  # type: ignore[misc]
        _Impatient._most = _Impatient._most or max_connections()
        if len(self.connections) > _Impatient._most:
            oldest = next(iter(_Impatient._waiting), self)
            oldest._waits_no_more()
            oldest.transport.abort()
            if oldest is self:
                return
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
        super().data_received(data)  # type: ignore[misc]
        if self._in_head and self._head > MAX_HEAD:
            self.transport.abort()
        elif self._busy():
            self._waits_no_more()

    def on_message_begin(self) -> None:
        self._in_head, self._head = True, 0
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()  # type: ignore[misc]

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        if not self._busy() and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        self._waits_no_more()
        self.resume_writing()
        super().connection_lost(error)  # type: ignore[misc]

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        if self._unread is None:
            self._unread = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()  # type: ignore[misc]
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._waits_no_more()
        _Impatient._waiting[self] = None
        self._timer = self.loop.call_later(HEAD_S, self._give_up)

    def _waits_no_more(self) -> None:
        _Impatient._waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._waits_no_more()
        if not self._busy():
            self.transport.abort()


def named(app: ASGIApp) -> ASGIApp:
    """The app, told of addresses that it has, and of all others as one: BentoML counts by address, before any middleware.

    What was asked for stands in the scope as ``asked_path``, for the log.
    """

    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_known(scope["path"]):
            scope = {**scope, "path": NOWHERE, "raw_path": NOWHERE.encode(), "asked_path": scope["path"]}
        await app(scope, receive, send)

    return known


def _is_known(path: str) -> bool:
    route = route_of(path)
    return route is not None and (route is not PAGE or path in _PAGES)


Protocol = type("Protocol", (_Impatient, AutoHTTPProtocol), {"__doc__": "uvicorn's protocol, impatient."})

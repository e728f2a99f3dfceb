"""One request and its answer: their id, the headers that every answer has, and the one form of all errors.

What the service says on an error is looked at and written anew, so that nothing of its inside (a trace, a path) gets out. It
decides nothing: that is the guard's.
"""

import asyncio
import json
import logging
import re
import time
from uuid import uuid4

from starlette.types import Message, Scope, Send

from ferflow.keys import Key
from ferflow.serving import requestlog
from ferflow.serving.refusals import RefusedError

ANSWER_S = 55.0  # in which an answer must have begun; BentoML's own limit (traffic.timeout, 60 s) comes after it
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_MAX_ERROR = 64_000  # bytes of an error of the service that are looked at
FAILED = "the service failed to answer this; its log says more under this request id"

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        b"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_SECRET = {b"authorization", b"x-api-key", b"cookie"}  # not handed on: BentoML stores the headers of tasks
_OURS = {b"x-request-id", b"x-bentoml-request-id", b"server"}.union(name for name, _ in SECURITY_HEADERS)  # not the service's

log = logging.getLogger("ferflow.serving")


class Exchange:
    """One request and its answer: names both, holds errors back to give them one form, and times the whole."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = time.perf_counter()
        self._send = send
        self.headers: dict[bytes, bytes] = {}
        passed = []
        for pair in scope["headers"]:
            name = pair[0]
            self.headers.setdefault(name, pair[1])
            if name not in _SECRET and not name.startswith(b"x-ferflow-"):
                passed.append(pair)
        given = self.headers.get(b"x-request-id", b"")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid4().hex
        self.client, self.who = "anonymous", ""
        self.key: Key | None = None
        passed += [(b"x-ferflow-request-id", self.id.encode()), (b"x-ferflow-client", b"anonymous")]
        self.scope = {**scope, "headers": passed, "ferflow": {"request_id": self.id, "client": self.client, "exchange": self}}
        self.status = self.size = 0
        self.cacheable = self.refused = self._logged = False
        self._held: Message | None = None
        self._body = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None

    @property
    def kind(self) -> str:
        """What the body says it is."""
        return self.headers.get(b"content-type", b"").decode("latin-1")

    def name_client(self, name: str) -> None:
        """From now on the client is called by its key's name."""
        self.client = self.who = name
        self.scope["ferflow"]["client"] = name
        self.scope["headers"][-1] = (b"x-ferflow-client", name.encode())

    def start_clock(self) -> None:
        """The answer must begin in time; where it does not, the client is told so, and what comes later is dropped."""
        loop = asyncio.get_running_loop()
        left = ANSWER_S - (time.perf_counter() - self.started)
        self._timer = loop.call_later(left, self._too_late)

    def _too_late(self) -> None:
        refusal = RefusedError(503, f"no answer within {ANSWER_S:.0f} s; come back in a moment", retry_after="5")
        if not self.status:
            self._late = asyncio.get_running_loop().create_task(self.refuse(refusal, self.straight))

    async def send(self, message: Message) -> None:
        """The service's answer, on its way out; nothing where the client was told already that it is too late."""
        if self._late is None:
            await self.straight(message)

    async def straight(self, message: Message) -> None:
        """An answer, on its way out, in the form that all answers have."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                self._held = message
                return
            await self._begin(message["status"], message["headers"])
        elif self._held is None:
            await self._more(message)
        else:
            if len(self._body) < _MAX_ERROR:
                self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._error(self._held)

    async def _error(self, held: Message) -> None:
        """An error in the form that all errors have."""
        status, text = held["status"], bytes(self._body)
        self._held = None
        message = _message(text)
        if status >= 500 and not self.refused:
            log.error("request %s: the service answered %d: %.500r", self.id, status, text)
            message = message if status == 503 else FAILED
        body = json.dumps({"error": message, "request_id": self.id}).encode()
        kept = [pair for pair in held["headers"] if pair[0].lower() not in (b"content-type", b"content-length")]
        kept += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self._begin(status, kept)
        await self._more({"type": "http.response.body", "body": body})

    async def refuse(self, refusal: RefusedError, send: Send) -> None:
        """An error of the guard's own; none where an answer has begun, or nobody is there to read it."""
        if self.status or refusal.status == 499:
            return
        self.refused, self._held = True, None
        self._body.clear()
        headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        await answer(send, refusal.status, json.dumps({"error": refusal.message}).encode(), headers)

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        if self._timer is not None:
            self._timer.cancel()
        kept = [pair for pair in headers if pair[0].lower() not in _OURS]
        if not self.cacheable:
            kept = [pair for pair in kept if pair[0].lower() != b"cache-control"]
            kept.append((b"cache-control", b"no-store"))
        kept += SECURITY_HEADERS
        kept.append((b"x-request-id", self.id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": kept})

    async def _more(self, message: Message) -> None:
        self.size += len(message.get("body", b""))
        await self._send(message)
        if not message.get("more_body"):
            self.finish()  # now: work for a task goes on after its answer

    def finish(self) -> None:
        """Stop the clock and write the line, once."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._logged:
            self._logged = True
            ms = (time.perf_counter() - self.started) * 1000
            who = self.who or (self.scope.get("client") or ("unknown",))[0]
            path = self.scope.get("asked_path", self.scope["path"])
            requestlog.write(self.id, who, self.scope["method"], path, self.status or 499, ms, self.size)


def _message(body: bytes) -> str:
    """What an error of the service says, from the shapes that BentoML, pydantic and Starlette give it."""
    try:
        found = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip()[:500] or "refused"
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return str(found)[:500]
    if isinstance(found.get("detail"), list):
        lines = (f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg', '')}" for one in found["detail"][:5])
        return "; ".join(lines)[:500]
    return str(found.get("error") or found.get("detail") or "refused")[:500]


async def answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """A whole answer."""
    start = {"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"%d" % len(body))]}
    await send(start)
    await send({"type": "http.response.body", "body": body})

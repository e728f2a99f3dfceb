"""What stands before the service: who may ask, how often and how much, and that every answer has one form.

In this order: a request id; pages of other origins; keys and their scopes; the client's rate; room for one more; the body, within
its size and time; its form (``forms``). On the way back: security headers, errors as ``{"error", "request_id"}`` without
anything of the inside, and a line in the log. It knows no model; what an address takes stands in ``routes``.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ferflow import params
from ferflow.keys import Keys
from ferflow.serving import forms, openapi, requestlog
from ferflow.serving.exchange import FAILED, Exchange, answer
from ferflow.serving.limiting import Arrivals, Rate, Room, address_group
from ferflow.serving.refusals import RefusedError
from ferflow.serving.routes import PAGE, Fields, Route, route_of

BODY_S = 30.0  # in which a body must have arrived
_QUERY = re.compile(rb"task_id=[0-9a-f]{32}")
_CLOSE = "close"
Direct = Callable[[Fields, str, str], Awaitable[bytes]]  # what was sent, the request's id, the client -> the answer in JSON

log = logging.getLogger("ferflow.serving")


class RequestGuard:
    """ASGI middleware with the limits and keys of ``params.Serve``; one event loop's, as a process has one."""

    def __init__(self, app: ASGIApp, settings: params.Serve, direct: Mapping[str, Direct] | None = None) -> None:
        self.app, self.settings, self.direct = app, settings, {} if direct is None else direct
        self.max_bytes = int(settings.max_megabytes * 1e6)
        self.keys, self.rate = Keys(settings.keys), Rate(settings.requests_a_minute)
        self.room = Room(settings.max_waiting)
        self.tasks = Room(max(1, settings.max_waiting // 8), "videos")  # each is minutes of work
        self.arrivals = Arrivals(BODY_S, max(2, settings.max_waiting // 4) * self.max_bytes)
        self.limits = forms.Limits(settings.max_pictures, settings.max_crops)
        self._document: bytes | None = None
        self._checked: ASGIApp = self._admit
        if settings.cors:
            self._checked = CORSMiddleware(
                self._admit,
                allow_origins=settings.cors,
                allow_methods=("GET", "POST"),
                allow_headers=("authorization", "x-api-key", "x-request-id"),
                expose_headers=("x-request-id", "retry-after"),
            )
        requestlog.configure()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it; either way, once and with its id."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, send)
        try:
            await self._checked(exchange.scope, receive, exchange.send)
        except Exception as error:
            log.exception("request %s failed", exchange.id)
            if exchange.status:  # half an answer is out: all that is left is to cut the connection
                raise error
            await exchange.refuse(RefusedError(500, FAILED), exchange.straight)
        finally:
            exchange.finish()

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._pass(scope, receive, send)
        except RefusedError as refusal:
            await scope["ferflow"]["exchange"].refuse(refusal, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["ferflow"]["exchange"]
        route = route_of(scope["path"])
        if route is None or not route.always:
            self._identify(exchange)
        if route is None:
            raise RefusedError(404, "there is nothing at this address; GET /docs.json lists what there is")
        if scope["method"] not in route.methods:
            raise RefusedError(405, f"it answers to {' and '.join(route.methods)}", allow=", ".join(route.methods))
        exchange.cacheable = route is PAGE
        if route.always:
            await self._pass_free(scope, receive, send)
            return
        self._open(route, exchange)
        room = self.tasks if route.task else self.room
        room.check()  # before the body is read: who is too many is told so at once
        if work := self.direct.get(scope["path"]):
            fields = forms.read(scope["path"], route, exchange.kind, await self._body(exchange.headers, receive), self.limits)
            with room:
                exchange.start_clock()
                said = await work(fields, exchange.id, exchange.client)
            await answer(send, 200, said, [(b"content-type", b"application/json")])
            return
        scope, body = await self._prepared(scope, route, receive, exchange)
        with room:
            exchange.start_clock()
            await self.app(scope, _replay(body, receive), send)

    async def _pass_free(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Probes, metrics, the document and the page's files; what is sent along with them is not read."""
        if scope["path"] == "/":
            await answer(send, 307, b"", [(b"location", b"ui/")])
        elif scope["path"] == "/docs.json":
            await answer(send, 200, await self._described(scope), [(b"content-type", b"application/json")])
        else:
            await self.app(scope, _replay(b"", receive), send)

    async def _described(self, scope: Scope) -> bytes:
        """The OpenAPI document: BentoML's, completed; made once."""
        if self._document is None:
            document = openapi.complete(json.loads(await _asked(self.app, {**scope, "method": "GET"})), self.settings)
            self._document = json.dumps(document, ensure_ascii=False).encode()
        return self._document

    def _identify(self, exchange: Exchange) -> None:
        """Whose request it is, by its key; ``RefusedError`` for a wrong key, a foreign page, or one too many."""
        headers, address = exchange.headers, (exchange.scope.get("client") or ("unknown",))[0]
        exchange.who = address
        if exchange.scope["method"] not in ("GET", "HEAD"):
            self._no_stranger(headers)
        given = {value for value in (_bearer(headers), headers.get(b"x-api-key", b"").strip()) if value}
        key = None
        if given:
            key = self.keys.check(given.pop().decode("latin-1")) if len(given) == 1 else None
            if key is None:
                self.rate.take(address_group(address))
                raise _unauthorized("the API key is not known; 'ferflow keys add' makes one, and shows it once")
            exchange.name_client(key.name)
        exchange.key = key
        self.rate.take(f"key {key.name}" if key else address_group(address))

    def _no_stranger(self, headers: dict[bytes, bytes]) -> None:
        """Refuse what a page of another origin makes a browser send: it could not read the answer, but it would be done."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self.settings.cors or "*" in self.settings.cors:
            return
        site = headers.get(b"sec-fetch-site")  # browsers say it to secure addresses and to this machine
        same = site in (b"same-origin", b"none") if site else urlsplit(origin).netloc.encode() == headers.get(b"host")
        if not same:
            raise RefusedError(403, "pages of other origins may not ask; serve.cors in params.yaml lists those that may")

    def _open(self, route: Route, exchange: Exchange) -> None:
        scope, key = route.scope, exchange.key
        if scope is None or (scope == "predict" and not self.settings.require_key):
            return  # what nobody needs a key for is not closed by having one
        if key is None and not self.keys.any_with(scope):
            if route.unless_none and not self.settings.require_key:
                return
            raise RefusedError(403, f"closed: no API key opens it; ferflow keys add NAME --scopes {scope}")
        if key is None:
            raise _unauthorized(f"an API key with the scope {scope} is needed: 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        if not key.may(scope):
            raise RefusedError(
                403, f"this API key has not the scope {scope}; make one that has: ferflow keys add NAME --scopes {scope}"
            )

    async def _prepared(self, scope: Scope, route: Route, receive: Receive, exchange: Exchange) -> tuple[Scope, bytes]:
        """The scope and the body that the service gets; GET becomes the POST that BentoML answers."""
        if route.asks:
            return _with_body(scope, b"{}", b"application/json"), b"{}"
        if route.query:
            if not _QUERY.fullmatch(scope["query_string"]):
                raise RefusedError(400, f"{route.query}: give it once, as submit answered it: ?{route.query}=... (32 hex digits)")
            return scope, b""
        body = await self._body(exchange.headers, receive)
        body, written = forms.rewritten(scope["path"], route, exchange.kind, body, self.limits)
        return _with_body(scope, body, written), body

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body; ``RefusedError`` when it is larger than the limit, by its header or by what arrives, or too slow."""
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RefusedError(415, "the body is compressed; send it as it is", connection=_CLOSE)
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit():
            raise RefusedError(400, "content-length is no number", connection=_CLOSE)
        if len(announced) > 15 or int(announced) > self.max_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with self.arrivals.start() as arrival:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(499, "the client left")
                    chunk: bytes = message.get("body", b"")
                    if not body and not message.get("more_body") and len(chunk) <= self.max_bytes:
                        return chunk  # as nearly always: nothing is copied
                    if len(body) + len(chunk) > self.max_bytes:
                        raise self._too_large()
                    body += chunk
                    if not message.get("more_body"):
                        return bytes(body)
                    arrival.grew(len(chunk))
        except TimeoutError:
            raise RefusedError(
                408, f"the body did not arrive within {BODY_S:.0f} s: send less, or over a faster line", connection=_CLOSE
            ) from None

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413,
            f"the body is larger than {self.max_bytes} bytes (serve.max_megabytes): send a smaller picture, or fewer",
            connection=_CLOSE,
        )


def _unauthorized(message: str) -> RefusedError:
    return RefusedError(401, message, www_authenticate='Bearer realm="ferflow"')


def _bearer(headers: dict[bytes, bytes]) -> bytes:
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    return value.strip() if kind.lower() == b"bearer" else b""


def _with_body(scope: Scope, body: bytes, kind: bytes) -> Scope:
    kept = [pair for pair in scope["headers"] if pair[0] not in (b"content-type", b"content-length", b"transfer-encoding")]
    headers = [*kept, (b"content-type", kind), (b"content-length", str(len(body)).encode())]
    return {**scope, "method": "POST", "headers": headers}


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body that was read already, then whatever comes next."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _asked(app: ASGIApp, scope: Scope) -> bytes:
    """What the service answers to a request without a body, as bytes; the scope's own client does not see it."""
    body = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RefusedError(503, "the document is not there yet; come back in a moment", retry_after="1")
        body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return bytes(body)

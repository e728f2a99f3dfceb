"""What stands before the service: a limit on the body, and a clear answer where the form lacks its picture.

BentoML has neither a body limit nor a 4xx for a missing form field, takes a text field for an address to
fetch, and answers nothing to GET. It knows no model.
"""

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NEEDS_IMAGE = {"/predict"}
_TAKES_NOTHING = {"/model"}


class RequestGuard:
    """ASGI middleware: 413 for a body over ``max_bytes``, 400 for a request to ``/predict`` without exactly one picture.

    What is sent to ``/model`` is dropped, and it answers to GET as to POST.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body within its limit, look at it, and hand it on."""
        if scope["type"] == "http" and scope["path"] in _TAKES_NOTHING and scope["method"] in ("GET", "POST"):
            headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
            await self.app({**scope, "method": "POST", "headers": headers}, _replay(b"{}", receive), send)
            return
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if body is None:
            reply = _error(413, f"the request is larger than {self.max_bytes} bytes")
        elif scope["path"] in _NEEDS_IMAGE and (problem := await missing_image(scope, body)):
            reply = _error(400, problem)
        else:
            await self.app(scope, _replay(body, receive), send)
            return
        await reply(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when it is larger than the limit, by its header or by what arrives."""
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit() or int(announced) > self.max_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return bytes(body)
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                return None
            if not message.get("more_body"):
                return bytes(body)


async def missing_image(scope: Scope, body: bytes) -> str:
    """Why this request holds no picture; empty when it does."""
    hint = "send a picture as the form field 'image': curl -F image=@photo.jpg http://127.0.0.1:3000/predict"
    content_type = Headers(scope=scope).get("content-type", "")
    if not body:
        return f"the body is empty; {hint}"
    if not content_type.lower().startswith("multipart/form-data"):
        return f"the content type is {content_type or 'missing'}; {hint}"
    try:
        async with Request(scope, _replay(body, _nothing_more)).form(max_files=8, max_fields=8) as form:
            images = form.getlist("image")
            sizes = [image.size for image in images if isinstance(image, UploadFile)]
    except (HTTPException, MultiPartException) as error:
        return f"the form cannot be read: {getattr(error, 'detail', error)}; {hint}"
    if len(images) != 1 or len(sizes) != 1:
        return (
            f"the field 'image' must hold one file; the form has {len(sizes)} files and {len(images) - len(sizes)} texts; {hint}"
        )
    return "" if sizes[0] else f"the picture is empty; {hint}"


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


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


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)

"""The web page: a small ASGI app that serves the files of the folder ``page`` and nothing else. It knows no model.

The page itself asks the JSON API one level above it; see docs/web-page.md.
"""

from hashlib import sha256
from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferflow import limits

_FOLDER = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {"", *(path.name for path in _FOLDER.iterdir() if path.suffix in _TYPES)}  # "": index.html
_LISTS = {"intended": limits.INTENDED, "not-intended": limits.NOT_INTENDED, "limits": limits.LIMITS, "law": limits.LAW}


def page_app(keep_days: float = 90) -> Starlette:
    """An app for ``/ui``: index.html at its root, and the files that it names. They are read once, at the start.

    ``keep_days`` is how long consented crops are kept: the page says so. Other paths are 404, other methods 405; a file that
    the browser has already is 304.
    """
    files = {path.name: _read(path, keep_days) for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}

    async def serve(request: Request) -> Response:
        name = request.path_params.get("name") or "index.html"
        if name not in files:
            return Response("there is no such file", 404, media_type="text/plain")
        body, headers = files[name]
        if headers["etag"] in (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers={"etag": headers["etag"], "cache-control": headers["cache-control"]})
        return Response(body, headers=headers)

    return Starlette(routes=[Route("/", serve), Route("/{name}", serve)])


def _read(path: Path, keep_days: float) -> tuple[bytes, dict[str, str]]:
    """A file's bytes, and the headers that go with them."""
    body = path.read_bytes()
    if path.name == "index.html":
        body = filled(body.decode(), keep_days).encode()
    headers = {
        "content-type": f"{_TYPES[path.suffix]}; charset=utf-8",
        "etag": f'"{sha256(body).hexdigest()[:32]}"',
        "cache-control": "no-cache",  # asked again each time, and answered by 304: a new version is seen at once
    }
    return body, headers


def filled(html: str, keep_days: float) -> str:
    """The page with what stands elsewhere: limits and law (``limits.py``), and the days that crops are kept."""
    for name, lines in _LISTS.items():
        html = html.replace(f"<!-- {name} -->", "".join(f"<li>{escape(line)}</li>" for line in lines))
    return html.replace("<!-- keep-days -->", f"{keep_days:g}")

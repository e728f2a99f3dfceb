"""``GET /drift``: the newest page on drift that lies in the project; where there is none, how to get one. It judges nothing.

The page's style sheet is linked from the web page's files, because the policy of every answer allows no styles in a page, and
Evidently's report, which needs scripts in the page, stays on disk.
"""

from pathlib import Path

from starlette.responses import Response

LATEST = Path("reports/drift/latest.html")
SHEET = "ui/drift.css"
_MOST = 8_000_000  # bytes
_NONE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Drift · ferflow</title><style></style></head><body class="too-few"><main><header><p class="verdict">No report yet</p>
<h1>Nobody has looked for drift here.</h1>
<p>In the project's folder, <code>ferflow monitor</code> compares the live predictions with those of the test, and this page shows
what it finds.</p></header></main></body></html>
"""


def newest(path: Path = LATEST) -> Response:
    """The page as an answer; it is read each time, because a look replaces it."""
    try:
        with path.open("rb") as file:
            html = file.read(_MOST).decode("utf-8", "replace")
    except OSError:
        html = _NONE
    return Response(linked(html), media_type="text/html")


def linked(html: str, sheet: str = SHEET) -> str:
    """The page with its sheet linked instead of in it, and without the way to Evidently's report."""
    head, _, rest = html.partition("<style>")
    _, _, body = rest.partition("</style>")
    before, mark, after = body.partition("<!-- report -->")
    end = after.partition("<!-- /report -->")[2] if mark else ""
    return f'{head}<link rel="stylesheet" href="{sheet}">{before}{end}'

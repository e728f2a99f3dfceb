import asyncio
import base64
import json
import logging
import time
from pathlib import Path

import pytest
from conftest import png
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from ferflow import params
from ferflow.keys import Keys
from ferflow.serving import exchange, guard
from ferflow.serving.guard import RequestGuard

ID = "0" * 32


async def seen(request: Request) -> JSONResponse:
    """What reaches the service."""
    said = {"path": request.url.path, "ferflow": {k: request.scope["ferflow"][k] for k in ("request_id", "client")}}
    said["headers"] = dict(request.headers)
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = await request.form()
        said["fields"] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        files = [
            value
            for value in form.getlist("image") + form.getlist("images") + form.getlist("video")
            if not isinstance(value, str)
        ]
        said["files"] = [[file.filename, file.content_type, base64.b64encode(await file.read()).decode()] for file in files]
    else:
        said["json"] = json.loads(await request.body() or b"null")
    return JSONResponse(said)


async def broken(request: Request) -> Response:
    """What BentoML says where something went wrong."""
    how = (await request.json())["label"]
    if how == "raise":
        raise RuntimeError("secret of the inside")
    return {
        "list": JSONResponse([{"error": "unknown label"}], 400),
        "pydantic": JSONResponse({"error": "1 validation error for Input", "detail": [{"loc": ["a", 0], "msg": "bad"}]}, 400),
        "text": PlainTextResponse("Not Found", 404),
        "empty": Response(status_code=404),
        "trace": JSONResponse({"error": 'Traceback: File "/home/x.py"'}, 500),
        "bytes": Response(b"\xff\x00", 500),
        "busy": JSONResponse({"error": "process is overloaded"}, 503),
    }[how]


DOCUMENT = {
    "openapi": "3.0.2",
    "paths": {"/predict": {"post": {"responses": {"200": {"description": "ok"}}}}},
    "components": {"schemas": {}},
}
PATHS = ("/predict", "/predict_batch", "/predict_faces", "/predict_video/submit", "/explain", "/forget", "/model", "/models")
PROBES = ("/livez", "/readyz", "/metrics", "/ui/", "/ui/app.js", "/predict_video/get")


def service() -> Starlette:
    routes = [Route(path, seen, methods=["POST"]) for path in PATHS] + [Route(path, seen, methods=["GET"]) for path in PROBES]
    routes.append(Route("/feedback", broken, methods=["POST"]))
    routes.append(Route("/docs.json", lambda _: JSONResponse(DOCUMENT), methods=["GET"]))
    routes.append(Route("/hidden", seen, methods=["GET", "POST"]))
    return Starlette(routes=routes)


def client_of(tmp_path: Path, **settings) -> TestClient:
    serve = params.Serve(keys=tmp_path / "keys.json", max_megabytes=0.05, **settings)
    return TestClient(RequestGuard(service(), serve), raise_server_exceptions=False)


@pytest.fixture
def client(tmp_path) -> TestClient:
    return client_of(tmp_path)


@pytest.fixture
def lines(caplog):
    """The lines of the request log."""
    logger = logging.getLogger("ferflow.requests")
    logger.addHandler(caplog.handler)
    yield lambda: [json.loads(record.message) for record in caplog.records if record.name == logger.name]
    logger.removeHandler(caplog.handler)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_a_picture_passes_whole_under_a_name_and_a_type_of_ours(client):
    data = png()
    sent = client.post("/predict", files={"image": ("../../x\0y.sh", data, "image/png")}).json()
    assert sent["files"] == [["file", "image/any", base64.b64encode(data).decode()]]


def test_fields_beside_the_picture_pass_as_json(client):
    fields = {"model": "gray", "members": "true", "consent": "false"}
    sent = client.post("/predict", files={"image": b"x"}, data=fields).json()
    assert {name: json.loads(value) for name, value in sent["fields"].items()} == {
        "model": "gray",
        "members": True,
        "consent": False,
    }
    quoted = client.post("/predict", files={"image": b"x"}, data={"model": '"gray"', "members": "false"}).json()
    assert quoted["fields"] == {"model": '"gray"', "members": "false", "consent": "false"}, "as BentoML's client writes them"
    assert "model" not in client.post("/predict", files={"image": b"x"}, data={"model": "null"}).json()["fields"]


def test_base64_in_json_is_the_same_as_a_form(client):
    text = base64.b64encode(png()).decode()
    wrapped = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    for image in (text, wrapped, f"data:image/png;base64,{text}", f"data:image/svg+xml;charset=utf-8;base64,{text}"):
        sent = client.post("/predict", json={"image": image, "model": "gray"}).json()
        assert sent["files"] == [["file", "image/any", text]]
        assert json.loads(sent["fields"]["model"]) == "gray"
    assert client.post("/explain", json={"image": text, "face": 2}).json()["fields"]["face"] == "2"


BAD = {
    "nothing": ({}, 400, "body is empty"),
    "no field": ({"json": {}}, 400, "image: Field required"),
    "other field": ({"files": {"other": b"x"}}, 400, "field 'image' must hold one file"),
    "text": ({"files": {"other": b"x"}, "data": {"image": "text"}}, 400, "0 files and 1 texts"),
    "file and address": ({"files": {"image": b"x"}, "data": {"image": "http://127.0.0.1/x"}}, 400, "addresses are not fetched"),
    "two": ({"files": [("image", b"x"), ("image", b"y")]}, 400, "2 files"),
    "empty file": ({"files": {"image": b""}}, 400, "file is empty"),
    "no end": ({"content": b"--x\r\njunk", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "cut off"),
    "no boundary": ({"content": b"junk", "headers": {"content-type": "multipart/form-data"}}, 400, "names no boundary"),
    "junk": (
        {"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        400,
        "begin with its boundary",
    ),
    "many": ({"files": [(f"f{i}", b"x") for i in range(40)]}, 400, "more than"),
    "unknown": ({"files": {"image": b"x"}, "data": {"face": "1"}}, 400, "face: Extra inputs"),
    "file for text": ({"files": {"image": b"x", "model": b"y"}}, 400, "model: a file is not taken"),
    "no truth": ({"files": {"image": b"x"}, "data": {"members": "perhaps"}}, 400, "members: Input should be a valid boolean"),
    "twice": ({"files": {"image": b"x"}, "data": {"model": ["a", "b"]}}, 400, "model: it is in the form twice"),
    "urlencoded": ({"data": {"image": "x"}}, 415, "x-www-form-urlencoded"),
    "pickle": ({"content": b"\x80\x05.", "headers": {"content-type": "application/vnd.bentoml+pickle"}}, 415, "bentoml+pickle"),
    "no type": ({"content": b"x"}, 415, "missing"),
    "pickled part": ({"files": {"image": ("x", b"x", "application/vnd.bentoml+pickle")}}, 415, "bentoml+pickle"),
    "html part": ({"files": {"image": ("x.html", b"x", "text/html")}}, 415, "text/html"),
    "compressed": ({"files": {"image": b"x"}, "headers": {"content-encoding": "gzip"}}, 415, "compressed"),
    "address": ({"json": {"image": "http://127.0.0.1:9/x.png"}}, 400, "addresses are not fetched"),
    "file address": ({"json": {"image": "FILE:///etc/passwd"}}, 400, "addresses are not fetched"),
    "no base64": ({"json": {"image": "x"}}, 400, "image: this is not base64"),
    "no data url": ({"json": {"image": "data:text,abcd"}}, 400, "data: URL"),
    "number": ({"json": {"image": 3}}, 400, "image: Input should be a valid string"),
    "word for truth": ({"json": {"image": "eHg=", "members": "true"}}, 400, "members: Input should be a valid boolean"),
    "unknown in json": ({"json": {"image": "eHg=", "path": "/etc"}}, 400, "path: Extra inputs"),
    "no json": ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "Invalid JSON"),
    "deep": ({"content": b"[" * 40_000, "headers": {"content-type": "application/json"}}, 400, "Invalid JSON"),
    "list": ({"json": [1]}, 400, "Input should be an object"),
    "nan": ({"content": b'{"image": NaN}', "headers": {"content-type": "application/json"}}, 400, "image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_request_that_cannot_be_used_is_told_why(client, name):
    request, status, words = BAD[name]
    reply = client.post("/predict", **request)
    assert (reply.status_code, words in reply.json()["error"]) == (status, True), reply.text
    assert set(reply.json()) == {"error", "request_id"}
    assert "Traceback" not in reply.text


def test_what_was_wrong_with_the_form_comes_with_how_to_send_one(client):
    assert "curl -F image=@photo.jpg http://127.0.0.1:3000/predict" in client.post("/predict").json()["error"]
    assert "curl -F images=@photo.jpg http://127.0.0.1:3000/predict_batch" in client.post("/predict_batch").json()["error"]
    assert (
        "curl -F video=@clip.mp4 http://127.0.0.1:3000/predict_video/submit"
        in client.post("/predict_video/submit").json()["error"]
    )


def form(*parts: bytes, boundary: bytes = b"b") -> dict:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={boundary.decode()}"}}


IMAGE = b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    "part",
    [
        b"no headers",
        b"\r\nno name",
        b'Content-Disposition: attachment; name="image"; filename="a"\r\n\r\nx',
        b'Content-Disposition: form-data; name="image"; name="other"; filename="a"\r\n\r\nx',
        b'Content-Disposition: form-data; name="a"\r\n' + IMAGE + b"x",
        b"X: " + b"y" * 5000 + b"\r\n" + IMAGE + b"x",
        b"Content-Transfer-Encoding: base64\r\n" + IMAGE + b"eHg=",
    ],
)
def test_a_part_that_two_parsers_could_read_differently_is_refused(client, part):
    reply = client.post("/predict", **form(part))
    assert reply.status_code == 400
    assert "the form cannot be read" in reply.json()["error"]


def test_forms_of_many_clients_are_read(client):
    blank = form(IMAGE + b"x")
    blank["content"] = b"\r\n" + blank["content"]
    quoted = form(IMAGE + b"x", boundary=b"a b")
    quoted["headers"]["content-type"] = 'Multipart/Form-Data; charset=utf-8; Boundary="a b"'
    bare = form(b"content-disposition:form-data;name=image;filename*=UTF-8''a%20b\r\ncontent-type:image/jpeg; x=y\r\n\r\nx")
    for request in (blank, quoted, bare, form(IMAGE + b"x\r\n--b\nnearly a boundary")):
        if b"nearly" in request["content"]:
            assert client.post("/predict", **request).status_code == 400
        else:
            assert client.post("/predict", **request).json()["files"][0][2] == "eA=="


def test_several_pictures_and_no_more_than_the_limit(tmp_path):
    client = client_of(tmp_path, max_pictures=3)
    assert len(client.post("/predict_batch", files=[("images", b"x")] * 3).json()["files"]) == 3
    assert client.post("/predict_batch", files=[("images", b"x")] * 4).status_code == 400


def test_crops_are_json_and_no_more_than_the_limit(tmp_path):
    client = client_of(tmp_path, max_crops=2)
    assert client.post("/predict_faces", json={"crops": ["eHg="]}).json()["json"] == {"crops": ["eHg="]}
    for crops, words in ((["eHg="] * 3, "at most 2"), ([], "at least 1"), (["https://x"], "crops.0"), ([3], "crops.0")):
        reply = client.post("/predict_faces", json={"crops": crops})
        assert (reply.status_code, words in reply.json()["error"]) == (400, True), reply.text
    assert client.post("/predict_faces", files={"crops": b"x"}).status_code == 415


def test_what_takes_nothing_answers_to_get_as_to_post_and_drops_what_is_sent(client):
    assert client.get("/model").json()["json"] == {}
    assert client.post("/model", files={"image": b"x"}).json()["json"] == {}
    assert client.head("/models").status_code == 200


def test_a_large_body_is_refused_announced_or_not(client):
    assert client.post("/predict", files={"image": b"x" * 60_000}).status_code == 413
    assert client.post("/predict", content=(b"x" * 10_000 for _ in range(6))).status_code == 413
    assert client.post("/predict", headers={"content-length": "-1"}, content=b"x").status_code == 400
    assert client.post("/predict", headers={"content-length": "9" * 5000}, content=b"x").status_code == 413
    assert client.post("/predict", files={"image": b"x" * 49_000}).status_code == 200


def test_addresses_that_are_not_listed_are_not_there(client):
    for path in ("/hidden", "/predict/", "/predict_video", "/predict_video/retry", "/static_content/x", "/ui/%2e%2e/hidden"):
        assert client.get(path).status_code == 404, path
        assert client.post(path).status_code == 404, path
    reply = client.delete("/predict")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert client.get("/", follow_redirects=False).headers["location"] == "ui/"


def test_a_task_s_id_is_an_id(client):
    assert client.get("/predict_video/get", params={"task_id": ID}).status_code == 200
    for query in ("", "task_id=", "task_id=' or 1=1", f"task_id={ID}&task_id={ID}", f"task_id={ID}&x=1", "&" * 5000):
        assert client.get(f"/predict_video/get?{query}").status_code == 400, query


def test_a_request_id_is_taken_or_made_and_is_in_every_answer(client):
    assert client.get("/livez", headers={"x-request-id": "a.B_c-1"}).headers["x-request-id"] == "a.B_c-1"
    for odd in ("", "a b", "x" * 65, "é", "a;b"):
        made = client.post("/predict", headers={"x-request-id": odd.encode()})
        assert len(made.headers["x-request-id"]) == 32
        assert made.json()["request_id"] == made.headers["x-request-id"]


def test_the_service_hears_who_asks_from_the_guard_alone(client, tmp_path):
    secret = Keys(tmp_path / "keys.json").add("lab", ["predict"])
    mine = {
        "X-Ferflow-Client": "admin",
        "x-ferflow-request-id": "mine",
        "x-ferflow-other": "1",
        "cookie": "c=1",
        "x-request-id": "r1",
    }
    sent = client.post("/predict", files={"image": b"x"}, headers=mine).json()
    assert sent["ferflow"] == {"request_id": "r1", "client": "anonymous"}
    sent = client.post("/predict", files={"image": b"x"}, headers=mine | bearer(secret) | {"x-api-key": secret}).json()
    assert sent["ferflow"] == {"request_id": "r1", "client": "lab"}
    assert sent["headers"]["x-ferflow-client"] == "lab"
    assert sent["headers"]["x-ferflow-request-id"] == "r1"
    assert not {"x-ferflow-other", "authorization", "x-api-key", "cookie"} & set(sent["headers"]), "tasks are stored with them"


def test_keys_and_scopes(client, tmp_path):
    feedback = {"id": ID, "label": "list"}
    closed = client.post("/feedback", json=feedback)
    assert (closed.status_code, "ferflow keys add" in closed.json()["error"]) == (403, True)
    assert client.post("/forget", json={"id": ID}).status_code == 403
    store = Keys(tmp_path / "keys.json")
    predict, rates, admin = (store.add(name, [name]) for name in ("predict", "feedback", "admin"))
    unknown = client.post("/feedback", json=feedback)
    assert (unknown.status_code, unknown.headers["www-authenticate"]) == (401, 'Bearer realm="ferflow"')
    assert client.post("/feedback", json=feedback, headers=bearer(predict)).status_code == 403
    assert client.post("/feedback", json=feedback, headers=bearer(rates)).status_code == 400, "it came through"
    assert client.post("/forget", json={"id": ID}, headers=bearer(rates)).status_code == 403
    assert client.post("/forget", json={"id": ID}, headers={"X-API-Key": admin}).status_code == 200
    for wrong in (bearer("ferflow_x"), {"x-api-key": "x"}, bearer(predict) | {"x-api-key": admin}, bearer("\x80é")):
        reply = client.get("/model", headers={name: value.encode("latin-1") for name, value in wrong.items()})
        assert (reply.status_code, "www-authenticate" in reply.headers) == (401, True)
    assert client.get("/model").status_code == 200
    assert client.get("/model", headers={"authorization": "Basic eHg="}).status_code == 200, "a proxy's, perhaps"
    assert client.get("/livez", headers=bearer("wrong")).status_code == 200


def test_predictions_can_need_a_key(tmp_path):
    client = client_of(tmp_path, require_key=True)
    assert client.get("/model").status_code == 403, "no key opens it yet"
    store = Keys(tmp_path / "keys.json")
    secret, other = store.add("a", ["predict"]), store.add("b", ["feedback"])
    assert client.get("/model").status_code == 401
    assert client.get("/model", headers=bearer(other)).status_code == 403
    assert client.get("/model", headers=bearer(secret)).status_code == 200
    assert [client.get(path).status_code for path in ("/livez", "/metrics", "/ui/", "/docs.json")] == [200] * 4
    store.path.write_text("damaged")
    assert client.get("/model").status_code == 403
    assert client.get("/model", headers=bearer(secret)).status_code == 401


def test_a_client_s_rate_is_limited_by_key_or_address_and_probes_are_not(tmp_path):
    client = client_of(tmp_path, requests_a_minute=5)
    secret = Keys(tmp_path / "keys.json").add("lab", ["predict"])
    codes = [client.get("/model").status_code for _ in range(7)]
    assert codes == [200] * 5 + [429] * 2
    assert int(client.get("/model").headers["retry-after"]) in range(1, 14)
    assert client.get("/model", headers=bearer("wrong")).status_code == 429, "guessing counts"
    assert client.get("/nowhere").status_code == 429
    assert client.get("/model", headers=bearer(secret)).status_code == 200
    assert [client.get("/readyz").status_code for _ in range(9)] == [200] * 9


def test_every_answer_has_the_security_headers(client):
    for reply in (client.get("/model"), client.get("/ui/"), client.post("/predict"), client.get("/nowhere")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert "img-src 'self' blob:" in reply.headers["content-security-policy"]
        assert reply.headers["permissions-policy"].startswith("camera=(self)")
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "server" not in reply.headers
    assert client.get("/model").headers["cache-control"] == "no-store"
    assert "cache-control" not in client.get("/ui/").headers


def test_pages_of_other_origins_are_kept_out_unless_they_are_listed(tmp_path):
    page = {"origin": "https://lab.example"}
    preflight = page | {"access-control-request-method": "POST"}
    closed = client_of(tmp_path)
    assert closed.options("/predict", headers=preflight).status_code == 403
    assert closed.post("/predict", files={"image": b"x"}, headers=page).status_code == 403
    assert closed.post("/predict", files={"image": b"x"}, headers={"origin": "http://testserver"}).status_code == 200
    behind_proxy = page | {"sec-fetch-site": "same-origin"}
    assert closed.post("/predict", files={"image": b"x"}, headers=behind_proxy).status_code == 200
    assert "access-control-allow-origin" not in closed.get("/model", headers=page).headers
    listed = client_of(tmp_path, cors=("https://lab.example",))
    assert listed.options("/predict", headers=preflight).headers["access-control-allow-origin"] == "https://lab.example"
    for reply in (listed.post("/predict", files={"image": b"x"}, headers=page), listed.post("/predict", headers=page)):
        assert reply.headers["access-control-allow-origin"] == "https://lab.example", "errors can be read, too"
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert listed.post("/predict", headers={"origin": "https://other.example"}).status_code == 403


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("list", 400, "unknown label"),
        ("pydantic", 400, "a.0: bad"),
        ("text", 404, "Not Found"),
        ("empty", 404, "refused"),
        ("trace", 500, "the service failed"),
        ("bytes", 500, "the service failed"),
        ("raise", 500, "the service failed"),
        ("busy", 503, "overloaded"),
    ],
)
def test_errors_of_the_service_have_one_form_and_nothing_of_the_inside(client, tmp_path, how, status, words, caplog):
    secret = Keys(tmp_path / "keys.json").add("lab", ["feedback"])
    reply = client.post("/feedback", json={"id": ID, "label": how}, headers=bearer(secret) | {"x-request-id": "r7"})
    assert (reply.status_code, reply.json()["request_id"]) == (status, "r7")
    assert words in reply.json()["error"]
    assert reply.headers["content-type"] == "application/json"
    for inside in ("Traceback", "home", "secret of the inside"):
        assert inside not in reply.text
    if status == 500:
        assert "r7" in caplog.text, "the log says more"


def test_a_line_a_request(client, lines, tmp_path):
    secret = Keys(tmp_path / "keys.json").add("lab", ["predict"])
    body = client.post("/predict?secret=1", files={"image": b"x"}, headers=bearer(secret) | {"x-request-id": "r1"})
    client.get("/no%0athing" + "x" * 500)
    first, second = lines()
    assert {"request_id": "r1", "client": "lab", "method": "POST", "path": "/predict", "status": 200}.items() <= first.items()
    assert set(first) == {"time", "request_id", "client", "method", "path", "status", "ms", "bytes"}
    assert first["bytes"] == len(body.content)
    assert 0 < first["ms"] < 5000
    assert (second["status"], second["client"], len(second["path"])) == (404, "testclient", 200)
    assert secret not in json.dumps([first, second])
    assert "secret" not in json.dumps(first)


def test_the_document_is_the_completed_one(client):
    document = client.get("/docs.json").json()
    assert "429" in document["paths"]["/predict"]["post"]["responses"]
    assert "securitySchemes" in document["components"]


# What needs two things at once is driven without a client: an app, a scope, and the messages as they come.


def scope_of(path: str = "/predict", headers: dict[str, str] | None = None, method: str = "POST") -> dict:
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return {"type": "http", "method": method, "path": path, "headers": pairs, "client": ("10.0.0.1", 9), "query_string": b""}


class Talk:
    """One request: what the client sends piece by piece, and what it got."""

    def __init__(self, app, scope: dict) -> None:
        self.sent: list[dict] = []
        self.pieces: asyncio.Queue = asyncio.Queue()
        self.asked = 0
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict:
        self.asked += 1
        return await self.pieces.get()

    async def _send(self, message: dict) -> None:
        self.sent.append(message)

    def give(self, body: bytes, more: bool = False) -> None:
        self.pieces.put_nowait({"type": "http.request", "body": body, "more_body": more})

    @property
    def status(self) -> int:
        return self.sent[0]["status"] if self.sent else 0

    def header(self, name: bytes) -> bytes:
        return dict(self.sent[0]["headers"]).get(name, b"")


PICTURE = form(IMAGE + b"x")


class Gate:
    """A service whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.open, self.inside = asyncio.Event(), 0

    async def __call__(self, scope, receive, send) -> None:
        self.inside += 1
        await self.open.wait()
        await PlainTextResponse("done")(scope, receive, send)


def ask(app, path: str = "/predict", body: bool = True) -> Talk:
    talk = Talk(app, scope_of(path, PICTURE["headers"]))
    if body:
        talk.give(PICTURE["content"])
    return talk


def serve(tmp_path, **settings) -> params.Serve:
    return params.Serve(keys=tmp_path / "keys.json", max_megabytes=0.05, **settings)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_past_capacity_it_says_503_at_once_and_does_not_read_the_body(tmp_path):
    async def run() -> None:
        gate = Gate()
        guarded = RequestGuard(gate, serve(tmp_path, max_waiting=3))
        inside = [ask(guarded) for _ in range(3)]
        await settle()
        late = ask(guarded)
        await settle()
        assert (gate.inside, late.status, late.header(b"retry-after"), late.asked) == (3, 503, b"1", 0)
        probe = Talk(guarded, scope_of("/livez", method="GET"))
        page = Talk(guarded, scope_of("/ui/app.js", method="GET"))
        await settle()
        assert gate.inside == 5, "probes and the page pass"
        gate.open.set()
        await asyncio.gather(*(talk.task for talk in (*inside, probe, page)))
        again = ask(guarded)
        await again.task
        assert [talk.status for talk in (*inside, again)] == [200] * 4

    asyncio.run(run())


def test_videos_take_no_more_than_their_share(tmp_path):
    async def run() -> None:
        gate = Gate()
        guarded = RequestGuard(gate, serve(tmp_path, max_waiting=8))
        talks = []
        for _ in range(2):
            talk = Talk(guarded, scope_of("/predict_video/submit", PICTURE["headers"]))
            talk.give(PICTURE["content"].replace(b'"image"', b'"video"'))
            talks.append(talk)
            await settle()
        picture = ask(guarded)
        await settle()
        assert (talks[1].status, gate.inside) == (503, 2)
        gate.open.set()
        await asyncio.gather(talks[0].task, picture.task)

    asyncio.run(run())


def test_a_client_that_leaves_frees_its_place(tmp_path, lines):
    async def run() -> None:
        guarded = RequestGuard(Gate(), serve(tmp_path, max_waiting=1))
        first = ask(guarded)
        await settle()
        first.task.cancel()
        await settle()
        half = ask(guarded, body=False)
        half.give(b"--b", more=True)
        half.pieces.put_nowait({"type": "http.disconnect"})
        await half.task
        assert (half.sent, guarded.room.taken, guarded.arrivals.held) == ([], 0, 0)

    asyncio.run(run())
    assert [line["status"] for line in lines()] == [499, 499]


def test_slow_bodies_are_cut_off_and_hold_no_place(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.3)

    async def run() -> None:
        gate = Gate()
        gate.open.set()
        guarded = RequestGuard(gate, serve(tmp_path, max_waiting=2))
        slow = [ask(guarded, body=False) for _ in range(50)]
        for talk in slow:
            talk.give(b"-", more=True)
        await settle()
        quick = ask(guarded)
        await asyncio.wait_for(quick.task, 0.2)
        assert quick.status == 200
        await asyncio.gather(*(talk.task for talk in slow))
        assert {talk.status for talk in slow} == {408}
        assert slow[0].header(b"connection") == b"close"
        assert guarded.arrivals.held == 0

    asyncio.run(run())


def test_bodies_on_their_way_hold_a_bounded_memory_and_the_oldest_goes(tmp_path):
    async def run() -> None:
        gate = Gate()
        gate.open.set()
        guarded = RequestGuard(gate, serve(tmp_path, max_waiting=8))  # two bodies of 50 kB
        hoarders = [ask(guarded, body=False) for _ in range(4)]
        for talk in hoarders:
            talk.give(b"x" * 40_000, more=True)
            await settle()
            assert guarded.arrivals.held <= 100_000
        newcomer = ask(guarded, body=False)
        newcomer.give(PICTURE["content"][:10], more=True)
        await settle()
        newcomer.give(PICTURE["content"][10:])
        await newcomer.task
        assert ([talk.status for talk in hoarders], newcomer.status) == ([408, 408, 0, 0], 200)
        for talk in hoarders:
            talk.task.cancel()

    asyncio.run(run())


def test_an_answer_that_takes_too_long_becomes_a_503_and_what_comes_later_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "ANSWER_S", 0.1)

    async def run() -> None:
        gate = Gate()
        guarded = RequestGuard(gate, serve(tmp_path))
        talk = ask(guarded)
        await asyncio.sleep(0.2)
        assert (talk.status, guarded.room.taken) == (503, 1), "its work goes on, and holds its place"
        gate.open.set()
        await talk.task
        assert (len(talk.sent), guarded.room.taken) == (2, 0)

    asyncio.run(run())


def test_web_sockets_are_closed_and_the_server_s_own_messages_pass(tmp_path):
    async def run() -> None:
        passed = []

        async def app(scope, receive, send) -> None:
            passed.append(scope["type"])

        guarded = RequestGuard(app, serve(tmp_path))
        await guarded({"type": "lifespan"}, None, None)
        talk = Talk(guarded, {"type": "websocket", "path": "/ui/", "headers": []})
        await talk.task
        assert (passed, talk.sent) == (["lifespan"], [{"type": "websocket.close", "code": 1008}])

    asyncio.run(run())


def test_what_it_costs(tmp_path):
    """Below 0.15 ms on a machine that is free; ten times that is asserted, for machines that are not."""

    async def run() -> float:
        async def app(scope, receive, send) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": b"{}"})

        guarded = RequestGuard(app, params.Serve(keys=tmp_path / "keys.json"))
        logging.getLogger("ferflow.requests").setLevel(logging.WARNING)
        picture = form(IMAGE + b"x" * 60_000)
        best = 1.0
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(100):
                talk = Talk(guarded, scope_of("/predict", picture["headers"]))
                talk.give(picture["content"])
                await talk.task
            best = min(best, (time.perf_counter() - started) / 100)
        return best

    cost = asyncio.run(run())
    print(f"{cost * 1e6:.0f} us a request")
    assert cost < 0.0015

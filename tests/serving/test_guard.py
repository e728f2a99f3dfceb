import pytest
from conftest import png
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ferflow.serving.guard import RequestGuard


@pytest.fixture
def client():
    async def predict(request: Request) -> JSONResponse:
        form = await request.form()
        return JSONResponse({"bytes": len(await form["image"].read())})

    async def other(request: Request) -> JSONResponse:
        return JSONResponse({"bytes": len(await request.body())})

    async def model(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/other", other, methods=["GET", "POST"]),
        Route("/model", model, methods=["POST"]),
    ]
    return TestClient(RequestGuard(Starlette(routes=routes), max_bytes=50_000))


def test_a_picture_passes_whole(client):
    data = png()
    assert client.post("/predict", files={"image": data}).json() == {"bytes": len(data)}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "body is empty"),
        ({"json": {}}, "application/json"),
        ({"files": {"other": b"x"}}, "field 'image'"),
        ({"files": {"other": b"x"}, "data": {"image": "text"}}, "field 'image'"),
        ({"files": {"image": b"x"}, "data": {"image": "http://127.0.0.1/x"}}, "1 files and 1 texts"),
        ({"files": [("image", b"x"), ("image", b"y")]}, "2 files"),
        ({"files": {"image": b""}}, "picture is empty"),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "form"),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data"}}, "form"),
        ({"files": [(f"f{i}", b"x") for i in range(20)]}, "form cannot be read"),
    ],
)
def test_a_request_without_a_picture_says_how_to_send_one(client, request_, words):
    reply = client.post("/predict", **request_)
    assert reply.status_code == 400
    assert words in reply.json()["error"]
    assert "curl -F image=@" in reply.json()["error"]


def test_the_content_type_may_be_written_in_any_case(client):
    request = client.build_request("POST", "/predict", files={"image": b"abc"})
    request.headers["content-type"] = request.headers["content-type"].replace("multipart/form-data", "Multipart/Form-Data")
    assert client.send(request).json() == {"bytes": 3}


def test_the_model_answers_to_get_and_whatever_is_sent_to_it_is_dropped(client):
    assert client.get("/model").json() == {}
    assert client.post("/model", files={"image": b"x"}).json() == {}


def test_a_large_body_is_refused_announced_or_not(client):
    assert client.post("/predict", files={"image": b"x" * 60_000}).status_code == 413
    assert client.post("/other", content=(b"x" * 10_000 for _ in range(6))).status_code == 413
    assert client.post("/other", headers={"content-length": "-1"}, content=b"x").status_code == 413


def test_other_requests_pass_untouched(client):
    assert client.get("/other").json() == {"bytes": 0}
    assert client.post("/other", content=b"x" * 49_000).json() == {"bytes": 49_000}

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

    routes = [Route("/predict", predict, methods=["POST"]), Route("/other", other, methods=["GET", "POST"])]
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


def test_a_large_body_is_refused_announced_or_not(client):
    assert client.post("/predict", files={"image": b"x" * 60_000}).status_code == 413
    assert client.post("/other", content=(b"x" * 10_000 for _ in range(6))).status_code == 413
    assert client.post("/other", headers={"content-length": "-1"}, content=b"x").status_code == 413


def test_other_requests_pass_untouched(client):
    assert client.get("/other").json() == {"bytes": 0}
    assert client.post("/other", content=b"x" * 49_000).json() == {"bytes": 49_000}

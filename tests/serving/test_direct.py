"""What the guard answers itself: within the same limits, and in the same form, as what it hands on."""

import asyncio
import json

import httpx
import pytest

from ferflow import params
from ferflow.keys import Keys
from ferflow.serving.guard import RequestGuard
from ferflow.serving.refusals import RefusedError

CROPS = {"crops": ["aGVsbG8="]}


async def handed_on(scope, receive, send):
    raise AssertionError("this was for the guard")


async def asked(work, settings, **how) -> httpx.Response:
    guard = RequestGuard(handed_on, settings, {"/predict_faces": work})
    transport = httpx.ASGITransport(guard, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        reply = await client.post("/predict_faces", **({"json": CROPS} | how))
    assert guard.room.taken == 0
    assert len(reply.headers.get_list("x-request-id")) == 1
    return reply


@pytest.fixture
def settings(tmp_path) -> params.Serve:
    return params.Serve(keys=tmp_path / "keys.json", max_crops=3)


def test_it_is_asked_with_what_was_checked_and_who_asks(settings):
    async def work(fields, request_id, client):
        return json.dumps({"crops": fields.crops, "id": request_id, "client": client}).encode()

    key = Keys(settings.keys).add("camera", ["predict"])
    reply = asyncio.run(asked(work, settings, headers={"x-api-key": key, "x-request-id": "mine"}))
    assert reply.json() == CROPS | {"id": "mine", "client": "camera"}
    assert reply.headers["cache-control"] == "no-store"
    assert asyncio.run(asked(work, settings, json={"crops": ["aGVsbG8="] * 4})).status_code == 400
    assert asyncio.run(asked(work, settings, json={"crops": []})).status_code == 400
    assert asyncio.run(asked(work, settings, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415


@pytest.mark.parametrize(("error", "status", "words"), [
    (RefusedError(400, "crops.0: not an image"), 400, "crops.0: not an image"),
    (RuntimeError("secret inside"), 500, "the service failed"),
])  # fmt: skip
def test_its_errors_have_the_form_of_all_errors(settings, error, status, words):
    async def work(fields, request_id, client):
        raise error

    reply = asyncio.run(asked(work, settings))
    assert reply.status_code == status
    assert words in reply.json()["error"]
    assert "secret" not in reply.text

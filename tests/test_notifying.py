"""Messages, against a local server: one that takes them, one that is busy, and none at all."""

import json
import logging
import time
from dataclasses import dataclass

import pytest
from loopback import Quiet, answering, free_port

from ferflow import notifying
from ferflow.notifying import notify


@dataclass
class Box:
    """An address that takes messages, and what came."""

    url: str
    came: list[dict]


@pytest.fixture
def box(request):
    """It answers with the codes of the test, one after the other, then 204."""
    codes, came = list(getattr(request, "param", [])), []

    class Handler(Quiet):
        def do_POST(self) -> None:  # noqa: N802, http.server looks for this name
            came.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            code = codes.pop(0) if codes else 204
            self.send_response(code)
            if code == 302:
                self.send_header("location", "/elsewhere")
            self.end_headers()

    with answering(Handler) as address:
        yield Box(f"{address}/hook/SECRET", came)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(notifying, "_PAUSE_S", 0.01)


def test_a_message_arrives_with_all_that_is_said(box, caplog):
    caplog.set_level(logging.INFO)
    assert notify("ferflow.retraining.promoted", "version 2 is champion", box.url, version=2)
    assert box.came == [{"text": "version 2 is champion", "event": "ferflow.retraining.promoted", "version": 2}]
    assert "ferflow.retraining.promoted: version 2 is champion" in caplog.text


def test_without_a_webhook_there_is_a_line_in_the_log(caplog):
    caplog.set_level(logging.INFO)
    assert notify("e", "something happened")
    assert "something happened" in caplog.text


def test_an_address_may_stand_in_the_environment(box, monkeypatch, caplog):
    monkeypatch.setenv("HOOK", box.url)
    assert notify("e", "t", "$HOOK")
    assert len(box.came) == 1
    assert not notify("e", "t", "$NO_SUCH_HOOK")
    assert "the environment has no NO_SUCH_HOOK" in caplog.text


@pytest.mark.parametrize("box", [[500, 429]], indirect=True)
def test_a_busy_server_is_asked_again(box):
    assert notify("e", "t", box.url)
    assert len(box.came) == 3


@pytest.mark.parametrize("box", [[404], [302]], indirect=True)
def test_a_server_that_refuses_is_asked_once_and_nobody_is_followed(box, caplog):
    assert not notify("e", "t", box.url)
    assert len(box.came) == 1
    assert "does not take the message (status" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_dead_server_or_nonsense_fails_nothing_and_shows_no_secret(caplog):
    dead = f"http://127.0.0.1:{free_port()}/hook/SECRET"
    started = time.monotonic()
    for address in (dead, "ftp://127.0.0.1/SECRET", "http:///SECRET", "http://[SECRET", "http://127.0.0.1:99999/SECRET"):
        assert not notify("e", "t", address)
    assert time.monotonic() - started < 10
    assert caplog.text.count("nobody is told") == 5
    assert "SECRET" not in caplog.text


def test_a_server_that_never_answers_is_left(monkeypatch, caplog):
    import socket

    monkeypatch.setattr(notifying, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert not notify("e", "t", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert time.monotonic() - started < 5

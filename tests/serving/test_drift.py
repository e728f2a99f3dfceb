"""``GET /drift``: who may see it, what it shows, and that it looks right under the service's policy."""

from datetime import timedelta
from pathlib import Path

import backend
import pandas as pd
import pytest
from browser import Browser
from driftrows import live, reference
from liverows import NOON
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from ferflow import driftpage, monitoring, params
from ferflow.keys import Keys
from ferflow.monitoring import compare
from ferflow.params import Monitor
from ferflow.serving.drift import LATEST, linked, newest
from ferflow.serving.guard import RequestGuard
from ferflow.serving.page import page_app


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """The guard before a service that has nothing but the page."""
    monkeypatch.chdir(tmp_path)
    app = Starlette(routes=[Route("/drift", lambda _: newest(), methods=["POST"])])

    def get(key: str = "", **settings):
        serve = params.Serve(keys=tmp_path / "keys.json", **settings)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return TestClient(RequestGuard(app, serve)).get("/drift", headers=headers)

    return get


def test_it_is_open_until_there_is_a_key_of_an_administrator(ask, tmp_path):
    keys = Keys(tmp_path / "keys.json")
    assert ask().status_code == 200
    feedback = keys.add("labelling", ["feedback"])
    assert ask().status_code == 200
    assert ask(feedback).status_code == 403
    admin = keys.add("boss", ["admin"])
    assert ask().status_code == 401
    assert ask(feedback).status_code == 403
    assert ask(admin).status_code == 200
    assert ask("wrong").status_code == 401


def test_where_predicting_needs_a_key_it_is_closed_without_one(ask):
    reply = ask(require_key=True)
    assert reply.status_code == 403
    assert "ferflow keys add NAME --scopes admin" in reply.json()["error"]


def test_without_a_report_it_says_how_to_get_one(ask):
    reply = ask()
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "ferflow monitor" in reply.text
    assert "<style" not in reply.text
    assert "ui/drift.css" in reply.text


def test_a_new_report_is_seen_at_once(ask):
    LATEST.parent.mkdir(parents=True)
    for word in ("first", "second"):
        LATEST.write_text(f"<html><head><style>x</style></head><body>{word}<!-- report --><a>r</a><!-- /report --></body></html>")
        text = ask().text
        assert word in text
        assert "<a>r</a>" not in text
        assert ask().headers["cache-control"] == "no-store"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Path, Path]:
    """The page of a window that got dark, and Evidently's report."""
    folder = tmp_path_factory.mktemp("report")
    tested = reference()
    rows = pd.concat([live(250, 1), live(250, 2, brightness=-40.0).assign(client="cellar")], ignore_index=True)
    rows["time"] = pd.to_datetime([NOON + timedelta(minutes=number) for number in range(500)])
    drift = compare(tested, rows, Monitor())
    window = {"since": NOON.isoformat(), "until": (NOON + timedelta(hours=9)).isoformat(), "model_version": "ferflow/3"}
    drift = monitoring.replace(drift, window=window)
    (folder / "report.html").write_text(monitoring.report(tested, rows, drift)[0])
    (folder / "index.html").write_text(driftpage.page(drift, tested, rows, "report.html"))
    return folder / "index.html", folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.mark.slow
def test_both_pages_open_from_disk_and_load_nothing(browser, report):
    for path, ready in zip(
        report, ("document.querySelectorAll('svg').length > 20", "document.body.innerText.includes('Drift Score')"), strict=True
    ):
        page = browser.page()
        page.goto(path.as_uri())
        page.wait(f"!!({ready})")
        assert [one for one in page.requests if not one.startswith(("file:", "data:", "blob:"))] == []
        assert page.complaints == []
        page.close()


@pytest.mark.slow
def test_under_the_services_policy_it_is_styled_and_nothing_is_refused(browser, report):
    html = linked(report[0].read_text())
    app = Starlette(
        routes=[
            Route("/drift", lambda _: newest(report[0])),
            Mount("/ui", page_app()),
        ],
        middleware=[Middleware(backend._WithPolicy)],
    )
    assert "report.html" not in html
    with backend.running(app) as port:
        for width, dark in ((1200, False), (390, True)):
            page = browser.page(width)
            page.prefers("dark" if dark else "light")
            page.goto(f"http://127.0.0.1:{port}/drift")
            assert page.js("getComputedStyle(document.body).backgroundColor") == (
                "rgb(14, 17, 22)" if dark else "rgb(245, 246, 249)"
            )
            assert page.js("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
            assert page.complaints == [one for one in page.complaints if "favicon" in one]
            page.close()

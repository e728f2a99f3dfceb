"""The page on the real service, once through: what the stand-in of test_page.py answers must not be a fiction."""

from collections.abc import Iterator

import backend
import clips
import pytest
from browser import Browser, chromium
from running import Running, serving, with_params
from test_page import FACES, FAKE, RATE

from ferflow.keys import Keys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(release, tmp_path_factory) -> Iterator[Running]:
    chromium()
    folder = with_params(tmp_path_factory.mktemp("served"))
    with serving(folder, FERFLOW_MODEL=str(release)) as running:
        yield running


def test_the_page_works_with_the_real_service(service, tmp_path):
    key = Keys(service.folder / ".ferflow/keys.json").add("page", ["feedback"])
    people = backend.people(tmp_path / "people.png")
    clip = clips.write(tmp_path / "old.mp4", clips.frames(20))  # the browser cannot play it: the service reads it
    opened = Browser(tmp_path, *FAKE, f"--use-file-for-fake-video-capture={backend.camera(tmp_path / 'camera.mjpeg')}")
    try:
        ui = opened.page()
        ui.goto(f"{service.url}/ui/")
        ui.wait("document.getElementById('served-name').innerText.includes('model.onnx')")
        ui.click("#members")
        ui.file("#file", people)
        ui.wait(f"{FACES} >= 1", 60)
        ui.wait("!!document.querySelector('#beside table')")
        head = ui.js("document.querySelector('#beside thead').innerText.toLowerCase()")
        assert all(name in head for name in ("gray", "rgb"))
        ui.click("#explain")
        ui.wait("document.querySelector('.heat img')?.naturalWidth === 240", 60)
        ui.choose("#right", "sad")
        typed = (
            f"(() => {{ const e = document.getElementById('key'); e.value = '{key}'; e.dispatchEvent(new Event('input')); }})()"
        )
        ui.js(typed)
        ui.click("#correct")
        ui.wait("document.querySelector('.result').innerText.includes('Stored: sad')", 30)
        ui.click("#tab-video")
        ui.file("#file", clip)
        ui.wait("document.getElementById('timeline').checkVisibility()", 90)
        assert ui.shown("#answer-body")
        ui.click("#tab-live")
        ui.click("#choose")
        ui.wait(f"{RATE} > 0.5", 60)
        assert all(url.startswith((service.url, "blob:", "data:")) for url in ui.requests)
        assert not ui.complaints
    finally:
        opened.close()

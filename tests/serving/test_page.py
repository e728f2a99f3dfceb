"""The web page: its files; and in a real browser with a fake camera, every control, key, size and trouble."""

import json
import re
import time
from html import escape
from pathlib import Path

import backend
import clips
import cv2
import pytest
from browser import Browser
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from ferflow import limits
from ferflow.serving import page
from ferflow.vocabulary import EXPRESSIONS

FOLDER = Path(page.__file__).parent / "page"
FACES = "document.querySelectorAll('.face').length"
RATE = "parseFloat(document.getElementById('fps').innerText)"
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


# --- the files


@pytest.fixture
def client():
    return TestClient(Starlette(routes=[Mount("/ui", page.page_app(keep_days=30))]))


def test_it_serves_its_files_and_nothing_else(client):
    reply = client.get("/ui/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    for name in re.findall(r'(?:src|href)="([\w.]+)"', reply.text):
        found = client.get(f"/ui/{name}")
        assert found.status_code == 200
        assert found.content == (FOLDER / name).read_bytes()
    types = {
        name: client.get(f"/ui/{name}").headers["content-type"].split(";")[0] for name in ("app.js", "style.css", "icon.svg")
    }
    assert types == {"app.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}
    for path in ("../page.py", "%2e%2e/page.py", "..%2fpage.py", "page", "none.js", "a/b", "."):
        assert client.get(f"/ui/{path}").status_code in (404, 200 if path == "." else 404), path
    assert client.post("/ui/").status_code == 405


def test_what_the_browser_has_is_not_sent_again(client):
    tag = client.get("/ui/app.js").headers["etag"]
    for sent in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get("/ui/app.js", headers={"if-none-match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/ui/app.js", headers={"if-none-match": '"other"'}).status_code == 200


def test_the_page_says_what_limits_say_and_how_long_crops_are_kept(client):
    html = client.get("/ui/").text
    for line in limits.INTENDED + limits.NOT_INTENDED + limits.LIMITS + limits.LAW:
        assert f"<li>{escape(line)}</li>" in html
    assert "at most 30 days" in html
    assert "<!--" not in html


def test_no_file_needs_another_host_or_a_looser_policy():
    for path in FOLDER.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text), path
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! type=\"module\" src=)", html)
    faces = (FOLDER / "faces.js").read_text()
    assert all(f"{name}:" in faces for name in EXPRESSIONS)


# --- in a browser


@pytest.fixture(scope="module")
def service(release):
    return backend.Backend(release)


@pytest.fixture(scope="module")
def address(service):
    with backend.running(service.app()) as port:
        yield f"http://127.0.0.1:{port}/ui/"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    opened = Browser(folder, *FAKE, f"--use-file-for-fake-video-capture={backend.camera(folder / 'camera.mjpeg')}")
    yield opened
    opened.close()


@pytest.fixture
def ui(browser, address, service):
    """The page, and after the test: it asked no other host, and nothing was complained of."""
    service.refuse.clear()
    service.forms.clear()
    opened = browser.page()
    opened.prefers("light")
    opened.goto(address)
    opened.wait("document.getElementById('served-name').innerText.includes('champion')")
    yield opened
    host = address.removesuffix("ui/")
    assert all(url.startswith((host, "blob:", "data:")) for url in opened.requests), opened.requests
    complaints = [one for one in opened.complaints if not any(words in one for words in opened.expected)]
    assert not complaints
    opened.close()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return backend.people(tmp_path_factory.mktemp("drawn") / "three people.png")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return backend.film(tmp_path_factory.mktemp("film") / "walk.webm", seconds=2)


def upload(ui, path: Path, faces: int = 3) -> None:
    ui.file("#file", path)
    ui.wait(f"{FACES} === {faces}")
    ui.wait("document.getElementById('busy').hidden")


def press_and_read(ui, key: str, script: str):
    ui.press(key)
    return ui.js(script)


def test_a_picture_is_answered_face_by_face(ui, drawn, service, tmp_path):
    upload(ui, drawn)
    tasks = service.predictor.card.tasks
    assert ui.js("[...document.querySelectorAll('#answer-body .prob')].length") == len(tasks["expression"]) + len(tasks["gender"])
    assert "Face 1 of 3" in ui.text("#answer-body")
    assert [ui.shown(one) for one in ("#explain", "#correct", "#save-png", "#beside")] == [True, True, True, False]
    assert service.forms == [{}], "no consent, no members, no model unless they are asked for"
    assert ui.text("#said").startswith("3 faces: ")
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowRight", 0), ("ArrowLeft", 2)):
        ui.press(key)
        assert ui.js("[...document.querySelectorAll('.face')].findIndex(one => one.ariaChecked === 'true')") == place
    assert "Face 3 of 3" in ui.text("#answer-body")
    ui.downloads(tmp_path)
    ui.click("#save-json")
    ui.click("#save-png")
    answer, picture = tmp_path / "three people.ferflow.json", tmp_path / "three people.ferflow.png"
    wait_for(lambda: answer.exists() and picture.exists())
    assert len(json.loads(answer.read_text())["faces"]) == 3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_click_on_a_face_chooses_it(ui, drawn):
    upload(ui, drawn)
    boxes = ui.js(
        "(() => { const b = document.getElementById('view').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
    )
    ui.click_at(boxes[0] + boxes[2] / 6, boxes[1] + boxes[3] / 2)
    left = ui.text(".face[aria-checked=true]") + ui.js("document.querySelector('.face[aria-checked=true]').ariaLabel")
    ui.click_at(boxes[0] + boxes[2] * 5 / 6, boxes[1] + boxes[3] / 2)
    assert ui.text(".face[aria-checked=true]") + ui.js("document.querySelector('.face[aria-checked=true]').ariaLabel") != left


def test_members_models_and_consent_are_asked_for(ui, drawn, service):
    ui.click("#consent")
    upload(ui, drawn)
    assert service.forms == [{"consent": "true"}]
    ui.click("#members")
    ui.wait("!!document.querySelector('#beside table')")
    assert service.forms[-1] == {"consent": "true", "members": "true"}
    assert ui.js("[...document.querySelectorAll('#beside thead th')].map(one => one.innerText.trim()).slice(1)") == [
        "champion",
        "cnn",
        "resnet",
        "vit",
    ]
    ui.click("#members")
    assert not ui.shown("#beside")
    ui.click("#members")
    ui.wait("document.querySelector('#beside').checkVisibility()")
    ui.choose("#model", "release")
    ui.wait("document.querySelector('#beside thead').innerText.includes('release')")
    assert service.forms[-1]["model"] == "release"
    assert ui.js("document.getElementById('consent').checked")
    assert "consent" not in ui.js("localStorage.getItem('ferflow') ?? ''")


def test_below_the_threshold_an_answer_is_uncertain(ui, drawn):
    upload(ui, drawn)
    assert "uncertain" not in ui.text("#answer-body")
    ui.js("(() => { const e = document.getElementById('threshold'); e.value = 99; e.dispatchEvent(new Event('input')); })()")
    assert ui.text("#answer-body").startswith("uncertain")
    assert ui.text(".face strong") == "uncertain"
    assert json.loads(ui.js("localStorage.getItem('ferflow')"))["threshold"] == 0.99
    ui.press("-")
    assert ui.text("#threshold-value") == "94\xa0%"
    ui.click("#threshold-own")
    assert "uncertain" not in ui.text("#answer-body")
    assert ui.text("#threshold-value").endswith("the model’s own")


def test_the_heat_map_comes_when_it_is_asked_for(ui, drawn):
    upload(ui, drawn)
    ui.press("h")
    ui.wait("document.querySelector('.heat img')?.naturalWidth === 240")
    ui.press("ArrowRight")
    assert not ui.js("!!document.querySelector('.heat img')"), "it was of another face"
    ui.click("#explain")
    ui.wait("!!document.querySelector('.heat img')")


def test_a_correction_needs_a_key_and_the_key_stays_here_only_if_asked(ui, drawn, service):
    ui.expected = ("403", "401")
    upload(ui, drawn)
    ui.click("#correct")
    assert "Choose an expression" in ui.text(".result")
    ui.choose("#right", "sad")
    for key, words in (("", "key for feedback"), ("wrong", "key for feedback"), (backend.KEY, "Stored: sad")):
        ui.js(
            f"(() => {{ const e = document.getElementById('key'); e.value = '{key}'; e.dispatchEvent(new Event('input')); }})()"
        )
        ui.click("#correct")
        ui.wait(
            f"document.querySelector('.result').innerText.includes('{words}') && !document.getElementById('correct').disabled"
        )
    assert service.labels.popitem()[1] == "sad"
    assert backend.KEY not in (ui.js("JSON.stringify(localStorage)") + ui.js("JSON.stringify(sessionStorage)"))
    ui.click("#key-keep")
    assert backend.KEY in ui.js("localStorage.getItem('ferflow')")
    ui.click("#key-keep")
    assert backend.KEY not in ui.js("localStorage.getItem('ferflow')")


_HAND_OVER = """(() => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(%s)], '%s', {type: '%s'}));
  document.body.dispatchEvent(%s);
})()"""


def hand_over(ui, path: Path, name: str, kind: str, how: str) -> None:
    data = list(path.read_bytes())
    event = {
        "drop": "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})",
        "paste": "new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})",
    }[how]
    ui.js(_HAND_OVER % (data, name, kind, event))


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(ui, drawn, how):
    hand_over(ui, drawn, "x.png", "image/png", how)
    ui.wait(f"{FACES} === 3")


def test_what_is_no_picture_is_said(ui, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    hand_over(ui, tmp_path / "notes.txt", "notes.txt", "text/plain", "drop")
    ui.wait("document.getElementById('banner').checkVisibility()")
    assert "cannot show notes.txt (text/plain)" in ui.text("#banner")
    ui.click("#banner-close")
    assert not ui.shown("#banner")


def test_a_large_picture_is_scaled_down_before_it_is_sent(ui, drawn, tmp_path, service):
    cv2.imwrite(str(tmp_path / "large.jpg"), cv2.resize(cv2.imread(str(drawn)), (4800, 3200)))
    ui.file("#file", tmp_path / "large.jpg")
    ui.wait(f"{FACES} === 3", 40)
    assert service.sizes[-1] == (2560, 1707)
    assert ui.shown("#answer-body")


def test_a_busy_service_is_asked_again_when_it_says(ui, drawn, service):
    ui.expected = ("429", "503")
    service.refuse += [(429, {"retry-after": "1"}), (503, {"retry-after": "1"})]
    started = time.monotonic()
    ui.file("#file", drawn)
    ui.wait("document.getElementById('banner-text').innerText.includes('Trying again in a second')")
    ui.wait(f"{FACES} === 3")
    assert time.monotonic() - started >= 2
    assert not ui.shown("#banner")


@pytest.mark.parametrize(("status", "words"), [(500, "The service failed"), (413, "no"), (400, "no"), (401, "wants a key")])
def test_a_refusal_is_said(ui, drawn, service, status, words):
    ui.expected = (str(status),)
    service.refuse.append((status, {}))
    ui.file("#file", drawn)
    ui.wait("document.getElementById('banner').checkVisibility()")
    assert words in ui.text("#banner")
    assert not ui.shown("#busy")


_HIDDEN = """(() => {
  Object.defineProperty(document, 'hidden', {value: %s, configurable: true});
  document.dispatchEvent(new Event('visibilitychange'));
})()"""


def test_the_live_view_follows_pauses_and_releases_the_camera(ui, service):
    ui.click("#tab-live")
    assert not ui.js("!!document.getElementById('video').srcObject"), "nothing starts by itself"
    ui.click("#choose")
    ui.wait(f"{RATE} > 1", 30)
    ui.wait("document.getElementById('answer-body').checkVisibility()")
    assert ui.js("document.getElementById('video').classList.contains('mirrored')")
    ui.press("e")
    assert ui.js("document.getElementById('emoji').checked")
    ui.click("#mirror")
    assert not ui.js("document.getElementById('video').classList.contains('mirrored')")
    ui.js("document.activeElement.blur()")
    ui.press(" ")
    ui.wait("document.getElementById('start').checkVisibility()")
    assert not ui.js("!!document.getElementById('video').srcObject"), "paused: the camera is released"
    assert ui.shown("#save-png")
    time.sleep(0.3)
    sent = len(service.forms)
    time.sleep(0.5)
    assert len(service.forms) == sent
    ui.click("#start")
    ui.wait(f"{RATE} > 1", 30)
    ui.js(_HIDDEN % "true")
    ui.wait("!document.getElementById('video').srcObject")
    ui.js(_HIDDEN % "false")
    ui.wait("!!document.getElementById('video').srcObject")
    ui.wait("document.getElementById('freeze').checkVisibility()")
    ui.press("Escape")
    ui.wait("!document.getElementById('video').srcObject && document.getElementById('empty').checkVisibility()")


def test_a_live_picture_is_kept_and_a_still_is_taken(ui):
    ui.press("2")
    ui.click("#choose")
    ui.wait(f"{RATE} > 1", 30)
    ui.click("#freeze")
    ui.wait("document.getElementById('explain')?.checkVisibility()")
    assert not ui.js("!!document.getElementById('video').srcObject")
    ui.goto(ui.js("location.href"))
    ui.click("#camera")
    ui.wait("document.getElementById('still').checkVisibility() && document.activeElement.id === 'still'")
    ui.press("Enter")
    ui.wait("document.getElementById('explain')?.checkVisibility()")


def test_the_live_view_waits_for_a_busy_service(ui, service):
    ui.expected = ("503",)
    ui.click("#tab-live")
    ui.click("#choose")
    ui.wait(f"{RATE} > 1", 30)
    service.refuse += [(503, {"retry-after": "2"})] * 2
    ui.wait("document.getElementById('banner-text').innerText.includes('busy')")
    ui.wait("!document.getElementById('banner').checkVisibility()")
    ui.wait(f"{RATE} > 1", 30)


def test_a_lost_connection_is_said_and_comes_back(browser, service, drawn):
    with backend.running(service.app()) as port:
        ui = browser.page()
        ui.goto(f"http://127.0.0.1:{port}/ui/")
        ui.wait("document.getElementById('served-name').innerText.includes('champion')")
    ui.file("#file", drawn)
    ui.wait("document.getElementById('banner-text').innerText.includes('connection to the service is lost')")
    assert ui.js("document.getElementById('dot').className") == "dot down"
    with backend.running(service.app(), port):
        ui.wait(f"{FACES} === 3")
        ui.wait("!document.getElementById('banner').checkVisibility()")
        assert ui.js("document.getElementById('dot').className") == "dot up"
    ui.close()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny"), "The camera was refused. Allow it"),
        (
            ("--use-fake-device-for-media-stream=device-count=0", "--use-fake-ui-for-media-stream"),
            "No camera was found. Connect one",
        ),
    ],
)
def test_without_a_camera_the_page_says_what_to_do(address, tmp_path, flags, words):
    opened = Browser(tmp_path, *flags)
    try:
        ui = opened.page()
        ui.goto(address)
        ui.click("#tab-live")
        ui.click("#choose")
        ui.wait("document.getElementById('banner').checkVisibility()")
        assert words in ui.text("#banner")
        assert ui.shown("#empty")
    finally:
        opened.close()


def test_a_video_becomes_a_timeline(ui, film, service, tmp_path):
    ui.click("#tab-video")
    ui.file("#file", film)
    ui.wait("document.getElementById('progress').checkVisibility()")
    ui.wait("document.getElementById('timeline').checkVisibility()", 60)
    assert len(service.forms) == 10, "five a second, two seconds"
    chart = "document.getElementById('chart').getAttribute"
    assert float(ui.js(f"{chart}('aria-valuemax')")) == pytest.approx(2, abs=0.1)
    ui.js("document.getElementById('chart').focus()")
    ui.press("End")
    ui.wait(f"parseFloat({chart}('aria-valuenow')) > 1.8")
    assert re.match(r"0:\d\d\.\d: \w+", ui.js(f"{chart}('aria-valuetext')"))
    box = ui.js(
        "(() => { const b = document.getElementById('chart').getBoundingClientRect(); return [b.x + b.width / 2, b.y + 20]; })()"
    )
    ui.click_at(*box)
    ui.wait(f"Math.abs(parseFloat({chart}('aria-valuenow')) - 1) < 0.15")
    ui.downloads(tmp_path)
    ui.click("#save-json")
    wait_for(lambda: (tmp_path / "walk.ferflow.json").exists())
    assert len(json.loads((tmp_path / "walk.ferflow.json").read_text())["frames"]) == 10
    ui.click("#play")
    ui.wait("!document.getElementById('video').paused || document.getElementById('video').ended")
    ui.click("#film-still")
    ui.wait("document.getElementById('explain')?.checkVisibility()")


def test_a_video_is_cancelled(ui, film, service):
    ui.click("#tab-video")
    service.delay_s = 0.3
    try:
        ui.file("#file", film)
        ui.wait("document.getElementById('progress-text').innerText.includes('2 of 10')")
        ui.press("Escape")
        ui.wait("!document.getElementById('progress').checkVisibility()")
    finally:
        service.delay_s = 0.0
    assert 0 < len(service.forms) < 8
    assert ui.shown("#film-again")


def test_a_video_that_the_browser_cannot_play_is_read_by_the_service(ui, tmp_path):
    path = clips.write(tmp_path / "old.mp4", clips.frames(10))  # MPEG-4, part 2
    ui.file("#file", path)
    ui.wait("document.getElementById('timeline').checkVisibility()", 30)
    assert "cannot play the file" in ui.text("#banner")
    assert "happy" in ui.text("#legend")
    assert ui.shown("#answer-body")
    assert not ui.shown("#play")


# --- how it looks, and who can use it

LIGHT, DARK = "rgb(245, 246, 249)", "rgb(14, 17, 22)"
CONTRAST = """(() => {
  const parse = text => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith('color(') ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const linear = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const over = (top, under) => under.map((v, i) => top[i] * top[3] + v * (1 - top[3]));
  const ground = element => {
    const all = [];
    for (let e = element; e && all.at(-1)?.[3] !== 1; e = e.parentElement) all.push(parse(getComputedStyle(e).backgroundColor));
    return all.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const bad = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('.sr, .skip, svg, option, :disabled')) continue;
    const under = ground(element), ink = over(parse(getComputedStyle(element).color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push([element.tagName, element.className, element.innerText.slice(0, 20)]);
  }
  return bad;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_in_light_and_dark(ui, drawn, scheme):
    ui.prefers(scheme)
    ui.click("#members")
    upload(ui, drawn)
    ui.wait("!!document.querySelector('#beside table')")
    ui.js("document.querySelectorAll('details').forEach(one => one.open = true)")
    time.sleep(0.3)
    assert ui.js("getComputedStyle(document.body).backgroundColor") == (LIGHT if scheme == "light" else DARK)
    assert ui.js(CONTRAST) == []
    ui.click("#tab-live")
    assert ui.js(CONTRAST) == []


def test_the_theme_is_switched_and_remembered(ui, address):
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for _ in range(3):
        ui.click("#theme")
        seen.append((ui.js("document.getElementById('theme').ariaLabel"), ui.js(ground)))
    assert seen == [("Theme: light", LIGHT), ("Theme: dark", DARK), ("Theme: as the system", LIGHT)]
    ui.press("d", "d")
    ui.goto(address)
    ui.wait(f"{ground} === '{DARK}'")
    assert set(json.loads(ui.js("localStorage.getItem('ferflow')"))) == {
        "theme",
        "threshold",
        "bars",
        "emoji",
        "mirror",
        "single",
    }


_SMALL = """[...document.querySelectorAll('button, select, summary, .switch, .check, input[type=password], input[type=range]')]
  .filter(e => e.checkVisibility()).map(e => [e.id || e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
  .filter(([, b]) => b.height < 43.9 || b.width < 43.9).map(([name]) => name)"""


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (768, 1024), (1280, 800)])
def test_every_width_has_no_sideways_scrolling_and_targets_for_fingers(ui, drawn, width, height):
    ui.size(width, height, phone=width < 768)
    ui.click("#members") if width > 1060 else ui.js("document.getElementById('members').click()")
    upload(ui, drawn)
    ui.wait("!!document.querySelector('#beside table')")
    ui.js("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert ui.js("document.documentElement.scrollWidth") == width
    small = ui.js(_SMALL)
    assert small == []


def test_the_keyboard_reaches_every_control_in_order(ui, drawn):
    upload(ui, drawn)
    ui.js("document.activeElement.blur()")
    seen, unringed = [], []
    for _ in range(60):
        ui.press("Tab")
        name, ring = ui.js(
            "(e => [e === document.body ? '' : e.id || e.className || e.innerText,"
            " (s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(e))])(document.activeElement)"
        )
        if not name or (seen and name == seen[0]):
            break
        seen.append(name)
        unringed += [] if ring else [name]
    wanted = ["skip", "theme", "help", "tab-picture", "another", "save-png", "save-json", "face"]
    assert seen[: len(wanted)] == wanted
    rest = [
        "explain",
        "right",
        "correct",
        "model",
        "threshold",
        "bars",
        "emoji",
        "mirror",
        "members",
        "key",
        "key-keep",
        "consent",
    ]
    assert [one for one in seen if one in rest] == rest
    assert unringed == []


def test_keys_choose_modes_and_show_themselves(ui):
    ui.press("?")
    ui.wait("document.getElementById('keys').open")
    ui.press("Escape")
    ui.wait("!document.getElementById('keys').open")
    for key, mode in (("2", "live"), ("3", "video"), ("ArrowRight", "picture"), ("ArrowLeft", "video"), ("1", "picture")):
        assert press_and_read(ui, key, "document.activeElement.id") == f"tab-{mode}"
        assert ui.js("document.querySelector('[role=tab][aria-selected=true]').dataset.mode") == mode
    ui.press("?")
    ui.click("#single")
    ui.press("Escape")
    ui.press("2")
    assert ui.js("document.querySelector('[role=tab][aria-selected=true]').dataset.mode") == "picture"


def test_the_skip_link_and_reduced_motion(ui):
    ui.press("Tab", "Enter")
    assert ui.js("document.activeElement.id") == "main"
    ui.prefers("light", motion="reduce")
    assert ui.js("getComputedStyle(document.getElementById('choose')).transitionDuration") in ("0s", "")


def wait_for(condition, timeout: float = 10) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)

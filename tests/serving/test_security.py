"""The real service, started as a user starts it, and people who mean it harm."""

import ast
import base64
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import hostile
import httpx
import numpy as np
import pytest
from conftest import ROOT, png
from running import SCRIPTS, Running, serving, with_params

from ferflow import serving as package

pytestmark = pytest.mark.slow
STARTED = "# the service answers"


@pytest.fixture(scope="module")
def service(release, tmp_path_factory) -> Iterator[Running]:
    limits = {"max_megabytes": 2, "max_megapixels": 4, "max_frames": 20}
    folder = with_params(tmp_path_factory.mktemp("served"), **limits)
    shutil.copy(Path(__file__).with_name("watched.py"), folder)
    (folder / "notes").touch()
    (folder / "tmp").mkdir()
    env = {"PYTHONPATH": f"{ROOT / 'src'}:{folder}", "FERFLOW_MODEL": str(release), "WATCHED": str(folder / "notes")}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"}  # what Python writes beside a module is nothing that a client caused
    with serving(folder, "watched:FerFlow", TMPDIR=str(folder / "tmp"), **env) as running:
        running.client.post("/predict", files={"image": png()}).raise_for_status()
        assert running.key
        with (folder / "notes").open("a") as notes:
            notes.write(STARTED + "\n")
        yield running


def noted(service: Running, event: str) -> list[str]:
    """What was noted since it answered for the first time."""
    lines = (service.folder / "notes").read_text().partition(STARTED)[2].splitlines()
    return [line.partition("\t")[2] for line in lines if line.startswith(event)]


@pytest.fixture
def client(service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def listed(folder: Path) -> set[str]:
    """The files that a request could have made: not those of logs, databases and notes."""
    own = (".ferflow", ".bentoml", "serve.log", "notes", "__pycache__")
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not str(path.relative_to(folder)).startswith(own)}


def assert_comes_back_to(before: set[str], folder: Path) -> None:
    """Nothing is left behind; what holds a request's upload goes shortly after its answer."""
    deadline = time.monotonic() + 10
    while (now := listed(folder)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert now == before


def harmless(reply: httpx.Response, name: str, started: float) -> None:
    assert reply.status_code == 200 or 400 <= reply.status_code < 500, (name, reply.status_code, reply.text[:300])
    assert time.monotonic() - started < 10, name
    assert "x-request-id" in reply.headers
    if reply.status_code != 200:
        assert set(reply.json()) == {"error", "request_id"}, name
        for inside in ("Traceback", "/tmp", "site-packages", ".py"):
            assert inside not in reply.text, (name, reply.text)


def test_hostile_files_are_refused_in_bounded_time_and_memory(service, client):
    before, memory = listed(service.folder), service.memory()
    codes = {}
    for name, data in hostile.files():
        for path, field in (("/predict", "image"), ("/predict_batch", "images"), ("/explain", "image")):
            started = time.monotonic()
            reply = client.post(path, files={field: ("x.png", data, "image/png")})
            harmless(reply, f"{path} {name}", started)
            codes[path, name] = reply.status_code
    assert codes["/predict", "png of 20000"] == 400
    assert codes["/predict", "svg"] == 400
    assert codes["/predict", "polyglot png php"] == 200, "it is a picture, and what follows it is never looked at"
    assert_comes_back_to(before, service.folder)
    assert service.memory() - memory < 300e6
    assert client.post("/predict", files={"image": png()}).status_code == 200


def test_hostile_crops_and_videos_are_refused(service, client):
    import base64

    for name, data in hostile.files():
        started = time.monotonic()
        reply = client.post("/predict_faces", json={"crops": [base64.b64encode(data).decode()]})
        harmless(reply, f"crops: {name}", started)
    tasks = {}
    for name, data in list(hostile.files())[:30:3]:
        started = time.monotonic()
        reply = client.post("/predict_video/submit", files={"video": ("x.mp4", data, "video/mp4")})
        harmless(reply, f"video: {name}", started)
        if reply.status_code == 200:
            tasks[name] = reply.json()["task_id"]
    deadline = time.monotonic() + 240  # a task that hangs, not a machine that is busy
    for name, task in tasks.items():
        while client.get("/predict_video/status", params={"task_id": task}).json()["status"] == "in_progress":
            assert time.monotonic() < deadline, name
            time.sleep(0.1)
        harmless(client.get("/predict_video/get", params={"task_id": task}), f"video: {name}", time.monotonic())


def test_hostile_requests_are_refused(service, client):
    before = listed(service.folder)
    codes = {}
    for name, request in hostile.requests():
        for path in ("/predict", "/explain", "/predict_batch", "/predict_faces", "/feedback"):
            started = time.monotonic()
            reply = client.post(path, **request)
            harmless(reply, f"{path} {name}", started)
            codes[path, name] = reply.status_code
    assert codes["/predict", "pickle"] == 415
    assert codes["/predict", "file name '../../x.png'"] == 200, "a name is a name, and nobody uses it"
    assert codes["/predict", "an address"] == 400
    assert_comes_back_to(before, service.folder)


def test_paths_do_not_leave_the_page_s_folder(client, service):
    for path in (
        "/ui/../params.yaml",
        "/ui/%2e%2e/params.yaml",
        "/ui/..%2f..%2fparams.yaml",
        "/ui//etc/passwd",
        "/ui/%00",
        "/.git/config",
    ):
        with socket.create_connection(("127.0.0.1", service.port), 5) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert raw.makefile("rb").readline().split()[1] in (b"404", b"400"), path


def test_requests_that_are_no_http_are_refused(service):
    for bad in (
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 100,
        b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port), 10) as raw:
            raw.settimeout(10)
            raw.sendall(bad)
            assert not raw.recv(100).startswith(b"HTTP/1.1 5"), bad
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    smuggled = head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /model HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), 10) as raw:
        raw.settimeout(10)
        raw.sendall(smuggled)
        assert raw.recv(100).startswith(b"HTTP/1.1 4")


def test_heads_have_a_size(service):
    with socket.create_connection(("127.0.0.1", service.port), 10) as raw:
        raw.settimeout(10)
        with pytest.raises(OSError):  # reset, or a broken pipe
            raw.sendall(b"GET /model HTTP/1.1\r\nX: ")
            for _ in range(100):
                raw.sendall(b"y" * 100_000)
            if raw.recv(100) == b"":
                raise OSError


def test_slow_clients_are_cut_off_and_do_not_keep_others_waiting(service, client):
    """Three kinds of fifty: heads and bodies a byte a second, and connections that say nothing."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 500\r\n"
    starts = [b"GET /model HTT"] * 50 + [head + b"\r\n--b"] * 50 + [b""] * 50
    slow = [socket.create_connection(("127.0.0.1", service.port), 5) for _ in starts]
    stop, cut = threading.Event(), {}

    def trickle() -> None:
        for raw, start in zip(slow, starts, strict=True):
            raw.sendall(start)
            raw.setblocking(False)
        while not stop.wait(1.0):
            for number, raw in enumerate(slow):
                if number in cut:
                    continue
                try:
                    if starts[number]:
                        raw.send(b"P")
                    if raw.recv(1000) == b"":
                        cut[number] = time.monotonic()
                except BlockingIOError:
                    pass
                except OSError:
                    cut[number] = time.monotonic()

    thread = threading.Thread(target=trickle)
    started = time.monotonic()
    thread.start()
    try:
        waits = []
        while time.monotonic() - started < 5:
            before = time.monotonic()
            assert client.post("/predict", files={"image": png()}).status_code == 200
            waits.append(time.monotonic() - before)
        assert sorted(waits)[len(waits) // 2] < 0.5
        while len(cut) < len(slow) and time.monotonic() - started < 20:
            time.sleep(0.2)
    finally:
        stop.set()
        thread.join()
        for raw in slow:
            raw.close()
    assert len(cut) == len(slow), "deadlines here are 3 and 4 s"


def test_addresses_that_are_none_are_counted_as_one(service, client):
    for number in range(300):
        assert client.get(f"/nobody/{number}").status_code == 404
        assert client.get(f"/ui/{number}/app.js").status_code == 404
    figures = client.get("/metrics").text
    assert "/nobody/" not in figures
    assert len(figures) < 100_000
    assert any(json.loads(line)["path"] == "/nobody/299" for line in service.said().splitlines() if '"/nobody/299"' in line)


def test_a_client_that_does_not_read_holds_nobody_up(service, client):
    with socket.create_connection(("127.0.0.1", service.port), 5) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2000)
        raw.settimeout(2)
        try:
            for _ in range(400):
                raw.sendall(b"GET /docs.json HTTP/1.1\r\nHost: x\r\n\r\n")
        except TimeoutError:
            pass
        assert client.get("/model").status_code == 200


def test_nothing_that_a_client_sends_is_unpickled_and_nothing_is_written_elsewhere(service):
    """Runs after the hostile ones: the service notes what it unpickles, and every file that it opens for writing."""
    assert noted(service, "pickle.find_class") == []
    own = (str(service.folder / "tmp"), str(service.folder / ".ferflow"), str(service.folder / ".bentoml"), "/dev/null")
    assert [path for path in noted(service, "open") if not path.strip("'\"").startswith(own)] == []
    assert noted(service, "open"), "it does note: BentoML writes uploads to temporary files"
    assert list((service.folder / "tmp").rglob("*x.png*")) == []


def test_small_bodies_of_large_faces_keep_no_probe_waiting(service, client):
    """A flat picture of a megapixel is a hundred bytes: what it takes is seen in its header, not in the length of the body."""
    flat = base64.b64encode(
        cv2.imencode(".webp", np.zeros((1000, 1000, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
    ).decode()
    assert len(flat) < 1000
    asking = [
        threading.Thread(target=client.post, args=["/predict_faces"], kwargs={"json": {"crops": [flat] * count}})
        for count in (1, 1, 150)
    ]
    for one in asking:
        one.start()
    slowest = 0.0
    while any(one.is_alive() for one in asking):
        started = time.monotonic()
        assert httpx.get(f"{service.url}/livez", timeout=20).status_code == 200
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 2, "with all of them decoded between requests it took eight seconds"


def test_no_module_of_serving_imports_what_unpickles():
    """Nor does what they import of ours: found by reading the sources, from the service on."""
    source, seen, left = Path(package.__file__).parent.parent, set(), ["ferflow.serving.service"]
    left += [f"ferflow.serving.{path.stem}" for path in (source / "serving").glob("*.py") if path.stem != "__init__"]
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch"}
    while left:
        name = left.pop()
        path = source.parent / (name.replace(".", "/") + ".py")
        path = path if path.is_file() else source.parent / name.replace(".", "/") / "__init__.py"
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            found = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            assert not forbidden & {one.partition(".")[0] for one in found}, name
            left += [one for one in found if one.startswith("ferflow")]
    assert {"ferflow.serving.guard", "ferflow.inference", "ferflow.images"} <= seen


def test_a_served_process_has_no_torch_in_it(service):
    worker = max(service.process.children(recursive=True), key=lambda one: one.memory_info().rss)
    assert not [one.path for one in worker.memory_maps() if "libtorch" in one.path]


def test_every_answer_is_the_document_s(service):
    """schemathesis: every operation, every status and shape as documented, no 5xx."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    checks += ",response_headers_conformance,negative_data_rejection,unsupported_method,missing_required_header"
    done = subprocess.run(
        [
            str(SCRIPTS / "schemathesis"), "run", f"{service.url}/docs.json", "--checks", checks, "--max-examples", "20",
            "--phases", "examples,coverage,fuzzing", "--seed", "1", "--header", f"Authorization: Bearer {service.key}",
            "--request-timeout", "20", "--no-color", "--generation-database", "none",
        ],
        cwd=service.folder / "tmp", capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_log_has_a_line_a_request_and_no_trace_of_what_clients_got_wrong(service, client):
    client.post("/predict", files={"image": b"no picture"}, headers={"x-request-id": "mine"}, params={"secret": "query"})
    time.sleep(0.2)
    log = service.said()
    line = next(json.loads(one) for one in log.splitlines() if '"mine"' in one)
    assert (line["status"], line["path"], line["client"]) == (400, "/predict", "127.0.0.1")
    assert "secret" not in log
    assert service.key not in log
    assert "InvalidArgument" not in log

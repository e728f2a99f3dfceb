"""The service as a user starts it: what it answers, what it keeps, and how its model changes while it is asked."""

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import onnx
import pytest
from clips import frames, write
from conftest import ROOT, png
from running import Running, serving, with_params

from ferflow.card import CARD_KEY
from ferflow.inference import Predictor
from ferflow.serving import answers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(release, tmp_path_factory) -> Iterator[Running]:
    folder = with_params(tmp_path_factory.mktemp("served"), detector="none", poll_s=0.2, max_frames=40)
    with serving(folder, FERFLOW_MODEL=str(release)) as running:
        assert running.key, "closed addresses are open to it alone"
        yield running


def test_a_picture_is_answered_with_everything_and_leaves_a_row_but_no_picture(service):
    reply = service.client.post("/predict", files={"image": png(size=90)}, data={"members": "true"})
    assert reply.status_code == 200, reply.text
    answer = answers.Answer.model_validate(reply.json())
    assert (answer.width, answer.height, answer.model_version) == (90, 90, "file model.onnx")
    assert reply.headers["x-request-id"] == answer.request_id
    (face,) = answer.faces
    assert set(face.members) == {"gray", "rgb"}
    assert face.members["gray"].probabilities["expression"].keys() == face.probabilities["expression"].keys()
    assert answer.timing_ms.total >= answer.timing_ms.classify > 0
    in_base64 = service.client.post("/predict", json={"image": base64.b64encode(png(size=90)).decode()})
    assert in_base64.json()["faces"][0]["probabilities"] == reply.json()["faces"][0]["probabilities"]
    time.sleep(1.5)
    ((label, client, faces, entropy, brightness, latency),) = service.rows(
        f"select expression, client, faces, entropy, brightness, latency_ms from predictions where id = '{face.id}'"
    )
    assert (label, client, faces) == (face.expression, "anonymous", 1)
    assert 0 < entropy <= np.log(8) + 1e-6
    assert 0 < brightness < 255
    assert latency > 0
    assert not list((service.folder / "data/consented").rglob("*.png")), "nobody agreed"


def test_several_pictures_and_ready_crops(service):
    three = [("images", ("a.png", png(1))), ("images", ("b.png", b"no picture")), ("images", ("c.png", png(2)))]
    found = service.client.post("/predict_batch", files=three).json()
    assert ["error" in one for one in found["answers"]] == [False, True, False]
    crops = [base64.b64encode(png(seed)).decode() for seed in range(5)]
    reply = service.client.post("/predict_faces", json={"crops": crops})
    assert len(answers.CropsAnswer.model_validate(reply.json()).faces) == 5
    again = service.client.post("/predict_faces", json={"crops": crops[3:4]}).json()["faces"][0]
    assert again["confidence"] == pytest.approx(reply.json()["faces"][3]["confidence"], abs=1e-5)
    assert service.client.post("/predict_faces", json={"crops": [crops[0], "%%%"]}).status_code == 400
    unknown = service.client.post("/predict_faces", json={"crops": crops, "model": "nobody"})
    assert (unknown.status_code, "no model is called 'nobody'" in unknown.json()["error"]) == (400, True)


def test_a_crop_is_kept_with_consent_alone_and_forgotten_with_its_row_and_feedback(service):
    face = service.client.post("/predict", files={"image": png(3)}, data={"consent": "true"}).json()["faces"][0]
    (kept,) = (service.folder / "data/consented").rglob(f"{face['id']}.png")
    assert cv2.imread(str(kept)).shape == (40, 40, 3)
    feedback = {"id": face["id"], "label": "sad"}
    assert service.client.post("/feedback", json=feedback).status_code == 401
    assert service.client.post("/feedback", json=feedback, headers=service.keyed).json() == {"id": face["id"], "stored": True}
    assert service.client.post("/feedback", json=feedback | {"label": "cheesy"}, headers=service.keyed).status_code == 400
    assert service.client.post("/feedback", json=feedback | {"id": "0" * 32}, headers=service.keyed).status_code == 404
    time.sleep(1.5)
    assert service.rows(f"select label, client from feedback where prediction = '{face['id']}'") == [("sad", "tests")]
    gone = service.client.post("/forget", json={"id": face["id"]}, headers=service.keyed).json()
    assert (gone["rows"] >= 1, gone["crops"]) == (True, 1)
    assert not kept.exists()
    assert not service.rows(f"select 1 from predictions where id = '{face['id']}'")
    assert service.client.post("/forget", json={"id": face["id"]}, headers=service.keyed).status_code == 404


def test_a_crop_that_the_disk_does_not_take_is_a_line_in_the_log_of_the_service(service):
    crops = service.folder / "data/consented"
    aside = crops.rename(crops.with_name("aside")) if crops.exists() else None
    crops.parent.mkdir(exist_ok=True)
    crops.touch()
    try:
        reply = service.client.post("/predict", files={"image": png(3)}, data={"consent": "true"})
        assert len(reply.json()["faces"]) == 1
    finally:
        crops.unlink()
        if aside:
            aside.rename(crops)
    assert service.said().count("consented crops are not kept") == 1


def test_a_video_is_a_task_and_nothing_of_it_stays_but_its_answer(service, tmp_path):
    clip = write(tmp_path / "clip.avi", frames(12), codec="MJPG")
    submitted = service.client.post("/predict_video/submit", files={"video": ("clip.avi", clip.read_bytes(), "video/x-msvideo")})
    task = submitted.json()["task_id"]
    until = time.monotonic() + 60
    while service.client.get("/predict_video/status", params={"task_id": task}).json()["status"] == "in_progress":
        assert time.monotonic() < until
        time.sleep(0.2)
    found = answers.VideoAnswer.model_validate(service.client.get("/predict_video/get", params={"task_id": task}).json())
    assert len(found.frames) == 12
    assert len({face.track for frame in found.frames for face in frame.faces}) == 1
    stores = [path for path in (service.folder / ".bentoml").rglob("*") if path.is_file()]
    assert any(b"in_progress" in path.read_bytes() or b"completed" in path.read_bytes() for path in stores), "the store is there"
    sent = clip.read_bytes()
    piece = sent[len(sent) // 3 :][:300]  # of a frame
    shapes = [piece, *(base64.b64encode(piece[start:])[:300] for start in range(3))]
    assert len(set(piece)) > 50
    assert not [path for path in stores if any(shape in path.read_bytes() for shape in shapes)]
    long = write(tmp_path / "long.avi", frames(60), codec="MJPG")
    task = service.client.post("/predict_video/submit", files={"video": ("l.avi", long.read_bytes(), "video/x-msvideo")}).json()
    until = time.monotonic() + 60
    while (told := service.client.get("/predict_video/status", params={"task_id": task["task_id"]}).json())[
        "status"
    ] == "in_progress":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert told["status"] == "failed"
    assert "more than 40 frames" in service.client.get("/predict_video/get", params={"task_id": task["task_id"]}).text


def test_videos_keep_nobody_waiting_and_lists_of_files_are_no_videos(service, tmp_path):
    clip = write(tmp_path / "clip.avi", frames(40), codec="MJPG").read_bytes()
    submit = lambda name, data: service.client.post("/predict_video/submit", files={"video": (name, data, "video/mp4")}).json()  # noqa: E731
    tasks = [submit("clip.avi", clip) for _ in range(3)]
    started = time.monotonic()
    assert service.client.get("/model").status_code == 200
    assert service.client.post("/forget", json={"id": "0" * 32}, headers=service.keyed).status_code == 404
    assert time.monotonic() - started < 10
    tasks.append(submit("list.mp4", b"ffconcat version 1.0\nfile params.yaml\n"))
    until = time.monotonic() + 120
    for task in tasks:
        while (told := service.client.get("/predict_video/status", params={"task_id": task["task_id"]}).json())[
            "status"
        ] == "in_progress":
            assert time.monotonic() < until
            time.sleep(0.2)
    assert told["status"] == "failed"
    assert "no video" in service.client.get("/predict_video/get", params={"task_id": tasks[-1]["task_id"]}).text


def test_an_explanation_is_a_map_and_a_picture(service):
    reply = service.client.post("/explain", files={"image": png(5)}, data={"task": "gender"})
    found = answers.Explanation.model_validate(reply.json())
    assert np.array(found.heat).shape == (40, 40)
    assert 0 <= np.min(found.heat) <= np.max(found.heat) <= 1
    assert cv2.imdecode(np.frombuffer(base64.b64decode(found.png), np.uint8), 1).shape == (240, 240, 3)
    assert service.client.post("/explain", files={"image": png(5)}, data={"face": "3"}).status_code == 400
    assert "expression, gender" in service.client.post("/explain", files={"image": png(5)}, data={"task": "shoe"}).text


def test_it_says_which_model_it_is_and_counts(service):
    told = answers.ModelInfo.model_validate(service.client.get("/model").json())
    assert (told.source, told.members, told.version) == ("file", ["gray", "rgb"], "file model.onnx")
    assert service.client.get("/models").json()["served"] == "file"
    assert service.client.post("/predict", files={"image": png()}, data={"model": "best"}).status_code == 400
    figures = service.client.get("/metrics").text
    assert "ferflow_faces_total{" in figures
    assert "ferflow_log_up 1.0" in figures


def test_the_newest_page_on_drift_is_for_administrators(service):
    assert service.client.get("/drift").status_code == 401, "there is a key with the scope admin"
    reply = service.client.get("/drift", headers=service.keyed)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "ferflow monitor" in reply.text
    latest = service.folder / "reports/drift/latest.html"
    latest.parent.mkdir(parents=True)
    latest.write_text("<html><head><style>x</style></head><body>it got dark</body></html>")
    assert "it got dark" in service.client.get("/drift", headers=service.keyed).text
    assert service.client.get("/ui/drift.css").status_code == 200


def registered(folder: Path, release: Path, names: list[str]) -> None:
    """A registry in ``folder`` whose versions are the release under these names, the first of them champion."""
    code = (
        "import sys, mlflow\n"
        "client = mlflow.MlflowClient(); client.create_registered_model('ferflow')\n"
        "for path in sys.argv[1:]:\n"
        "    with mlflow.start_run() as run:\n"
        "        mlflow.log_artifact(path, 'release')\n"
        "        client.create_model_version('ferflow', f'runs:/{run.info.run_id}/release', run.info.run_id, {'code': 'c0de'})\n"
        "client.set_registered_model_alias('ferflow', 'champion', '1')\n"
    )
    paths = []
    for name in names:
        path = folder / name / "model.onnx"
        path.parent.mkdir()
        if name == "broken":
            path.write_bytes(b"no network")
        else:
            model = onnx.load(release)
            card = Predictor(release).card.model_copy(update={"name": name})
            onnx.helper.set_model_props(model, {CARD_KEY: card.model_dump_json()})
            onnx.save(model, path)
        paths.append(str(path))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *paths], cwd=folder, env=clean, check=True, capture_output=True)


def moved(service: Running, *command: str) -> None:
    ferflow = Path(sys.executable).with_name("ferflow")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    subprocess.run(
        [ferflow, *command], cwd=service.folder, env=clean | {"PYTHONPATH": str(ROOT / "src")}, check=True, timeout=120
    )


def test_promotion_and_rollback_take_effect_without_a_failed_request(release, tmp_path):
    registered(tmp_path, release, ["first", "second", "broken"])
    with serving(with_params(tmp_path, detector="none", poll_s=0.2, heads=["expression"])) as service:
        swapped(service)


def swapped(service: Running) -> None:
    stop, seen, failed = threading.Event(), [], []

    def keep_asking() -> None:
        message = {"crops": [base64.b64encode(png()).decode()]}
        with httpx.Client(base_url=service.client.base_url, timeout=60) as client:
            while not stop.is_set():
                reply = client.post("/predict_faces", json=message)
                (seen if reply.status_code == 200 else failed).append(reply.json().get("model_version"))
                time.sleep(0.05)  # the commands below need the cores, too

    def until_served(version: str) -> None:
        deadline = time.monotonic() + 60
        while service.client.get("/model").json()["version"] != version:
            assert time.monotonic() < deadline, service.said()
            time.sleep(0.1)

    try:
        assert service.client.get("/model").json()["code"] == "c0de"
        face = service.client.post("/predict", files={"image": png()}).json()["faces"][0]
        assert (face["gender"], face["valence"], set(face["probabilities"])) == (None, None, {"expression"}), "serve.heads"
        clients = [threading.Thread(target=keep_asking) for _ in range(4)]
        for client in clients:
            client.start()
        moved(service, "promote", "2")
        until_served("ferflow/2")
        moved(service, "promote", "3")
        deadline = time.monotonic() + 30
        while "ferflow/3 is refused" not in service.said():
            assert time.monotonic() < deadline, service.said()
            time.sleep(0.2)
        assert service.client.get("/model").json()["version"] == "ferflow/2"
        moved(service, "promote", "1")
        until_served("ferflow/1")
        stop.set()
        for client in clients:
            client.join(60)
        assert not failed
        order = [version for place, version in enumerate(seen) if place == 0 or seen[place - 1] != version]
        assert set(order) == {"ferflow/1", "ferflow/2"}
        assert len(seen) > 50
    finally:
        stop.set()

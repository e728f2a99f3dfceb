"""A service for tests of the page alone: a real model behind a small app that answers in the API's shapes, and that can be
told to be busy, slow, or away. And pictures, clips and a camera of drawn faces."""

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import clips
import cv2
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from ferflow.finding import Finder, Finding
from ferflow.images import decode, encode_png
from ferflow.inference import FacePrediction, Predictor
from ferflow.serving.exchange import SECURITY_HEADERS
from ferflow.serving.page import page_app
from ferflow.vocabulary import EXPRESSIONS

KEY = "a-key-for-feedback"


class Backend:
    """The service. ``refuse``: (status, headers) of the next answers, so many; ``forms``, ``sizes``: fields and
    pictures (width, height) of every request."""

    def __init__(self, model: Path) -> None:
        self.predictor = Predictor(model, Finder(Finding("haar", longest_side=320)))
        self.refuse: list[tuple[int, dict[str, str]]] = []
        self.forms: list[dict[str, Any]] = []
        self.sizes: list[tuple[int, int]] = []
        self.keys: list[str] = []
        self.labels: dict[str, str] = {}
        self.tasks: dict[str, Any] = {}
        self.delay_s = 0.0
        self.version = "ferflow/7"

    def app(self) -> Starlette:
        post = {
            "/predict": self.predict,
            "/explain": self.explain,
            "/feedback": self.feedback,
            "/predict_video/submit": self.submit,
        }
        get = {"/model": self.model, "/models": self.models, "/predict_video/{what}": self.video}
        routes = [Route(path, does, methods=["POST"]) for path, does in post.items()]
        routes += [Route(path, does, methods=["GET"]) for path, does in get.items()]
        return Starlette(routes=[*routes, Mount("/ui", page_app())], middleware=[Middleware(_WithPolicy)])

    async def predict(self, request: Request) -> JSONResponse:
        if self.refuse:
            status, headers = self.refuse.pop(0)
            return JSONResponse({"error": "no", "request_id": "r1"}, status, headers)
        started = time.perf_counter()
        rgb, form = await self._read(request)
        await asyncio.sleep(self.delay_s)
        faces = await run_in_threadpool(self.predictor.predict, rgb)
        said = [_face(one, form.get("members") == "true") for one in faces]
        total = 1000 * (time.perf_counter() - started)
        timing = {"decode": total * 0.2, "detect": total * 0.5, "classify": total * 0.3, "total": total}
        size = {"width": rgb.shape[1], "height": rgb.shape[0]}
        version = f"other/{form['model']}" if form.get("model") else self.version
        return JSONResponse({"request_id": "r1", "model_version": version, "faces": said, "timing_ms": timing, **size})

    async def explain(self, request: Request) -> JSONResponse:
        rgb, form = await self._read(request)
        face = self.predictor.predict(rgb)[int(form.get("face", 0))]
        left, top, right, bottom = (round(max(value, 0)) for value in face.box_xyxy)
        crop = cv2.resize(rgb[top:bottom, left:right], (240, 240))
        warm = cv2.applyColorMap(np.tile(np.linspace(0, 255, 240).astype(np.uint8), (240, 1)), cv2.COLORMAP_INFERNO)
        png = encode_png(cv2.addWeighted(crop, 0.6, np.ascontiguousarray(warm[:, :, ::-1]), 0.4, 0))
        said = {"box_xyxy": face.box_xyxy, "task": "expression", "answer": face.expression, "probability": face.confidence}
        return JSONResponse({"request_id": "r2", "heat": [[0.0, 1.0]], "png": base64.b64encode(png).decode(), **said})

    async def feedback(self, request: Request) -> JSONResponse:
        self.keys.append(request.headers.get("authorization", ""))
        if self.keys[-1] != f"Bearer {KEY}":
            return JSONResponse({"error": "no scope"}, 401 if self.keys[-1] else 403)
        said = await request.json()
        self.labels[said["id"]] = said["label"]
        return JSONResponse({"id": said["id"], "stored": True})

    async def submit(self, request: Request) -> JSONResponse:
        async with request.form() as form:
            data = await form["video"].read()  # type: ignore[union-attr]
        self.tasks[task := uuid4().hex] = [len(data), 0]
        return JSONResponse({"task_id": task, "status": "in_progress"})

    async def video(self, request: Request) -> JSONResponse:
        task = self.tasks[request.query_params["task_id"]]
        if request.path_params["what"] == "status":
            task[1] += 1
            return JSONResponse({"task_id": "t", "status": "completed" if task[1] > 1 else "in_progress"})
        face = {
            "track": 1,
            "box_xyxy": [40, 40, 140, 140],
            "expression": "happy",
            "emoji": "😄",
            "confidence": 0.9,
            "certain": True,
        }
        frames = [{"time_s": i / 5, "faces": [{**face, "valence": i / 20, "arousal": 0.1}]} for i in range(20)]
        return JSONResponse({"request_id": "r3", "model_version": self.version, "fps": 5.0, "frames": frames})

    async def model(self, request: Request) -> JSONResponse:
        card = self.predictor.card
        known = {"certain_above": card.certain_above, "members": list(card.members)}
        return JSONResponse({"version": self.version, "source": "champion", **known})

    async def models(self, request: Request) -> JSONResponse:
        names = [{"name": "champion", "version": self.version}, {"name": "release", "version": "models/release"}]
        return JSONResponse({"served": "champion", "models": names})

    async def _read(self, request: Request) -> tuple[np.ndarray, dict[str, Any]]:
        async with request.form() as form:
            data = await form["image"].read()  # type: ignore[union-attr]
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
        self.forms.append(fields)
        rgb = decode(data)
        self.sizes.append((rgb.shape[1], rgb.shape[0]))
        return rgb, fields


def _face(found: FacePrediction, members: bool) -> dict[str, Any]:
    said = found.as_dict() | {"id": uuid4().hex, "members": None}
    if members:
        said["members"] = {name: _member(found, power) for name, power in (("cnn", 0.3), ("resnet", 0.6), ("vit", 0.15))}
    return said


def _member(found: FacePrediction, power: float) -> dict[str, Any]:
    softer = {name: share**power for name, share in found.probabilities["expression"].items()}
    shares = {name: value / sum(softer.values()) for name, value in softer.items()}
    best = max(shares, key=shares.__getitem__)
    affect = {"valence": found.valence, "arousal": found.arousal}
    return {"expression": best, "confidence": shares[best], "probabilities": {"expression": shares}, **affect}


class _WithPolicy:
    """The headers that the guard sends."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers)


@contextmanager
def running(app: Any, port: int = 0):
    """Serve an app on loopback; gives its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


def people(path: Path, count: int = 3, size_wh: tuple[int, int] = (960, 640), at: int = 12) -> Path:
    """A picture of drawn faces."""
    drawn = list(clips.frames(at + 1, size_wh, ("happy", "surprise", "sad", "anger"), count))[-1]
    cv2.imwrite(str(path), drawn)
    return path


def film(path: Path, seconds: float = 4, faces: int = 1) -> Path:
    """A clip of drawn faces that browsers play."""
    order = ("neutral", "happy", "surprise", "sad")
    return clips.write(path, clips.frames(round(seconds * 25), (320, 240), order, faces), codec="VP80")


def camera(path: Path, pictures: Callable[[], Any] | None = None, fps: int = 20) -> Path:
    """A film for Chromium's fake camera (Motion JPEG, one after the other): drawn faces, or what ``pictures`` gives (BGR)."""
    made = pictures() if pictures else clips.frames(120, (640, 480), EXPRESSIONS, 1)
    path.write_bytes(
        b"".join(cv2.imencode(".jpg", cv2.resize(one, (640, 480)), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for one in made)
    )
    return path

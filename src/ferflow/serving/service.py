"""The BentoML service: every face in a picture, by the model that ``models`` chose.

Plain ``bentoml serve`` in the project's root finds it through pyproject.toml. Faces are found in threads; ``batching``
classifies those of all requests together, one batch after the other. What stands before it is the ``guard``'s. It knows no key
and no SQL.
"""

import asyncio
import base64
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any
from uuid import uuid4

os.environ.setdefault("OTEL_SDK_DISABLED", "true")  # traces that nobody collects cost a fifth of a request; false: they are made

import bentoml
import cv2
import numpy as np
from bentoml.exceptions import InvalidArgument, NotFound
from bentoml.validators import ContentType
from pydantic import Field
from starlette.responses import Response

from ferflow import consent, params
from ferflow.detectors import Detection
from ferflow.finding import Finder, Finding
from ferflow.images import ImageError, decode, image_size, resize
from ferflow.inference import FacePrediction
from ferflow.livelog import LogError, PredictionLog
from ferflow.serving import connections, forms, stopping
from ferflow.serving.answers import (
    Answer,
    Answers,
    CropsAnswer,
    Explanation,
    Forgotten,
    ModelInfo,
    ModelNames,
    Stored,
    VideoAnswer,
    VideoFace,
    face_of,
    log_row,
)
from ferflow.serving.batching import Outputs
from ferflow.serving.drift import newest
from ferflow.serving.explaining import heat_map, overlay
from ferflow.serving.figures import Figures
from ferflow.serving.guard import Direct, RequestGuard
from ferflow.serving.models import BrokenModelError, Models, Served, about
from ferflow.serving.page import page_app
from ferflow.serving.refusals import RefusedError
from ferflow.serving.routes import Crops, Fields
from ferflow.serving.tasks import forget_input, make_private, purge_uploads
from ferflow.streaming import Shot, Streaming, stream
from ferflow.video import Video, VideoError, is_video

log = logging.getLogger("ferflow.serving")
SETTINGS = params.load_or_packed()
_HOUR_S = 3600.0
_CROP_PIXELS = 1_000_000  # of a face that is cut out already
_AT_ONCE, _SMALL = 20_000, 128 * 128  # characters, and pixels, of a face that is decoded between requests
_DIRECT: dict[str, Direct] = {}  # what the guard asks itself: BentoML's layers cost more than the network
Picture = Annotated[Path, ContentType("image/*"), Field(description="a picture: JPEG, PNG, WebP, GIF, BMP, TIFF, …")]
ModelName = Annotated[str | None, Field(description="a name of /models; without one the model that is served")]


@dataclass(frozen=True)
class _Caller:
    """Who asks: as the guard says it."""

    request_id: str
    client: str

    @staticmethod
    def of(ctx: bentoml.Context) -> "_Caller":
        headers = ctx.request.headers
        return _Caller(headers.get("x-ferflow-request-id") or uuid4().hex, headers.get("x-ferflow-client", "anonymous"))


@dataclass(frozen=True)
class _Seen:
    """A picture with its faces found and cut out; times in seconds."""

    size_wh: tuple[int, int]
    found: list[Detection]
    crops: np.ndarray
    decode_s: float
    detect_s: float


@bentoml.service(
    name="ferflow",
    http={"host": "127.0.0.1", "port": 3000},
    traffic={"timeout": 60},
    workers=SETTINGS.serve.workers,
    threads=2,
    logging={"access": {"enabled": False}},  # the guard writes a line a request
    tracing={"excluded_urls": "." if os.environ["OTEL_SDK_DISABLED"].lower() == "true" else ""},  # its layer costs as much idle
)
class FerFlow:
    """Facial expressions of every face in a picture."""

    def __init__(self) -> None:
        make_private()
        cv2.setNumThreads(1)  # requests are many: each stays on its core
        sys.setswitchinterval(0.0005)  # the thread with the network waits for the interpreter ten times less than by default
        self._serve = serve = SETTINGS.serve
        finding = Finding(
            serve.detector, tuple(serve.detector_files.items()), max_faces=serve.max_faces, longest_side=serve.longest_side
        )
        self._models = Models(SETTINGS, Finder(finding))
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "find")
        self._videos = ThreadPoolExecutor(1, "video")  # one after the other: pictures should not wait for them
        self._log = PredictionLog(serve.log, Path(".ferflow/spill"), serve.log_buffer) if serve.log else None
        self._crops = consent.Crops(serve.keep_crops, serve.keep_days)
        self._figures = Figures()
        self._stop = Event()
        Thread(target=self._keep_house, name="house", daemon=True).start()
        _DIRECT["/predict_faces"] = self.classify

    @bentoml.api(route="/predict")
    async def predict(
        self, ctx: bentoml.Context, image: Picture, model: ModelName = None, members: bool = False, consent: bool = False
    ) -> Answer:
        """Every face of a picture; an answer without faces has an empty list.

        ``members``: what each member of the ensemble says, too. ``consent``: the people agree that the crops of their faces
        are kept for training, for a limited time.
        """
        caller, served = _Caller.of(ctx), await self._named(model)
        return _json(await self._answer(image, served, caller, members, consent))

    @bentoml.api(route="/predict_batch")
    async def predict_batch(self, ctx: bentoml.Context, images: list[Picture], model: ModelName = None) -> Answers:
        """Every face of several pictures, in order; one that cannot be read has an error, and the others their answers."""
        caller, served = _Caller.of(ctx), await self._named(model)
        if len(images) > self._serve.max_pictures:
            raise InvalidArgument(f"{len(images)} pictures; at most {self._serve.max_pictures} go at once")
        if await self._thread(partial(_pixels, images)) > self._serve.max_megapixels * 1e6:
            raise InvalidArgument(f"the pictures have more than {self._serve.max_megapixels:g} megapixels together; send fewer")

        async def one(image: Path) -> dict[str, Any]:
            try:
                return await self._answer(image, served, caller, False, False)
            except InvalidArgument as error:
                return {"error": str(error)}

        return _json({"request_id": caller.request_id, "answers": await asyncio.gather(*map(one, images))})

    @bentoml.api(route="/predict_faces")
    async def predict_faces(self, ctx: bentoml.Context, crops: list[str], model: ModelName = None) -> CropsAnswer:
        """Faces that are cut out already, each an encoded picture in base64; those of many requests are classified together."""
        # over HTTP the guard answers it itself, within its limits: this is its declaration, and the way within a process
        caller = _Caller.of(ctx)
        try:
            body = await self.classify(Crops(crops=crops, model=model), caller.request_id, caller.client)
        except RefusedError as error:
            raise InvalidArgument(str(error)) from error
        return Response(body, media_type="application/json")  # type: ignore[return-value]

    async def classify(self, asked: Fields, request_id: str, client: str) -> bytes:
        """The answer to ``/predict_faces`` in JSON; the guard asks for it directly. ``RefusedError`` names a wrong crop."""
        started = time.perf_counter()
        assert isinstance(asked, Crops)
        caller = _Caller(request_id, client)
        try:
            served = await self._named(asked.model)
        except InvalidArgument as error:
            raise RefusedError(400, str(error)) from error
        sizes, faces = await self._decode(asked.crops, served.predictor.card.input_size)
        found = [Detection((0.0, 0.0, float(width), float(height)), 1.0) for width, height in sizes]
        outputs = await served.batcher.outputs(faces)
        said = self._say(served, found, faces, outputs, {}, caller, started)
        return json.dumps({"request_id": request_id, "model_version": served.source.version, "faces": said}).encode()

    async def _decode(self, crops: list[str], size: int) -> tuple[list[tuple[int, int]], np.ndarray]:
        """See ``_decoded``; a single small face at once, as another thread would cost more than it spares."""
        if len(crops) == 1 and len(crops[0]) < _AT_ONCE:
            with suppress(RefusedError):  # it may be too large for that: the header says it, not the length
                return _decoded(crops, size, _SMALL)
        return await self._thread(partial(_decoded, crops, size, _CROP_PIXELS))

    @bentoml.task(route="/predict_video")
    async def predict_video(
        self, ctx: bentoml.Context, video: Annotated[Path, Field(description="a short video")], model: ModelName = None
    ) -> VideoAnswer:
        """Every frame of a short video with its faces, tracked: submit it, ask for its status, get the answer."""
        caller, served = _Caller.of(ctx), await self._named(model)
        await asyncio.to_thread(forget_input, getattr(ctx.request.state, "task_id", None))  # before it waits for others
        work = partial(self._follow, video, served, caller)  # minutes, perhaps: not in a thread that others wait for
        return _json(await asyncio.get_running_loop().run_in_executor(self._videos, work))

    def _follow(self, video: Path, served: Served, caller: _Caller) -> dict[str, Any]:
        started, predictor = time.perf_counter(), served.predictor
        if not is_video(video):
            raise InvalidArgument("the file is no video: MP4, MOV, AVI, WebM, Matroska, Ogg and GIF are read")
        frames, rows = [], []
        try:
            with Video(video, int(self._serve.max_megapixels * 1e6)) as opened:
                shots = _at_most(opened.shots(), self._serve.max_frames)
                for frame in stream(predictor, shots, Streaming(opened.fps, bgr=True)):
                    crops = self._crops_of(served, frame.pixels, [one.face for one in frame.faces])
                    found = [one.face for one in frame.faces]
                    said = [face_of(face, {}, self._serve.heads) for face in found]
                    rows += self._rows(served, found, said, crops, caller, started)
                    started = time.perf_counter()
                    faces = [
                        {key: one.get(key) for key in VideoFace.model_fields} | {"track": tracked.track}
                        for one, tracked in zip(said, frame.faces, strict=True)
                    ]
                    frames.append({"time_s": frame.time_s, "faces": faces})
                fps = opened.fps
        except VideoError as error:
            raise InvalidArgument(str(error).replace(f"{video}: ", "the video: ")) from error
        self._write(rows)
        version = served.source.version
        return {"request_id": caller.request_id, "model_version": version, "fps": fps, "frames": frames}

    @bentoml.api(route="/explain")
    async def explain(
        self, ctx: bentoml.Context, image: Picture, face: int = 0, task: str = "expression", model: ModelName = None
    ) -> Explanation:
        """Where the answer for one face hangs on: how far its probability falls where a part of the face is covered."""
        caller, served = _Caller.of(ctx), await self._named(model)
        known = [one for one in served.predictor.card.tasks if one != "affect" and self._leaves(one)]
        if task not in known:
            raise InvalidArgument(f"the model can explain {', '.join(known)}, not {task!r}")
        seen = await self._thread(partial(self._see, image, served))
        if not 0 <= face < len(seen.found):
            raise InvalidArgument(f"the picture has {len(seen.found)} faces; face {face} is none of them (they count from 0)")
        started = time.perf_counter()
        said, outputs = await self._thread(partial(_explained, served, seen, face, task))
        (one,) = self._say(served, [seen.found[face]], seen.crops[face : face + 1], outputs, {}, caller, started)
        return _json({"id": one["id"], "request_id": caller.request_id, **said})

    @bentoml.api(route="/feedback")
    def feedback(self, ctx: bentoml.Context, id: str, label: str) -> Stored:
        """The right expression of a face that was predicted: what live accuracy and retraining learn from."""
        if self._log is None:
            raise NotFound("this service keeps no log (serve.log is empty): nothing can be added to an answer")
        try:
            known = self._log.feedback(id, label, _Caller.of(ctx).client)
        except ValueError as error:
            raise InvalidArgument(str(error)) from error
        if not known:
            raise NotFound(f"no prediction has the id {id!r}")
        return Stored(id=id, stored=True)

    @bentoml.api(route="/forget")
    def forget(self, ctx: bentoml.Context, id: str) -> Forgotten:
        """Remove a prediction, its feedback and its crop."""
        try:
            rows = self._log.forget(id) if self._log else 0  # first: it may be away
            crops = self._crops.forget(id)
        except ValueError as error:
            raise InvalidArgument(str(error)) from error
        except LogError as error:
            ctx.response.status_code = 503  # of one that is raised BentoML says that it is unexpected, and not why
            return _json({"error": f"the log cannot be asked now, so that nothing was forgotten; ask again: {error}"})
        if not rows + crops:
            raise NotFound(f"nothing is kept of {id!r}")
        return Forgotten(id=id, rows=rows, crops=crops)

    @bentoml.api(route="/model")
    def model(self) -> ModelInfo:
        """Which model answers, and its card."""
        return ModelInfo(**about(self._models.current))

    @bentoml.api(route="/models")
    def models(self) -> ModelNames:
        """The models that a request may name."""
        known = [{"name": name, "version": source.version} for name, source in self._models.known.items()]
        return ModelNames.model_validate({"served": self._models.current.source.name, "models": known})

    @bentoml.api(route="/drift")
    def drift(self) -> str:
        """The newest page on drift: whether what the service sees still looks like what its model was tested on."""
        return newest()  # type: ignore[return-value]

    @bentoml.on_shutdown
    def close(self) -> None:
        """Write what is not written yet."""
        self._stop.set()
        self._models.close()
        for pool in (self._threads, self._videos):
            pool.shutdown()
        if self._log:
            self._log.close(10.0)

    def _keep_house(self) -> None:
        """Follow the registry, count, and let old crops go."""
        purged = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() - purged > _HOUR_S or not purged:
                    purged = time.monotonic()
                    self._crops.purge()
                    purge_uploads()
                self._figures.follow(dict(self._log.state()) if self._log else {}, self._models.swaps)
                self._models.look()
            except Exception:  # whatever happens to the registry or a disk, the model at hand goes on, and so does this
                log.exception("keeping house failed; %s goes on", self._models.current.source.version)
            self._stop.wait(self._serve.poll_s)

    def _model(self, name: str | None) -> Served:
        try:
            return self._models.get(name)
        except (LookupError, BrokenModelError) as error:
            raise InvalidArgument(str(error.args[0])) from error

    async def _named(self, name: str | None) -> Served:
        return await asyncio.to_thread(self._model, name) if name else self._models.current  # it may have to be loaded

    async def _thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _see(self, image: Path, served: Served) -> _Seen:
        started = time.perf_counter()
        try:
            rgb = decode(image.read_bytes(), max_pixels=int(self._serve.max_megapixels * 1e6))
        except ImageError as error:
            raise InvalidArgument(str(error)) from error
        decoded = time.perf_counter()
        predictor = served.predictor
        found = predictor.finder.find(rgb)
        crops = predictor.stacked([predictor.crop(rgb, face) for face in found])
        return _Seen((rgb.shape[1], rgb.shape[0]), found, crops, decoded - started, time.perf_counter() - decoded)

    async def _answer(self, image: Path, served: Served, caller: _Caller, members: bool, consent: bool) -> dict[str, Any]:
        started = time.perf_counter()
        seen = await self._thread(partial(self._see, image, served))
        asked = time.perf_counter()
        outputs: Outputs = {}
        parts: dict[str, Outputs] = {}
        if members and seen.found:
            outputs, parts = await self._thread(partial(served.predictor.with_parts, seen.crops))
        elif seen.found:
            outputs = await served.batcher.outputs(seen.crops)
        classified = time.perf_counter()
        faces = self._say(served, seen.found, seen.crops, outputs, parts, caller, started)
        if consent and faces:
            await self._thread(lambda: [self._crops.keep(one["id"], crop) for one, crop in zip(faces, seen.crops, strict=True)])
        seconds = {"decode": seen.decode_s, "detect": seen.detect_s, "classify": classified - asked}
        seconds["total"] = time.perf_counter() - started
        return {
            "request_id": caller.request_id,
            "model_version": served.source.version,
            "width": seen.size_wh[0],
            "height": seen.size_wh[1],
            "faces": faces,
            "timing_ms": {name: round(1000 * value, 2) for name, value in seconds.items()},
        }

    def _say(
        self,
        served: Served,
        found: list[Detection],
        crops: np.ndarray,
        outputs: Outputs,
        parts: dict[str, Outputs],
        caller: _Caller,
        started: float,
    ) -> list[dict[str, Any]]:
        """Faces as they leave the service; each goes into the log."""
        describe = served.predictor.describe
        faces = describe(found, outputs)
        each = {name: describe(found, part) for name, part in parts.items()}
        said = [
            face_of(face, {name: some[number] for name, some in each.items()}, self._serve.heads)
            for number, face in enumerate(faces)
        ]
        self._write(self._rows(served, faces, said, crops, caller, started))
        return said

    def _rows(
        self,
        served: Served,
        faces: list[FacePrediction],
        said: list[dict[str, Any]],
        crops: np.ndarray,
        caller: _Caller,
        started: float,
    ) -> list[dict[str, Any]]:
        latency_ms = 1000 * (time.perf_counter() - started)
        who: dict[str, Any] = {"request_id": caller.request_id, "client": caller.client, "model_version": served.source.version}
        who |= {"member": served.predictor.card.name, "latency_ms": latency_ms}
        count = len(faces)
        if not count:
            return [log_row(None, {"id": uuid4().hex}, None, (0, 0), who)]
        return [
            log_row(face, one, crop, (number, count), who)
            for number, (face, one, crop) in enumerate(zip(faces, said, crops, strict=True))
        ]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._figures.count(rows)
        if self._log:
            self._log.add(rows)

    def _crops_of(self, served: Served, bgr: np.ndarray, faces: list[FacePrediction]) -> np.ndarray:
        if not faces:
            return served.predictor.stacked([])
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        boxes = [Detection(face.box_xyxy, face.detection_score) for face in faces]
        return served.predictor.stacked([served.predictor.crop(rgb, box) for box in boxes])

    def _leaves(self, task: str) -> bool:
        return not self._serve.heads or task in self._serve.heads


def _explained(served: Served, seen: _Seen, face: int, task: str) -> tuple[dict[str, Any], Outputs]:
    """The explanation, and the outputs that it explains."""
    classes = served.predictor.card.tasks[task]
    crop = seen.crops[face]
    outputs = served.predictor.outputs(crop[None])
    shares = outputs[task][0]
    place = int(shares.argmax())
    heat = heat_map(crop, lambda faces: served.predictor.outputs(faces)[task][:, place])
    said = {
        "model_version": served.source.version,
        "box_xyxy": seen.found[face].box_xyxy,
        "task": task,
        "answer": classes[place],
        "probability": float(shares[place]),
        "heat": heat.round(4).tolist(),
        "png": base64.b64encode(overlay(crop, heat)).decode(),
    }
    return said, outputs


def _decoded(crops: list[str], size: int, max_pixels: int) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Sizes (width, height) of crops in base64, and themselves as the network wants them."""
    sizes, faces = [], []
    for number, text in enumerate(crops):
        try:
            rgb = decode(forms.base64(text, f"crops.{number}"), max_pixels=max_pixels)
        except ImageError as error:
            raise RefusedError(400, f"crops.{number}: {error}") from error
        sizes.append((rgb.shape[1], rgb.shape[0]))
        faces.append(resize(rgb, size))
    return sizes, np.stack(faces)


def _pixels(images: list[Path]) -> int:
    """What the headers of pictures say that they have together; those that are no pictures have none."""
    count = 0
    for image in images:
        with suppress(ImageError):
            width, height = image_size(image.read_bytes())
            count += width * height
    return count


def _at_most(shots: Iterator[Shot], count: int) -> Iterator[Shot]:
    """The shots; ``VideoError`` where there are more."""
    for number, shot in enumerate(shots):
        if number >= count:
            raise VideoError(f"the video has more than {count} frames; send a part of it")
        yield shot


def _json(said: dict[str, Any]) -> Any:
    """An answer that is plain values already: checking it once more would cost as much as the network."""
    return Response(json.dumps(said), media_type="application/json")


connections.install()
stopping.install()
FerFlow.mount_asgi_app(page_app(SETTINGS.serve.keep_days), path="/ui")  # type: ignore[attr-defined]
FerFlow.add_asgi_middleware(RequestGuard, settings=SETTINGS.serve, direct=_DIRECT)  # type: ignore[attr-defined]

"""BentoML's OpenAPI document, made true: every answer that can come, examples, keys, limits, the JSON way to send a picture.

What comes back is in ``answers``, what may be sent and who may ask in ``routes``, and what the guard answers is here. BentoML's
own account of the same types is not used: it forgets which values may be null. What has no row in ``routes`` is left out,
because nobody gets to it. It describes requests and handles none.
"""

from copy import deepcopy
from typing import Any, Literal

from pydantic import BaseModel

from ferflow import params
from ferflow.serving import answers
from ferflow.serving.forms import FORM, JSON
from ferflow.serving.routes import ROUTES, Route

Node = dict[str, Any]
_REF = "#/components/schemas/"
_ID = "0f8c1d6e5b7a4c3e9d2f1a0b4c5d6e7f"
_MADE = {
    "400": "What was sent cannot be used; the message names the field and says what to do.",
    "401": "The API key is not known, or one is needed.",
    "403": "The API key has not the scope, no key opens this, or a page of another origin asked.",
    "404": "There is nothing under this id.",
    "408": "The body did not arrive in time.",
    "413": "The body is larger than {max_megabytes:g} MB.",
    "415": "This content type is not taken.",
    "429": "Too many requests of this client; Retry-After says when to come back.",
    "500": "The service failed; its log says more under the request id.",
    "503": "As many requests as fit are in work; Retry-After says when to come back.",
}
_SAID = {  # examples of the messages
    "400": "image: this is not base64",
    "401": "the API key is not known; 'ferflow keys add' makes one, and shows it once",
    "403": "closed: no API key opens it; ferflow keys add NAME --scopes feedback",
    "404": f"no prediction has the id '{_ID}'",
    "408": "the body did not arrive within 30 s: send less, or over a faster line",
    "413": "the body is larger than 10000000 bytes (serve.max_megabytes): send a smaller picture, or fewer",
    "415": "the content type is text/plain; send a picture as the form field 'image'",
    "429": "too many requests of one client: 60 a minute; wait 1 s",
    "500": "the service failed to answer this; its log says more under this request id",
    "503": "as many requests as fit are in work; come back in a moment",
}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="  # a PNG
_BODIES: dict[str, Node] = {  # examples of JSON bodies
    "/predict": {"image": _PIXEL, "members": False},
    "/predict_faces": {"crops": [_PIXEL]},
    "/explain": {"image": _PIXEL, "face": 0, "task": "expression"},
    "/feedback": {"id": _ID, "label": "happy"},
    "/forget": {"id": _ID},
}
_FACE: Node = {
    "id": _ID,
    "box_xyxy": [112.0, 80.0, 208.0, 190.0],
    "detection_score": 0.93,
    "expression": "happy",
    "emoji": "😀",
    "confidence": 0.87,
    "certain": True,
    "top3": [["happy", 0.87], ["neutral", 0.08], ["surprise", 0.02]],
    "probabilities": {"expression": {"happy": 0.87, "neutral": 0.08}},
    "valence": 0.71,
    "arousal": 0.35,
    "age": "20-29",
    "gender": "female",
    "race": None,
    "members": None,
}
_ANSWER: Node = {
    "request_id": "a1b2c3",
    "model_version": "ferflow/3",
    "width": 640,
    "height": 480,
    "faces": [_FACE],
    "timing_ms": {"decode": 3.1, "detect": 12.4, "classify": 2.2, "total": 17.9},
}
_VIDEO_FACE: Node = {
    "id": _ID,
    "track": 0,
    "box_xyxy": [112.0, 80.0, 208.0, 190.0],
    "expression": "happy",
    "emoji": "😀",
    "confidence": 0.87,
    "certain": True,
    "valence": 0.71,
    "arousal": 0.35,
}
_TASK: Node = {"task_id": _ID, "status": "in_progress"}
_ANSWERS: dict[str, Node] = {  # examples of what comes back
    "/predict": _ANSWER,
    "/predict_batch": {"request_id": "a1b2c3", "answers": [_ANSWER, {"error": "not an image: it is empty (0 bytes)"}]},
    "/predict_faces": {"request_id": "a1b2c3", "model_version": "ferflow/3", "faces": [_FACE]},
    "/predict_video/submit": _TASK,
    "/predict_video/status": _TASK | {"created_at": "2026-01-01T12:00:00", "executed_at": None},
    "/predict_video/get": {
        "request_id": "a1b2c3",
        "model_version": "ferflow/3",
        "fps": 25.0,
        "frames": [{"time_s": 0.0, "faces": [_VIDEO_FACE]}],
    },
    "/explain": {
        "id": _ID,
        "request_id": "a1b2c3",
        "model_version": "ferflow/3",
        "box_xyxy": [112.0, 80.0, 208.0, 190.0],
        "task": "expression",
        "answer": "happy",
        "probability": 0.87,
        "heat": [[0.0, 0.2], [0.4, 1.0]],
        "png": _PIXEL,
    },
    "/model": {
        "version": "starter",
        "source": "starter",
        "fingerprint": "0f" * 32,
        "code": None,
        "data": None,
        "dataset": "fer2013",
        "members": ["se130"],
        "tasks": {"expression": ["neutral", "happy"]},
        "certain_above": 0.76,
        "software": "ferflow 0.1.0",
        "card": {},
    },
    "/models": {"served": "champion", "models": [{"name": "champion", "version": "ferflow/3"}]},
    "/feedback": {"id": _ID, "stored": True},
    "/forget": {"id": _ID, "rows": 1, "crops": 0},
}
_HTML = {"/drift"}
_TEXT = {"/livez", "/healthz", "/readyz", "/metrics"}


def complete(document: Node, serve: params.Serve | None = None) -> Node:
    """The document as it should be, from the one that BentoML gives; ``serve``: whose limits it names, the defaults if None."""
    settings = serve or params.Serve.model_validate({})
    made = deepcopy(document)
    schemas: Node = {"Error": _ERROR}
    paths: Node = {}
    for path, given in made.get("paths", {}).items():
        if (route := ROUTES.get(path)) is not None:
            paths[path] = _operations(path, route, next(iter(given.values())), settings, schemas)
    for path, what in (("/docs.json", "This document."), ("/schema.json", "What BentoML's own client reads.")):
        possible = _answers(path, ROUTES[path], settings, schemas)
        paths[path] = {"get": {"operationId": path[1:-5], "description": what, "responses": possible}}
    made |= {"openapi": "3.1.0", "paths": paths, "servers": [{"url": "/"}]}
    made["info"] = {"title": "ferflow", "version": "1", "description": _about(settings)}
    made["components"] = {"schemas": schemas, "securitySchemes": _SCHEMES}
    return made


_ERROR: Node = {
    "type": "object",
    "title": "Error",
    "description": "Every answer with a status of 400 or more.",
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error", "request_id"],
    "additionalProperties": False,
}
_SCHEMES: Node = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY, from 'ferflow keys add'"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key, in a header of its own"},
}


def _about(serve: params.Serve) -> str:
    rate = f"{serve.requests_a_minute} requests a minute of one client" if serve.requests_a_minute else "no limit on the rate"
    return (
        "Facial expressions of every face in a picture. Errors are always {error, request_id}; every answer has the header "
        "x-request-id, the request's own where it is 1 to 64 of [A-Za-z0-9._-]. "
        f"Limits: {serve.max_megabytes:g} MB a body, {serve.max_megapixels:g} megapixels a picture, {serve.max_faces} faces a "
        f"picture, {serve.max_pictures} pictures or {serve.max_crops} crops a request, {serve.max_frames} frames a video, "
        f"{serve.max_waiting} requests in work, {rate}."
    )


def _operations(path: str, route: Route, given: Node, serve: params.Serve, schemas: Node) -> Node:
    """An address's operations, by method; BentoML's POST of what takes no body is a GET, too."""
    methods = [method.lower() for method in route.methods if method != "HEAD"]
    made: Node = {}
    for method in methods:
        operation: Node = {key: given[key] for key in ("description", "tags") if key in given}
        name = path.strip("/").replace("/", "_")
        operation["operationId"] = name if len(methods) == 1 else f"{method}_{name}"
        operation["responses"] = _answers(path, route, serve, schemas)
        if route.query:
            schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
            operation["parameters"] = [{"name": route.query, "in": "query", "required": True, "schema": schema, "example": _ID}]
        if route.fields is not None:
            operation["requestBody"] = {"required": True, "content": _contents(path, route, serve, schemas)}
        if route.scope:
            operation["security"] = [{"bearer": []}, {"header": []}]
            if (route.scope == "predict" or route.unless_none) and not serve.require_key:
                operation["security"].insert(0, {})
        made[method] = operation
    return made


class Submitted(BaseModel):
    """A video that is worked on."""

    task_id: str
    status: Literal["in_progress"]


class Status(BaseModel):
    """How far the work on a video is; ``completed``: GET /predict_video/get has the answer, ``failed``: why there is none."""

    task_id: str
    status: Literal["pending", "in_progress", "completed", "failed", "canceled"]
    created_at: str
    executed_at: str | None


_TYPES: dict[str, type[BaseModel]] = {
    "/predict": answers.Answer,
    "/predict_batch": answers.Answers,
    "/predict_faces": answers.CropsAnswer,
    "/predict_video/submit": Submitted,
    "/predict_video/status": Status,
    "/predict_video/get": answers.VideoAnswer,
    "/explain": answers.Explanation,
    "/feedback": answers.Stored,
    "/forget": answers.Forgotten,
    "/model": answers.ModelInfo,
    "/models": answers.ModelNames,
}


def _answers(path: str, route: Route, serve: params.Serve, schemas: Node) -> Node:
    """Every answer that can come, by status."""
    good: Node = {"description": "Done", "headers": {"x-request-id": _header("the request's id")}}
    if path in _TEXT:
        good["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif path in _HTML:
        good["content"] = {"text/html": {"schema": {"type": "string"}}}
    elif path not in _TYPES:
        good["content"] = {JSON: {"schema": {"type": "object"}}}
    else:
        good["content"] = {JSON: {"schema": _named(_TYPES[path], schemas, "serialization")}}
        if path in _ANSWERS:
            good["content"][JSON]["example"] = _ANSWERS[path]
    statuses = {500, 503} if route.always else {401, 403, 429, 500, 503, *route.too}
    if route.fields is not None:
        statuses |= {400, 408, 413, 415}
    return {"200": good} | {str(status): _problem(str(status), serve) for status in sorted(statuses)}


def _named(model: type[BaseModel], schemas: Node, mode: Literal["validation", "serialization"]) -> Node:
    """A reference to a type, which is put among the schemas with all that it needs."""
    schema = model.model_json_schema(ref_template=_REF + "{model}", mode=mode)
    schemas |= schema.pop("$defs", {})
    schemas[model.__name__] = schema
    return {"$ref": _REF + model.__name__}


def _problem(status: str, serve: params.Serve) -> Node:
    headers = {"x-request-id": _header("the request's id")}
    if status in ("429", "503"):
        headers["Retry-After"] = _header("seconds", "integer")
    if status == "401":
        headers["WWW-Authenticate"] = _header("Bearer")
    example = {"error": _SAID[status], "request_id": "a1b2c3"}
    content = {JSON: {"schema": {"$ref": f"{_REF}Error"}, "example": example}}
    return {"description": _MADE[status].format(max_megabytes=serve.max_megabytes), "headers": headers, "content": content}


def _header(what: str, kind: str = "string") -> Node:
    return {"description": what, "schema": {"type": kind}}


def _contents(path: str, route: Route, serve: params.Serve, schemas: Node) -> Node:
    """What may be sent, by content type."""
    assert route.fields is not None
    contents: Node = {}
    if route.file:
        form = route.fields.model_json_schema()
        file: Node = {"type": "string", "format": "binary", "description": f"at most {serve.max_megabytes:g} MB"}
        if route.many:
            file = {"type": "array", "items": file, "minItems": 1, "maxItems": serve.max_pictures}
        form["properties"] = {route.file: file} | form.get("properties", {})
        form["required"] = [route.file, *form.get("required", [])]
        kinds = ", ".join(f"{kind}*" if kind.endswith("/") else kind for kind in (*route.kinds, "application/octet-stream"))
        contents[FORM] = {"schema": form, "encoding": {route.file: {"contentType": kinds}}}
    body = route.as_json if route.file else route.fields
    if body is not None:
        contents[JSON] = {"schema": _named(body, schemas, "validation"), "example": _BODIES[path]}
        if "crops" in body.model_fields:
            schemas[body.__name__]["properties"]["crops"]["maxItems"] = serve.max_crops
    return contents

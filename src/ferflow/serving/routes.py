"""What each address of the service takes, and who may ask it: a row an address. What is not here, the guard answers with 404.

The guard, the form parser and the OpenAPI document read the same rows, so that none of them promises what another refuses. A
new endpoint of the service is a new row. It knows neither HTTP headers nor BentoML.
"""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, create_model

Name = Field(None, min_length=1, max_length=200, description="a name of GET /models; without one: the served model")
Id = Field(pattern="^[0-9a-f]{32}$", description="a prediction's id, from its face in an answer")


class Fields(BaseModel):
    """What may stand beside a file in a form, or in a JSON body: nothing else may."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PredictFields(Fields):
    """Beside the picture of ``/predict``."""

    model: str | None = Name
    members: bool = Field(False, description="true: every member's answer as well")
    consent: bool = Field(False, description="true: whoever is in the picture agrees that the faces are kept for retraining")


class ModelField(Fields):
    """Beside the pictures of ``/predict_batch``, and beside a video."""

    model: str | None = Name


class ExplainFields(Fields):
    """Beside the picture of ``/explain``."""

    face: int = Field(0, ge=0, le=10_000, description="which face, as /predict orders them")
    task: str = Field("expression", min_length=1, max_length=40, description="whose answer is explained")
    model: str | None = Name


class Crops(Fields):
    """Ready crops, each a face."""

    crops: list[str] = Field(min_length=1, description="encoded pictures (PNG, JPEG, ...) in base64, a face each")
    model: str | None = Name


class Feedback(Fields):
    """What a person says a face shows."""

    id: str = Id
    label: str = Field(min_length=1, max_length=40, description="an expression")


class Forget(Fields):
    """Which prediction is forgotten."""

    id: str = Id


@dataclass(frozen=True)
class Route:
    """One address. ``scope``: of the key that opens it; None: nobody needs one. ``fields``: the body's, beside the ``file``."""

    methods: tuple[str, ...]
    scope: str | None = None
    always: bool = False  # passes under any load, and without a limit on the rate: it costs next to nothing
    fields: type[Fields] | None = None
    file: str = ""  # the form field that holds a file
    kinds: tuple[str, ...] = ("image/",)  # what the file may say it is
    many: bool = False  # several files
    as_json: type[Fields] | None = None  # the JSON body with the file in base64, where that is taken as well
    asks: bool = False  # nothing is sent to it, and GET is answered as BentoML answers POST
    task: bool = False  # work that goes on after the answer
    query: str = ""  # the one parameter that it needs
    unless_none: bool = False  # open while no key has the scope, and predicting needs no key either
    too: tuple[int, ...] = ()  # answers of its own, beside those that any such address gives


def _with_file(fields: type[Fields], name: str, what: str) -> type[Fields]:
    described = (str, Field(min_length=1, description=f"{what} in base64, or a data: URL; an http(s) address is refused"))
    return create_model(f"{fields.__name__.removesuffix('Fields')}Json", __base__=fields, **{name: described})  # type: ignore[call-overload]


_PROBE, _ASKED = Route(("GET", "HEAD"), always=True), Route(("GET", "HEAD", "POST"), "predict", asks=True)
_STATUS = Route(("GET", "HEAD"), "predict", query="task_id", too=(400, 404))
ROUTES = {
    "/": _PROBE,  # sends a browser to the page
    "/livez": _PROBE,
    "/healthz": _PROBE,
    "/readyz": _PROBE,
    "/metrics": _PROBE,
    "/docs.json": _PROBE,
    "/schema.json": _PROBE,  # what BentoML's own client reads first
    "/model": _ASKED,
    "/models": _ASKED,
    "/drift": Route(("GET", "HEAD"), "admin", asks=True, unless_none=True),  # it names clients
    "/predict": Route(
        ("POST",), "predict", fields=PredictFields, file="image", as_json=_with_file(PredictFields, "image", "the picture")
    ),
    "/predict_batch": Route(("POST",), "predict", fields=ModelField, file="images", many=True),
    "/predict_faces": Route(("POST",), "predict", fields=Crops),
    "/predict_video/submit": Route(
        ("POST",), "predict", fields=ModelField, file="video", kinds=("video/", "image/gif"), task=True
    ),
    "/predict_video/status": _STATUS,
    "/predict_video/get": _STATUS,
    "/explain": Route(
        ("POST",), "predict", fields=ExplainFields, file="image", as_json=_with_file(ExplainFields, "image", "the picture")
    ),
    "/feedback": Route(("POST",), "feedback", fields=Feedback, too=(404,)),
    "/forget": Route(("POST",), "admin", fields=Forget, too=(404,)),
}
PAGE = Route(("GET", "HEAD"), always=True)
_PAGE_AT = "/ui"


def route_of(path: str) -> Route | None:
    """The row of an address; None for one that the service does not have."""
    if found := ROUTES.get(path):
        return found
    if path == _PAGE_AT or path.startswith(_PAGE_AT + "/"):
        return None if ".." in path or "\\" in path or "\0" in path else PAGE
    return None

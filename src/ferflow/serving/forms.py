"""Bodies: what a client sent, checked against its route and written anew, so that only what we wrote reaches BentoML.

BentoML takes a text field for an address to fetch, names temporary files after what a client calls them, unpickles where a
content type says so, and answers 500 to a form without its field. None of that can happen to a body that was written here: the
file's name and type are constants, text fields are JSON, and nothing else is in it. It knows no model.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from uuid import uuid4

from pydantic import ValidationError

from ferflow.serving.multipart import Part, split
from ferflow.serving.refusals import RefusedError
from ferflow.serving.routes import Fields, Route

JSON, FORM = "application/json", "multipart/form-data"
_DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.=+-]*)*;base64", re.I | re.A)
_FILE = b'Content-Disposition: form-data; name="%b"; filename="file"\r\nContent-Type: %bany\r\n\r\n'
_TEXT = b'Content-Disposition: form-data; name="%b"\r\n\r\n'
_SOME_VALUES = 256
_ADDRESS = "addresses are not fetched: send the file itself"


@dataclass(frozen=True)
class Limits:
    """Of a form: how many files, and how many crops."""

    max_files: int = 16
    max_crops: int = 256


def rewritten(path: str, route: Route, content_type: str, body: bytes, limits: Limits) -> tuple[bytes, bytes]:
    """The body as BentoML gets it, and its content type. ``RefusedError`` 400 or 415 says what is wrong, and with which field."""
    if not route.file:
        read(path, route, content_type, body, limits)
        return body, JSON.encode()
    kind, hint = _begun(path, route, content_type, body)
    if kind == FORM:
        return _from_form(route, content_type, body, limits, hint)
    if route.as_json and kind == JSON:
        fields = checked(route.as_json, body, limits)
        data = base64(getattr(fields, route.file), route.file)
        return _form(route, [data], fields)
    raise _another(kind, hint)


def read(path: str, route: Route, content_type: str, body: bytes, limits: Limits) -> Fields:
    """A JSON body as its route's fields. ``RefusedError`` 400 or 415 says what is wrong, and with which field."""
    kind, hint = _begun(path, route, content_type, body)
    if route.fields is None or kind != JSON:
        raise _another(kind, hint)
    return _within(checked(route.fields, body, limits), limits)


def _begun(path: str, route: Route, content_type: str, body: bytes) -> tuple[str, str]:
    """The kind of a body, and how one that is right is sent. ``RefusedError`` 400 where there is nothing in it."""
    hint = _hint(path, route)
    if not body:
        raise RefusedError(400, f"the body is empty; {hint}")
    return content_type.partition(";")[0].strip().lower(), hint


def _another(kind: str, hint: str) -> RefusedError:
    return RefusedError(415, f"the content type is {kind[:100] or 'missing'}; {hint}")


def _hint(path: str, route: Route) -> str:
    address = f"http://127.0.0.1:3000{path}"
    if not route.file:
        return f"send JSON: curl -H 'content-type: application/json' -d '{{...}}' {address} (GET /docs.json describes it)"
    what, name = ("a picture", "photo.jpg") if route.kinds[0] == "image/" else ("a video", "clip.mp4")
    return f"send {what} as the form field '{route.file}': curl -F {route.file}=@{name} {address}"


def checked(model: type[Fields], body: bytes, limits: Limits) -> Fields:
    """A JSON body against its fields: no others, no other types. ``RefusedError`` 400 names what is wrong.

    Values are counted first, roughly: of millions that are wrong, each would become a message.
    """
    most = 4 * limits.max_crops + _SOME_VALUES
    if body.count(b",") > most or body.count(b'"') > most:
        raise RefusedError(400, f"there are too many values in it; at most {limits.max_crops} crops are taken at once")
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise RefusedError(400, _said(error)) from error


def _said(error: ValidationError) -> str:
    """What is wrong with which field; never what was sent."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [": ".join((*(".".join(str(part)[:60] for part in one["loc"]),), one["msg"]))[:200] for one in problems[:5]]
    return "; ".join(line.removeprefix(": ") for line in lines)


def _within(fields: Fields, limits: Limits) -> Fields:
    crops: list[str] = getattr(fields, "crops", [])
    if len(crops) > limits.max_crops:
        raise RefusedError(400, f"crops: there are {len(crops)}; at most {limits.max_crops} are taken at once")
    for number, crop in enumerate(crops):
        _no_address(crop, f"crops.{number}")
    return fields


def _no_address(text: str, field: str) -> None:
    if text[:16].lstrip().lower().startswith(("http:", "https:", "file:", "ftp:")):
        raise RefusedError(400, f"{field}: {_ADDRESS}, in base64")


def base64(text: str, field: str) -> bytes:
    """The bytes of base64 text, with or without ``data:...;base64,`` before it. ``RefusedError`` 400 for anything else."""
    _no_address(text, field)
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not _DATA_URL.fullmatch(head[:200]):
            raise RefusedError(400, f"{field}: a data: URL must be data:image/jpeg;base64,...")
    if any(space in text for space in "\n\r "):  # as command lines wrap it
        text = "".join(text.split())
    try:
        data = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError) as error:
        raise RefusedError(400, f"{field}: this is not base64") from error
    if not data:
        raise RefusedError(400, f"{field}: it is empty")
    return data


def _from_form(route: Route, content_type: str, body: bytes, limits: Limits, hint: str) -> tuple[bytes, bytes]:
    most = limits.max_files if route.many else 1
    try:
        parts = split(body, content_type, most + len((route.fields or Fields).model_fields) + 8)
    except ValueError as error:
        raise RefusedError(400, f"the form cannot be read: {error}; {hint}") from error
    files = [part for part in parts if part.name == route.file]
    texts = [part for part in files if not part.is_file]
    if texts and bytes(texts[0].data[:16]).lstrip().lower().startswith((b"http:", b"https:", b"file:", b"ftp:")):
        raise RefusedError(400, f"{route.file}: {_ADDRESS}; {hint}")
    if texts or not files or len(files) > most:
        wanted = f"1 to {most} files" if route.many else "one file"
        had = f"{len(files) - len(texts)} files and {len(texts)} texts"
        raise RefusedError(400, f"the field '{route.file}' must hold {wanted}; the form has {had}; {hint}")
    for part in files:
        if part.kind and not part.kind.startswith((*route.kinds, "application/octet-stream")):
            raise RefusedError(415, f"the field '{route.file}' says that it is {part.kind[:100]}; {hint}")
        if not part.data:
            raise RefusedError(400, f"the field '{route.file}': the file is empty; {hint}")
    fields = _texts(route, [part for part in parts if part.name != route.file])
    return _form(route, [part.data for part in files], fields)


def _texts(route: Route, parts: list[Part]) -> Fields:
    model = route.fields or Fields
    values: dict[str, str] = {}
    for part in parts:
        name, text = part.name, bytes(part.data).decode("utf-8", "replace")
        field = model.model_fields.get(name)
        if part.is_file:
            raise RefusedError(400, f"{name[:60]}: a file is not taken there")
        if name in values:
            raise RefusedError(400, f"{name[:60]}: it is in the form twice")
        if field is not None and field.annotation is bool and text not in ("true", "false"):
            raise RefusedError(400, f"{name}: Input should be a valid boolean: true or false")
        values[name] = text
    # BentoML's own client writes JSON into texts: "name" in quotes, and null for what is left out
    left_out = [name for name, text in values.items() if text == "null" and _may_be_none(model, name)]
    try:
        return model.model_validate({name: _unquoted(text) for name, text in values.items() if name not in left_out})
    except ValidationError as error:
        raise RefusedError(400, _said(error)) from error


def _may_be_none(model: type[Fields], name: str) -> bool:
    return name in model.model_fields and model.model_fields[name].default is None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' and "\\" not in text else text


def _form(route: Route, files: Sequence[bytes | memoryview], fields: Fields) -> tuple[bytes, bytes]:
    """A form of our own: the files under a constant name and type, the other fields as JSON, none that has no value."""
    boundary = uuid4().hex.encode()
    pieces: list[bytes | memoryview] = []
    for data in files:
        pieces += [b"--", boundary, b"\r\n", _FILE % (route.file.encode(), route.kinds[0].encode()), data, b"\r\n"]
    for name, value in fields.model_dump(exclude_none=True, exclude={route.file}).items():
        pieces += [b"--", boundary, b"\r\n", _TEXT % name.encode(), dumps(value).encode(), b"\r\n"]
    return b"".join([*pieces, b"--", boundary, b"--\r\n"]), b"multipart/form-data; boundary=" + boundary

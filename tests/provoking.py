"""What the errors of docs/errors.md are provoked with: a small project, and what was said."""

import asyncio
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT
from starlette.applications import Starlette
from starlette.testclient import TestClient
from typer.testing import CliRunner

from ferflow import params
from ferflow.cli import app
from ferflow.keys import Keys
from ferflow.serving import guard


def said(action: Callable[[], Any]) -> str:
    """The words of the error that ``action`` ends with."""
    try:
        action()
    except Exception as error:
        return str(error)
    raise AssertionError("nothing went wrong")


class Place:
    """A folder with a params.yaml, in which commands are run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copy(ROOT / "params.yaml", root)

    def file(self, name: str, content: str | bytes = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def cli(self, *words: str) -> str:
        """What a command that fails says, without the program's name before it."""
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 1, done.output
        return re.sub(r"^ferflow( \w+)?: ", "", done.stderr.strip())

    def settings(self, **changes: Any) -> str:
        """What is said of params.yaml with other values, by their dotted keys (two underscores)."""
        raw = yaml.safe_load((ROOT / "params.yaml").read_text())
        for key, value in changes.items():
            *path, last = key.split("__")
            block = raw
            for name in path:
                block = block[name]
            block[last] = value
        self.file("params.yaml", yaml.safe_dump(raw))
        return said(params.load)

    def rows(self, source: str, path: Path, **options: Any) -> str:
        """What a source says of a path that it cannot read to the end."""
        from ferflow.datasets import WHOLE
        from ferflow.registry import get

        return said(lambda: list(get("datasets", source)(path, seed=0, part=WHOLE, **options)))

    def archive(self, *names: str) -> Path:
        with zipfile.ZipFile(self.root / "faces.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        return self.root / "faces.zip"

    def keys(self) -> Keys:
        return Keys(self.root / "keys.json")

    def damaged_keys(self) -> Keys:
        self.file("keys.json", "{}")
        return self.keys()

    def guard(self, **settings: Any) -> guard.RequestGuard:
        serve = params.Serve(keys=self.root / "keys.json", max_megabytes=0.01, **settings)
        return guard.RequestGuard(Starlette(), serve)

    def asked(self, path: str, method: str = "POST", times: int = 1, _settings: dict | None = None, **request: Any) -> str:
        """Status and words of an answer of the service's guard."""
        client = TestClient(self.guard(**(_settings or {})), raise_server_exceptions=False)
        for _ in range(times):
            answer = client.request(method, path, **request)
        assert set(answer.json()) == {"error", "request_id"}
        return f"{answer.status_code}: {answer.json()['error']}"

    def slow_body(self) -> str:
        from ferflow.serving.refusals import RefusedError

        async def never() -> dict:
            await asyncio.sleep(60)
            return {}

        async def read() -> str:
            service = self.guard()
            service.arrivals.seconds = 0.05
            try:
                await service._body({}, never)
            except RefusedError as refusal:
                return f"{refusal.status}: {refusal.message}"
            return ""

        return asyncio.run(read())

    def no_room(self) -> str:
        from ferflow.serving.refusals import RefusedError

        service = self.guard(max_waiting=1)
        with service.room:
            try:
                service.room.check()
            except RefusedError as refusal:
                return f"{refusal.status}: {refusal.message}"
        return ""

    def onnx(self, metadata: dict[str, str]) -> bytes:
        """A graph that gives back what it gets."""
        from onnx import TensorProto, helper

        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
        graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", value[:1], value[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        helper.set_model_props(model, metadata)
        return model.SerializeToString()

    def git(self) -> None:
        """A git repository with all of it committed."""
        who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "start"]):
            subprocess.run(["git", *command], cwd=self.root, check=True)

    def data(self, manifest: Path) -> None:
        """The manifest in its place, and a split of it."""
        import pandas as pd

        from ferflow.params import Split
        from ferflow.splitting import split
        from ferflow.tables import read_labels

        (self.root / "data").mkdir()
        shutil.copy(manifest, self.root / "data/manifest.parquet")
        labels = read_labels(manifest)
        groups = pd.DataFrame({"same": range(len(labels)), "near": range(len(labels))}, index=labels["id"])
        split(labels, groups, Split(val=0.2, test=0.2), seed=0).to_parquet(self.root / "data/splits.parquet")


def form(*files: tuple[str, bytes]) -> dict[str, Any]:
    return {"files": [(name, ("x.png", data, "image/png")) for name, data in files]}


def as_json(value: Any) -> dict[str, Any]:
    return {"content": json.dumps(value), "headers": {"content-type": "application/json"}}

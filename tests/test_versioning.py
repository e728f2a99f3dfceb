"""Raw data as DVC keeps it: to a remote and back, and what a new version makes stale; real DVC, a real S3 server."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
DVC = Path(sys.executable).parent / "dvc"
DATA = os.urandom(200_000)
STAGES = """
stages:
  one: {cmd: cp data/raw/faces.zip one, deps: [data/raw/faces.zip], outs: [one]}
  other: {cmd: cp fixed other, deps: [fixed], outs: [other]}
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    (root / "data/raw").mkdir(parents=True)
    monkeypatch.chdir(root)
    for command in (["git", "init", "-q"], [DVC, "init", "-q"]):
        subprocess.run(command, check=True)
    (root / "data/raw/faces.zip").write_bytes(DATA)
    dvc("add", "data/raw/faces.zip")
    return root


def dvc(*arguments) -> str:
    done = subprocess.run([DVC, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def forget_and_pull(root: Path) -> None:
    subprocess.run(["rm", "-rf", root / ".dvc/cache", root / "data/raw/faces.zip"], check=True)
    dvc("pull")
    assert hashlib.sha256((root / "data/raw/faces.zip").read_bytes()).digest() == hashlib.sha256(DATA).digest()


def test_a_folder_as_remote(repository, tmp_path):
    dvc("remote", "add", "-d", "store", tmp_path / "store")
    dvc("push")
    forget_and_pull(repository)


def test_an_s3_server_as_remote(repository, monkeypatch):
    moto = pytest.importorskip("moto.server", reason="moto's S3 server is not installed")
    boto3 = pytest.importorskip("boto3")
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=address)
        client.create_bucket(Bucket="faces")
        dvc("remote", "add", "-d", "store", "s3://faces/raw")
        dvc("remote", "modify", "store", "endpointurl", address)
        dvc("push")
        assert client.list_objects_v2(Bucket="faces")["KeyCount"] >= 1
        forget_and_pull(repository)
    finally:
        server.stop()


def test_a_new_version_redoes_what_depends_on_it_and_the_old_one_comes_back(repository):
    (repository / "fixed").write_text("x")
    (repository / "dvc.yaml").write_text(STAGES)
    assert dvc("repro").count("Running stage") == 2
    first = (repository / "data/raw/faces.zip.dvc").read_text()
    (repository / "data/raw/faces.zip").write_bytes(DATA[::-1])
    dvc("add", "data/raw/faces.zip")
    printed = dvc("repro")
    assert "Running stage 'one'" in printed
    assert printed.count("Running stage") == 1
    (repository / "data/raw/faces.zip.dvc").write_text(first)
    dvc("checkout", "data/raw/faces.zip.dvc")
    assert (repository / "data/raw/faces.zip").read_bytes() == DATA

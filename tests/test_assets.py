"""Files of detectors: found, fetched from a real server on loopback, refused, added by hand; and the command for it."""

import hashlib
import json

import pytest
from loopback import giving
from typer.testing import CliRunner

from ferflow import assets, detectors
from ferflow.assets import Asset, AssetError
from ferflow.cli import app
from ferflow.detectors import yunet
from ferflow.registry import names

DATA = bytes(range(256)) * 900
run = CliRunner().invoke


@pytest.fixture
def server():
    with giving(DATA) as found:
        yield found


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty working folder, and a cache and a chosen folder beside it."""
    monkeypatch.delenv("FERFLOW_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def asset(url: str, data: bytes = DATA) -> Asset:
    return Asset(url.rsplit("/", 1)[-1], url, hashlib.sha256(data).hexdigest(), "MIT")


def test_it_is_looked_for_in_the_chosen_folder_the_project_and_the_cache(places, monkeypatch):
    wanted = asset("http://x.invalid/m.onnx")
    assert assets.find(wanted) is None
    for folder in (places / "cache/ferflow", places / "work/models/detectors", places / "mine"):
        folder.mkdir(parents=True)
        (folder / "m.onnx").write_bytes(DATA)
        monkeypatch.setenv("FERFLOW_ASSETS", str(places / "mine"))
        found = assets.find(wanted)
        assert found is not None
        assert found.resolve() == folder / "m.onnx"
    assert assets.target_folder() == places / "mine"
    monkeypatch.delenv("FERFLOW_ASSETS")
    assert assets.target_folder() == places / "cache/ferflow"
    (places / "work/params.yaml").touch()
    assert assets.target_folder() == assets.PROJECT_FOLDER


def test_it_is_fetched_whole_once(places, server):
    url, seen = server
    wanted = asset(f"{url}/m.onnx")
    path = assets.get(wanted)
    assert path == assets.get(wanted) == assets.find(wanted) == places / "cache/ferflow/m.onnx"
    assert path.read_bytes() == DATA
    assert len(seen) == 1
    assert [file.name for file in path.parent.iterdir()] == ["m.onnx"]


def test_a_download_that_was_cut_off_goes_on_and_is_not_there_until_it_is_whole(places, server):
    url, seen = server
    wanted = asset(f"{url}/cut.onnx")
    with pytest.raises(AssetError, match=f"stopped after {len(DATA) // 2} of {len(DATA)} bytes"):
        assets.get(wanted)
    assert assets.find(wanted) is None
    assert assets.get(wanted).read_bytes() == DATA
    assert [part for _, part in seen] == [None, f"bytes={len(DATA) // 2}-"]


def test_wrong_content_is_refused_and_kept_aside(places, server):
    url, _ = server
    wanted = asset(f"{url}/wrong.onnx")
    with pytest.raises(AssetError, match=rf"expected {wanted.sha256}; what came is kept as .*wrong\.onnx\.bad"):
        assets.get(wanted)
    assert assets.find(wanted) is None
    assert (places / "cache/ferflow/wrong.onnx.bad").read_bytes().startswith(b"<html>")


def test_a_file_of_that_name_with_other_content_is_refused_and_replaced(places, server):
    url, _ = server
    wanted, folder = asset(f"{url}/m.onnx"), places / "cache/ferflow"
    folder.mkdir(parents=True)
    (folder / "m.onnx").write_bytes(b"something else")
    with pytest.raises(AssetError, match=r"is not the m\.onnx that is meant: its SHA-256 .* ferflow assets fetch"):
        assets.find(wanted)
    assert assets.get(wanted).read_bytes() == DATA
    assert (folder / "m.onnx.bad").read_bytes() == b"something else"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/m.onnx", "{server}/missing.onnx"])
def test_without_a_server_it_says_what_to_fetch_by_hand_and_where_to_put_it(url, places, server):
    wanted = asset(url.format(server=server[0]))
    with pytest.raises(AssetError) as error:
        assets.get(wanted)
    for words in (wanted.url, wanted.sha256, "MIT", str(places / "cache/ferflow" / wanted.file)):
        assert words in str(error.value)


def test_a_file_fetched_by_hand_is_checked_and_copied(places):
    wanted, file = asset("http://x.invalid/m.onnx"), places / "Downloads.onnx"
    with pytest.raises(AssetError, match="is no file"):
        assets.add(wanted, file)
    file.write_bytes(b"half")
    with pytest.raises(AssetError, match=r"expected .*Nothing was copied"):
        assets.add(wanted, file)
    assert not (places / "cache").exists()
    file.write_bytes(DATA)
    assert assets.add(wanted, file) == assets.find(wanted) == assets.add(wanted, places / "cache/ferflow/m.onnx")


@pytest.mark.parametrize("name", [name for name in names("detectors") if detectors.asset(name)])
def test_what_detectors_declare_can_be_fetched_or_says_that_it_is_yours(name, detector_files):
    declared = detectors.asset(name)
    assert declared.licence
    if declared.url:
        assert declared.url.startswith("https://")
        assert declared.url.split("?")[0].endswith("/" + declared.file), "a download is named after its address"
        if name not in detector_files:
            pytest.skip(f"{declared.file} is not in shared/models")
        assert hashlib.sha256(detector_files[name].read_bytes()).hexdigest() == declared.sha256
    else:
        with pytest.raises(AssetError, match="a file of your own"):
            assets.get(declared)


def test_the_command_lists_fetches_and_adds(places, server, monkeypatch):
    url, _ = server
    monkeypatch.setattr(yunet, "ASSET", asset(f"{url}/m.onnx"))
    listed = run(app, ["assets", "list"]).stdout
    assert "yunet      m.onnx: missing: ferflow assets fetch yunet [MIT]" in listed
    assert "yolo       yolo_face.onnx: missing: ferflow assets add yolo FILE" in listed
    assert "haar" not in listed
    fetched = run(app, ["assets", "fetch", "yunet"])
    assert (fetched.exit_code, fetched.stdout.split()) == (0, ["yunet:", str(places / "cache/ferflow/m.onnx")])
    rows = [json.loads(line) for line in run(app, ["assets", "list", "--json"]).stdout.splitlines()]
    (row,) = [row for row in rows if row["name"] == "yunet"]
    assert (row["found"], row["bytes"], row["licence"]) == (str(places / "cache/ferflow/m.onnx"), len(DATA), "MIT")
    (places / "my.onnx").write_bytes(b"any")
    assert run(app, ["assets", "add", "yolo", str(places / "my.onnx"), "--to", str(places / "mine")]).exit_code == 0
    assert (places / "mine/yolo_face.onnx").read_bytes() == b"any"


def test_the_command_fails_with_what_to_do(places, monkeypatch):
    monkeypatch.setattr(yunet, "ASSET", asset("http://127.0.0.1:9/m.onnx"))
    failed = run(app, ["assets", "fetch", "yunet", "--to", str(places / "mine")])
    assert failed.exit_code == 1
    for words in ("cannot be reached", "By hand", str(places / "mine/m.onnx"), "ferflow assets add yunet FILE"):
        assert words in failed.stderr
    unknown = run(app, ["assets", "fetch", "haar"])
    assert (
        unknown.exit_code,
        f"known: {', '.join(name for name in names('detectors') if detectors.asset(name))}" in unknown.stderr,
    ) == (1, True)
    wrong = run(app, ["assets", "add", "yunet", str(places / "none")])
    assert (wrong.exit_code, "is no file" in wrong.stderr) == (1, True)
    for command in ("list", "fetch", "add"):
        assert f"Example: ferflow assets {command}" in run(app, ["assets", command, "--help"]).output

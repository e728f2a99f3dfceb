import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ferflow import keys
from ferflow.cli import app
from ferflow.keys import Key, Keys, KeysError


@pytest.fixture
def store(tmp_path) -> Keys:
    return Keys(tmp_path / "state" / "keys.json")


def test_a_key_is_known_by_its_bits_alone_and_is_stored_nowhere(store):
    secret = store.add("lab", ["feedback", "predict"])
    found = store.check(secret)
    assert (found.name, found.scopes) == ("lab", ("predict", "feedback"))
    assert len(secret) >= 43  # 256 bits in base64
    text = store.path.read_text()
    assert secret not in text
    assert secret.removeprefix("ferflow_") not in text
    assert [store.check(wrong) for wrong in ("", secret[:-1], secret + "x", secret.upper(), "ü", "\udc80", "x" * 100_000)] == [
        None
    ] * 7


def test_two_keys_are_never_alike(store):
    assert len({store.add(f"n{number}", ["predict"]) for number in range(20)}) == 20


def test_the_file_is_private_and_so_is_what_replaces_it(store):
    store.add("a", ["predict"])
    store.add("b", ["predict"])
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["keys.json", "keys.json.lock"], "nothing half written"


def test_admin_opens_everything_and_others_what_they_say():
    assert all(Key("a", ("admin",)).may(scope) for scope in keys.SCOPES)
    assert [Key("a", ("feedback",)).may(scope) for scope in keys.SCOPES] == [False, True, False]


def test_whether_any_key_opens_a_scope(store):
    assert [store.any_with(scope) for scope in keys.SCOPES] == [False] * 3
    store.add("a", ["predict"])
    assert [store.any_with(scope) for scope in keys.SCOPES] == [True, False, False]
    store.add("b", ["admin"])
    assert [store.any_with(scope) for scope in keys.SCOPES] == [True] * 3


def test_what_another_process_adds_or_removes_counts_at_once(store):
    assert store.check("x") is None
    other = Keys(store.path)
    secret = other.add("late", ["predict"])
    assert store.check(secret).name == "late"
    other.remove("late")
    assert store.check(secret) is None


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [
        ("a b", ["predict"], "cannot be a key's name"),
        ("a\nb", ["predict"], "cannot be a key's name"),
        ("", ["predict"], "cannot be a key's name"),
        ("x" * 65, ["predict"], "cannot be a key's name"),
        ("anonymous", ["predict"], "cannot be a key's name"),
        ("a", [], "needs a scope"),
        ("a", ["root"], "no scope is called 'root'"),
    ],
)
def test_a_key_that_cannot_be_is_not_added(store, name, scopes, words):
    with pytest.raises(KeysError, match=words):
        store.add(name, scopes)
    assert not store.path.exists()


def test_a_name_is_given_once_and_must_be_there_to_be_removed(store):
    store.add("a", ["predict"])
    with pytest.raises(KeysError, match="already"):
        store.add("a", ["admin"])
    with pytest.raises(KeysError, match="there are: a"):
        store.remove("b")


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"keys": 3}',
        b'{"keys": [3]}',
        b'{"keys": [{"name": "a"}]}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        json.dumps({"keys": [{"name": "a", "scopes": ["admin"], "sha256": "short"}]}).encode(),
        json.dumps({"keys": [{"name": "a", "scopes": ["root"], "sha256": DIGEST}]}).encode(),
        json.dumps({"keys": [{"name": "a", "scopes": [[]], "sha256": DIGEST}]}).encode(),
        json.dumps({"keys": [{"name": "a\n", "scopes": ["admin"], "sha256": DIGEST}]}).encode(),
    ],
)
def test_a_damaged_file_opens_nothing_and_says_so_and_is_not_written_over(store, content, caplog):
    secret = store.add("a", ["admin"])
    assert store.check(secret)
    store.path.write_bytes(content)
    with caplog.at_level(logging.ERROR, "ferflow.keys"):
        assert store.check(secret) is None
        assert not store.any_with("feedback")
    assert len(caplog.records) == 1, "once, not at every request"
    assert "keys.json" in caplog.text
    for action in (lambda: store.add("b", ["predict"]), lambda: store.remove("a"), store.all):
        with pytest.raises(KeysError, match="damaged"):
            action()
    assert store.path.read_bytes() == content


def test_a_folder_in_its_place_opens_nothing(tmp_path):
    (tmp_path / "keys.json").mkdir()
    assert Keys(tmp_path / "keys.json").check("x") is None
    with pytest.raises(KeysError, match="cannot be read"):
        Keys(tmp_path / "keys.json").add("a", ["predict"])


def test_a_file_that_comes_back_counts_again(store):
    secret = store.add("a", ["admin"])
    content = store.path.read_bytes()
    store.path.write_bytes(b"?")
    assert store.check(secret) is None
    store.path.write_bytes(content)
    assert store.check(secret)


def test_every_stored_key_is_compared_whichever_it_is(store, monkeypatch):
    secrets = [store.add(f"k{number}", ["predict"]) for number in range(5)]
    compared = []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda one, two: compared.append(two) or real(one, two))
    for secret in (secrets[0], secrets[4], "wrong"):
        compared.clear()
        store.check(secret)
        assert len(compared) == 5


def test_processes_that_add_together_lose_no_key(store):
    code = "import sys\nfrom pathlib import Path\nfrom ferflow.keys import Keys\n"
    code += "for n in range(10): Keys(Path(sys.argv[1])).add(sys.argv[2] + str(n), ['predict'])"
    env = os.environ | {"PYTHONPATH": str(Path(keys.__file__).parent.parent)}
    running = [subprocess.Popen([sys.executable, "-c", code, str(store.path), name], env=env) for name in "abcd"]
    assert [one.wait(60) for one in running] == [0] * 4
    assert len(store.all()) == 40


def ask(*words: str):
    return CliRunner().invoke(app, ["keys", *words])


def test_the_command_adds_lists_and_removes(tmp_path):
    file = ["--file", str(tmp_path / "keys.json")]
    added = ask("add", "lab", "--scopes", "predict, feedback", *file)
    secret = added.stdout.strip()
    assert added.exit_code == 0
    assert Keys(tmp_path / "keys.json").check(secret).scopes == ("predict", "feedback")
    listed = ask("list", *file)
    assert "lab" in listed.output
    assert secret not in listed.output
    assert json.loads(ask("list", "--json", *file).stdout)["name"] == "lab"
    again = ask("add", "lab", "--scopes", "predict", *file)
    assert again.exit_code == 1
    assert "already" in again.output
    assert ask("remove", "lab", *file).exit_code == 0
    assert "feedback and admin are closed" in ask("list", *file).output
    assert ask("remove", "lab", *file).exit_code == 1


def test_the_command_takes_the_project_s_file_or_says_where_to_run_it(tmp_path, monkeypatch, settings):
    monkeypatch.chdir(tmp_path)
    missing = ask("list")
    assert missing.exit_code == 1
    assert "project's root" in missing.output
    (tmp_path / "params.yaml").write_text((Path(__file__).parent.parent / "params.yaml").read_text())
    assert ask("add", "lab", "--scopes", "predict").exit_code == 0
    assert (tmp_path / settings.serve.keys).is_file()


@pytest.mark.parametrize("command", ["add", "list", "remove"])
def test_help_has_an_example(command):
    assert f"Example: ferflow keys {command}" in ask(command, "--help").output

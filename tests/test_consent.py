"""Crops kept with consent: where they lie, who may read them, and how they go."""

import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from liverows import command

from ferflow.consent import Crops
from ferflow.images import decode

FACE = np.random.default_rng(0).integers(0, 255, (32, 24, 3), dtype=np.uint8)
DAY = 86_400


@pytest.fixture
def crops(tmp_path) -> Crops:
    return Crops(tmp_path / "kept" / "crops", keep_days=30)


def test_a_crop_lies_in_the_folder_of_its_day_and_only_its_owner_may_read_it(crops):
    one = uuid4().hex
    assert crops.keep(one, FACE)
    assert crops.keep(one, FACE), "again: the same file"
    (path,) = crops.paths()
    assert (path.parent.name, path.name) == (f"{datetime.now(UTC):%Y-%m-%d}", f"{one}.png")
    assert (decode(path.read_bytes()) == FACE).all()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path], "nothing unfinished is left"


@pytest.mark.parametrize(
    "bad", ["", "../../etc/passwd", "a" * 31, "A" * 32, "a" * 31 + "/", "*" * 32, "a" * 32 + "\n", "/" + "a" * 32]
)
def test_nothing_from_outside_becomes_a_path(crops, tmp_path, bad):
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        crops.keep(bad, FACE)
    assert crops.forget(bad) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_crop_is_forgotten(crops):
    ids = [uuid4().hex for _ in range(3)]
    assert all(crops.keep(one, FACE) for one in ids)
    assert crops.forget(ids[1]) == 1
    assert crops.forget(ids[1]) == 0
    assert sorted(path.stem for path in crops.paths()) == sorted([ids[0], ids[2]])


def aged(crops: Crops, days: float) -> Path:
    """A crop of so many days ago, as it would lie there."""
    one = uuid4().hex
    assert crops.keep(one, FACE)
    (path,) = (path for path in crops.paths() if path.stem == one)
    then = datetime.now(UTC) - timedelta(days=days)
    old = path.parent.with_name(f"{then:%Y-%m-%d}") / path.name
    old.parent.mkdir(exist_ok=True)
    path.rename(old)
    os.utime(old, (then.timestamp(), then.timestamp()))
    return old


def test_what_is_older_than_its_time_goes_and_nothing_else(crops, tmp_path):
    young, old, older = aged(crops, 29.9), aged(crops, 30.1), aged(crops, 400)
    copied = aged(crops, 200)
    os.utime(copied)  # a copy from a backup: its file is new, its day is not
    note = old.parent / "note.txt"
    note.write_text("not ours")
    killed, writing = (young.parent / f".{uuid4().hex}.tmp" for _ in range(2))
    for path in (killed, writing):
        path.touch()
    os.utime(killed, (time.time() - DAY, time.time() - DAY))
    assert crops.purge() == 3
    assert crops.paths() == [young]
    assert note.exists()
    assert not killed.exists()
    assert writing.exists()
    assert not older.parent.exists()
    assert not copied.parent.exists()
    assert crops.purge() == 0
    assert Crops(tmp_path / "nowhere", 1).purge() == 0


FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from ferflow.consent import Crops
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
crops = Crops(Path(sys.argv[1]), 1)
noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
assert not crops.keep("a" * 32, noise) and not crops.keep("b" * 32, noise)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert crops.keep("c" * 32, noise)
print(*(path.name for path in Path(sys.argv[1]).rglob("*") if path.is_file()))
"""


def test_a_full_disk_keeps_no_crop_fails_nobody_and_is_said_once(tmp_path):
    done = subprocess.run(command(FULL, tmp_path / "crops"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["c" * 32 + ".png"]
    assert done.stderr.count("are not kept") == 1


def test_crops_leave_some_of_the_disk_to_others_and_a_file_in_the_way_fails_nobody(tmp_path, caplog):
    assert not Crops(tmp_path / "crops", 1, leave_free=1 << 62).keep("a" * 32, FACE)
    assert "are free" in caplog.text
    (tmp_path / "file").touch()
    assert not Crops(tmp_path / "file", 1).keep("a" * 32, FACE)

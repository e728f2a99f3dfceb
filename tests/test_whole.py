"""A text file is written whole: the old text or the new one, through links, with its mode, and where it is a mount of its own."""

import errno
from pathlib import Path

import pytest

from ferflow.whole import write_whole


def test_a_link_stays_and_so_does_the_mode(tmp_path):
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_whole(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_what_cannot_be_replaced_is_written_in_place_and_other_errors_are_raised(tmp_path, monkeypatch):
    path = tmp_path / "mounted.yaml"
    path.write_text("old")

    def refused(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "replace", refused)
    number = errno.EBUSY
    write_whole(path, "new")
    assert path.read_text() == "new"
    number = errno.EACCES
    with pytest.raises(OSError, match="refused"):
        write_whole(path, "newer")
    assert path.read_text() == "new"

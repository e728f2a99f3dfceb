"""Downloads from a real server on loopback: whole, in two goes, damaged, and not at all."""

import hashlib

import pytest
from loopback import giving

from ferflow import downloads
from ferflow.datasets import About, Remote

DATA = bytes(range(256)) * 4000


@pytest.fixture
def server():
    with giving(DATA) as found:
        yield found


def about(*remotes, **changes) -> About:
    words = {"title": "Faces", "faces": "3", "terms": "free", "homepage": "http://page.invalid", "layout": "x.csv"}
    return About(**words, remotes=remotes, **changes)


def test_a_file_is_fetched_checked_and_kept(server, tmp_path):
    url, seen = server
    remote = Remote(f"{url}/x.csv", hashlib.sha256(DATA).hexdigest())
    assert downloads.download("x", about(remote), tmp_path / "raw") == [tmp_path / "raw/x.csv"]
    assert (tmp_path / "raw/x.csv").read_bytes() == DATA
    downloads.download("x", about(remote), tmp_path / "raw")
    assert len(seen) == 1, "what is there is not fetched again"


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    url, seen = server
    remote = Remote(f"{url}/cut.csv", hashlib.sha256(DATA).hexdigest())
    with pytest.raises(downloads.DownloadError, match="512000 of 1024000 bytes; the same command goes on"):
        downloads.download("x", about(remote), tmp_path)
    assert downloads.download("x", about(remote), tmp_path)[0].read_bytes() == DATA
    assert [rng for _, rng in seen] == [None, "bytes=512000-"]


def test_an_answer_in_chunks_that_breaks_off_is_no_traceback(server, tmp_path):
    url, _ = server
    with pytest.raises(downloads.DownloadError, match=r"chunked\.csv broke off .*the same command goes on"):
        downloads.download("x", about(Remote(f"{url}/chunked.csv")), tmp_path)
    assert downloads.download("x", about(Remote(f"{url}/chunked.csv")), tmp_path)[0].read_bytes() == DATA


def test_a_copy_from_kaggle_that_was_interrupted_is_made_anew(tmp_path, monkeypatch):
    import kagglehub

    cache = tmp_path / "cache"
    cache.mkdir()
    for name in "abc":
        (cache / name).write_text(name)
    monkeypatch.setattr(kagglehub, "dataset_download", lambda _handle: str(cache))
    (tmp_path / "raw/x.part").mkdir(parents=True)
    (tmp_path / "raw/x.part/a").write_text("ha")
    (found,) = downloads.download("x", about(kaggle="who/what"), tmp_path / "raw")
    assert sorted(path.read_text() for path in found.iterdir()) == ["a", "b", "c"]


def test_a_finished_part_is_not_fetched_again(server, tmp_path):
    url, _ = server
    (tmp_path / "x.csv.part").write_bytes(DATA)
    assert downloads.fetch(Remote(f"{url}/x.csv"), tmp_path).read_bytes() == DATA


def test_a_wrong_checksum_fails_and_loses_nothing(server, tmp_path):
    url, _ = server
    with pytest.raises(downloads.DownloadError, match=r"expected 00; what came is kept as .*x\.csv\.bad"):
        downloads.download("x", about(Remote(f"{url}/x.csv", "00")), tmp_path)
    assert (tmp_path / "x.csv.bad").read_bytes() == DATA
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("url", ["{server}/missing.csv", "http://127.0.0.1:9/x.csv"])
def test_what_cannot_be_had_says_what_to_do_by_hand(url, server, tmp_path):
    with pytest.raises(downloads.DownloadError) as error:
        downloads.download("x", about(Remote(url.format(server=server[0]))), tmp_path)
    for words in ("http://page.invalid", "free", "x.csv", "ferflow data import x PATH", str(tmp_path)):
        assert words in str(error.value)


def test_kaggle_is_asked_through_its_client_and_a_failure_is_explained(tmp_path, monkeypatch):
    kagglehub = pytest.importorskip("kagglehub")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/a.jpg").write_bytes(b"x")
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: str(tmp_path / "cache"))
    (made,) = downloads.download("x", about(kaggle="who/what"), tmp_path / "raw")
    assert (made / "a.jpg").read_bytes() == b"x"

    def offline(handle):
        raise RuntimeError("no network")

    monkeypatch.setattr(kagglehub, "dataset_download", offline)
    assert downloads.download("x", about(kaggle="who/what"), tmp_path / "raw") == [made]
    with pytest.raises(downloads.DownloadError, match=r"(?s)no network.*kaggle\.com/datasets/who/what"):
        downloads.download("y", about(kaggle="who/what"), tmp_path / "raw")


def test_what_asks_for_an_agreement_is_only_explained(server, tmp_path):
    url, seen = server
    with pytest.raises(downloads.DownloadError, match="ask them"):
        downloads.download("x", about(Remote(f"{url}/x.csv"), agreement=True, by_hand="ask them"), tmp_path)
    assert seen == []

"""API keys: made, stored as hashes in one JSON file, and compared in constant time. It knows no HTTP and no service.

A key is 256 random bits and is shown once. Stored is its SHA-256 (a slow hash is for passwords, which can be guessed; this
cannot). The file is private (0600), written whole or not at all, and read again when it changes.
"""

import hmac
import json
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

SCOPES = ("predict", "feedback", "admin")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = "ferflow_"  # by which people, and programs that look for leaked secrets, know one
_TAKEN = ("anonymous",)  # what requests without a key are called

log = logging.getLogger("ferflow.keys")


class KeysError(ValueError):
    """A key that cannot be added or removed, or a file that cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Key:
    """Whose key it is, what it opens, and when it was made (ISO 8601, UTC). The key itself is nowhere."""

    name: str
    scopes: tuple[str, ...]
    created: str = ""

    def may(self, scope: str) -> bool:
        """Whether it opens ``scope``; admin opens everything."""
        return scope in self.scopes or "admin" in self.scopes


class Keys:
    """The keys in one file; a file that is not there holds none.

    Asking (``check``, ``any_with``) never raises: a file that cannot be read opens nothing, and the log says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._keys: dict[str, Key] = {}  # by digest

    def add(self, name: str, scopes: Iterable[str]) -> str:
        """Make a key and return it: the only time that it can be seen. ``KeysError`` for a name or scope that cannot be."""
        chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise KeysError(f"{name!r} cannot be a key's name: 1 to 64 letters, digits, '.', '_' or '-', and not 'anonymous'")
        if unknown := sorted(set(scopes) - set(SCOPES)):
            raise KeysError(f"no scope is called {unknown[0]!r}; there are {', '.join(SCOPES)}")
        if not chosen:
            raise KeysError(f"a key needs a scope: {', '.join(SCOPES)}")
        with self._locked():
            keys = self._read()
            if any(key.name == name for key in keys.values()):
                raise KeysError(f"there is a key called {name!r} already; remove it first, or take another name")
            secret = _PREFIX + secrets.token_urlsafe(32)
            keys[_digest(secret)] = Key(name, chosen, datetime.now(UTC).isoformat(timespec="seconds"))
            self._write(keys)
        return secret

    def remove(self, name: str) -> None:
        """Forget a key; who uses it is refused from the next request on. ``KeysError`` where there is none."""
        with self._locked():
            keys = self._read()
            left = {digest: key for digest, key in keys.items() if key.name != name}
            if len(left) == len(keys):
                names = ", ".join(key.name for key in keys.values()) or "none at all"
                raise KeysError(f"no key is called {name!r}; there are: {names}")
            self._write(left)

    def all(self) -> list[Key]:
        """Every key, in the order in which they were added. ``KeysError`` for a file that cannot be read."""
        return list(self._read().values())

    def check(self, secret: str) -> Key | None:
        """Whose key this is; None if nobody's. Takes as long whichever it is: every stored key is compared to the end."""
        presented, found = _digest(secret), None
        for digest, key in self._current().items():
            if hmac.compare_digest(presented, digest):
                found = key
        return found

    def any_with(self, scope: str) -> bool:
        """Whether there is a key that opens ``scope``."""
        return any(key.may(scope) for key in self._current().values())

    def _current(self) -> dict[str, Key]:
        try:
            state = self.path.stat()
            seen: tuple[int, ...] = (state.st_mtime_ns, state.st_size, state.st_ino)
        except FileNotFoundError:
            seen = ()
        except OSError:
            seen = (-1,)
        if seen != self._seen:
            self._seen = seen
            try:
                self._keys = self._read()
            except KeysError as error:
                self._keys = {}
                log.error("no API key is accepted: %s", error)
        return self._keys

    def _read(self) -> dict[str, Key]:
        try:
            rows = json.loads(self.path.read_bytes())["keys"]
            return dict(self._entry(row) for row in rows)
        except FileNotFoundError:
            return {}
        except KeysError:
            raise
        except OSError as error:
            raise KeysError(f"{self.path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise KeysError(self._damaged("it is not what 'ferflow keys add' writes")) from error

    def _entry(self, row: dict[str, Any]) -> tuple[str, Key]:
        digest, key = str(row["sha256"]), Key(str(row["name"]), tuple(row["scopes"]), str(row.get("created", "")))
        if not _DIGEST.fullmatch(digest) or not _NAME.fullmatch(key.name) or not set(key.scopes) <= set(SCOPES):
            raise KeysError(self._damaged(f"the entry of {key.name[:64]!r} is wrong"))
        return digest, key

    def _damaged(self, why: str) -> str:
        return f"{self.path} is damaged ({why}); restore it, or move it away and add the keys again"

    def _write(self, keys: dict[str, Key]) -> None:
        rows = [asdict(key) | {"sha256": digest} for digest, key in keys.items()]
        handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name, suffix=".part")  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"keys": rows}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(part).replace(self.path)
        except OSError as error:
            Path(part).unlink(missing_ok=True)
            raise KeysError(f"{self.path} cannot be written: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, of all processes. The lock is a file of its own: the file of the keys is replaced."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_name(self.path.name + ".lock").open("ab")
        except OSError as error:
            raise KeysError(f"{self.path} cannot be written: {error.strerror}") from error
        with lock:
            try:
                import fcntl
            except ImportError:  # not on Windows: one administrator at a time there
                yield
                return
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()

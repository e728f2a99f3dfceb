"""A real PostgreSQL server for tests: on loopback, in a folder of its own, to be killed and started again.

``conftest.py`` has the fixture ``postgres``: a server a module; ``postgres.database()`` is an empty database for a test. Skipped
with a reason where PostgreSQL is not installed (Debian: apt-get install postgresql).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from loopback import free_port

PASSWORD = "only-for-tests"


def _program(name: str) -> str:
    """The newest one: Debian keeps them out of PATH."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parent.parent.name))
    found = str(kept[-1]) if kept else shutil.which(name)
    if found is None:
        pytest.skip(f"PostgreSQL's {name} is not installed")
    return found


def _user() -> str | None:
    """PostgreSQL refuses to run as root: the user it runs as instead."""
    if os.geteuid() != 0:
        return None
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    pytest.skip("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


class Postgres:
    """The server. ``start``, ``stop``; ``kill`` is what a crash does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user, self.port = folder, _user(), free_port()
        self._server: subprocess.Popen | None = None
        if self.user:
            shutil.chown(folder, self.user)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        how = ["--username=ferflow", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
        self._run([_program("initdb"), *how, "--no-sync", "--no-instructions", str(folder / "data")])

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, user=self.user, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start and wait until it answers. After a kill it waits for the old server's memory to be let go."""
        for _ in range(50):
            if self._started():
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _started(self) -> bool:
        import psycopg

        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        command = [_program("postgres"), "-D", str(self.folder / "data"), *(part for one in settings for part in ("-c", one))]
        with (self.folder / "log").open("a") as log:
            self._server = subprocess.Popen(command, user=self.user, cwd=self.folder, stdout=log, stderr=log)
        for _ in range(600):
            if self._server.poll() is not None:
                return False
            try:
                psycopg.connect(self.url("postgres", driver="postgresql"), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        return False

    def url(self, database: str, driver: str = "postgresql+psycopg") -> str:
        return f"{driver}://ferflow:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The address of a new, empty database."""
        import psycopg

        name = f"t{uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres", driver="postgresql"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def kill(self) -> None:
        """SIGKILL: no farewell to clients, no checkpoint."""
        self._end(signal.SIGKILL)

    def immediate(self) -> None:
        """What ``pg_ctl stop -m immediate`` does: every connection is cut, nothing is finished."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """It hangs: connections stay, nobody answers."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        import psutil

        assert self._server is not None
        server = psutil.Process(self._server.pid)
        for process in (server, *server.children(recursive=True)):
            process.send_signal(number)

    def _end(self, number: int) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(number)
            self._server.wait(timeout=30)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    _program("postgres")
    with tempfile.TemporaryDirectory(prefix="ferflow-postgres-") as folder:  # pytest's own folders are closed to other users
        server = Postgres(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()

"""Deployments and runs of a Prefect server, over HTTP: start one, wait for one. Loads in no time, as Prefect does not.

It knows no flow by name.
"""

import time
from collections.abc import Callable
from json import dumps, loads
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class RemoteError(RuntimeError):
    """What Prefect's server does not do, or not in time; the message says what."""


class Prefect:
    """A server by its API's address."""

    def __init__(self, api: str) -> None:
        self.api = api.rstrip("/")

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON; None where there is no such thing, or no server at the moment."""
        data = None if body is None else dumps(body).encode()
        try:
            with urlopen(Request(f"{self.api}{path}", data, {"content-type": "application/json"}), timeout=30) as reply:
                return loads(reply.read() or b"{}")
        except HTTPError as error:
            if error.code in (404, 503):
                return None
            raise RemoteError(f"Prefect answers {error.code} to {path}: {error.read()[:500]!r}") from error
        except OSError:
            return None

    def deployment(self, flow: str, name: str = "scheduled") -> dict[str, Any] | None:
        """A deployment; None where it is not there (yet)."""
        found: dict[str, Any] | None = self.ask(f"/deployments/name/{flow}/{name}")
        return found

    def start(self, flow: str, parameters: dict[str, Any] | None = None) -> str:
        """Start a run of a deployment that is served; its id."""
        deployment = wait_until(f"{flow} is served", lambda: self.deployment(flow), 180)
        return str(self.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters or {}})["id"])

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """All runs of a flow, in the order in which they were made."""
        found = self.ask("/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}}) or []
        return sorted(found, key=lambda run: str(run["created"]))

    def state(self, run: str) -> dict[str, Any]:
        """A run's state; empty while the server is away."""
        return (self.ask(f"/flow_runs/{run}") or {}).get("state") or {}

    def end(self, run: str, seconds: float) -> str:
        """Wait for a run to end; the name of its last state."""

        def name() -> str | None:
            found = self.state(run)
            return str(found["name"]) if found.get("type") in _ENDED else None

        return str(wait_until(f"the run {run} ends", name, seconds, 1))


def wait_until(what: str, condition: Callable[[], Any], seconds: float, every_s: float = 0.5) -> Any:
    """The first true value of ``condition``; ``RemoteError`` where there is none in time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise RemoteError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every_s)
    return found

"""``make drill``: the whole loop on drawn faces, with the real service, registry, log and Prefect server, as a timeline.

A champion serves. The camera gets dark, which monitoring notices; people say what the dark faces really show; the event starts
a retraining, the gate promotes, and the service takes the new version up while a client keeps asking. Then somebody teaches
it wrong labels: the gate refuses what comes of them. Last, a rollback.

    python -m flows.drill [--short] [--keep FOLDER]

It plays in a copy of the project in a folder of its own: data, models, params.yaml and mlflow.db of this one are not touched.
"""

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import loads
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ferflow.keys import Keys
from ferflow.vocabulary import EXPRESSIONS
from flows.rehearsal import Camera, Copy, DrillError, Service, Told, accuracy, asking, free_port, mailbox, ready
from flows.remote import Prefect, RemoteError, wait_until


@dataclass(frozen=True)
class Size:
    """How large the play is. ``faces`` of the data, ``side`` of a face in pixels, ``live`` faces before the camera each time,
    ``poison``: wrong labels. ``margin``: the gate's; few test faces show little, so it is wide."""

    faces: int
    side: int
    epochs: int
    width: int
    live: int
    poison: int
    margin: float


FULL = Size(faces=2000, side=32, epochs=14, width=16, live=400, poison=1500, margin=0.1)
SHORT = Size(faces=1600, side=32, epochs=12, width=16, live=300, poison=1200, margin=0.15)
NIGHT = 0.25  # of the light of day
_PATIENCE_S = 1800  # for what takes two minutes on an idle machine
_FEW = 120  # faces of a short look


@dataclass
class Timeline:
    """What happened, and when; what was expected of it, and whether it was so."""

    began: float = field(default_factory=time.monotonic)
    broken: list[str] = field(default_factory=list)
    checked: int = 0

    def say(self, words: str) -> None:
        """Something happened."""
        seconds = time.monotonic() - self.began
        print(f"{int(seconds // 60):2d}:{int(seconds % 60):02d}  {words}", flush=True)

    def expect(self, what: str, so: bool) -> None:
        """Something had to be so."""
        self.checked += 1
        self.say(f"      {'ok ' if so else 'NOT'}  {what}")
        if not so:
            self.broken.append(what)


class Drill:
    """The story, step by step; every step stands on the one before."""

    def __init__(self, folder: Path, size: Size, post: str) -> None:
        self.size, self.time, self.port = size, Timeline(), free_port()
        self.copy = Copy(folder, lambda params: _small(params, size, post))
        self.camera = Camera(size.side, seed=7)
        self.prefect = Prefect(self.copy.prefect)
        self.by_day = self.at_night = 0.0
        self.run = ""

    def play(self, mail: list[dict[str, Any]]) -> bool:
        """All of it; whether everything was as it had to be."""
        tell = self.time
        tell.say(f"a copy of the project in {self.copy.folder}")
        self.copy.run("dvc", "repro")
        tell.say(f"the pipeline has run on {self.size.faces} drawn faces; version 1 is champion")
        service = self.begin()
        night = self.darkness(service)
        self.retrained(service, night)
        self.poisoned(service)
        self.rolled_back(service)
        wanted = ["ferflow.retraining.promoted", "ferflow.retraining.refused"]
        events = [str(one["event"]) for one in mail]
        tell.expect(f"the webhook was told: {', '.join(events) or 'nothing'}", all(name in events for name in wanted))
        return not tell.broken

    def begin(self) -> Service:
        """The service and the schedule are up, and by day nothing drifts."""
        key = Keys(self.copy.folder / ".ferflow/keys.json").add("drill", ["admin"])
        self.copy.start("serve.log", "bentoml", "serve", "--port", str(self.port))
        self.copy.start("schedule.log", "flows.schedule")
        service = Service(f"http://127.0.0.1:{self.port}", key)
        wait_until("the service answers", lambda: ready(f"{service.url}/readyz"), 300)
        self.time.say(f"the service answers with {service.version()}")
        since = _now()
        day = service.watch(self.camera.faces(self.size.live))
        self.by_day = accuracy(day)
        self.time.say(f"{len(day)} faces by day: {_percent(self.by_day)} right")
        wait_until("the schedule serves", lambda: self.prefect.deployment("monitoring"), 300)
        self.time.say("Prefect serves the deployments")
        verdict = self.look(since)
        self.time.expect(f"monitoring by day says: {verdict}", verdict == "no drift")
        return service

    def look(self, since: str) -> str:
        """Run the monitoring flow by its deployment; its verdict."""
        time.sleep(2)  # the log is written behind the service's back
        state = self.prefect.end(self.prefect.start("monitoring", {"since": since}), _PATIENCE_S)
        if state != "Completed":
            raise DrillError(f"the monitoring flow ended: {state}; see schedule.log and .ferflow/schedule.log")
        return str(loads((self.copy.folder / "reports/drift/latest.json").read_text())["verdict"])

    def darkness(self, service: Service) -> list[Told]:
        """The camera gets dark; monitoring raises the alarm, an event; people say what the faces show; the event comes again."""
        self.time.say(f"the camera gets dark: {NIGHT:g} of the light")
        since = _now()
        night = service.watch(self.camera.faces(self.size.live, NIGHT), consent=True)
        self.at_night = accuracy(night)
        self.time.expect(f"{len(night)} faces at night: {_percent(self.at_night)} right", self.at_night < self.by_day)
        verdict = self.look(since)
        self.time.expect(f"monitoring at night says: {verdict}", verdict == "drift")
        (run,) = wait_until("the event starts a retraining", lambda: self.prefect.runs("retrain"), 90)
        state = self.prefect.end(str(run["id"]), _PATIENCE_S)
        self.time.expect(f"the event starts a retraining, which ends: {state}, as nobody has said anything", state == "TooFew")
        taken = service.teach(night)
        self.time.expect(f"of {taken} of these faces people say what they really show", taken == len(night))
        verdict = self.look(since)
        self.time.expect(f"the next look at the same night says: {verdict}", verdict == "drift")
        runs = wait_until("the event starts another one", lambda: self.prefect.runs("retrain")[1:], 90)
        self.time.say(f"its event starts another retraining, {runs[-1]['parameters']}")
        self.run = str(runs[-1]["id"])
        return night

    def retrained(self, service: Service, night: list[Told]) -> None:
        """The gate promotes, and the service swaps, while a client keeps asking."""
        with asking(service, [one.shown for one in night[:50]]) as client:
            state = self.prefect.end(self.run, _PATIENCE_S)
            self.time.expect(f"the retraining ends: {state}", state == "Promoted")
            self.show_decision()
            self.follows(service, 2)
            time.sleep(1)
        failed = sum(count for status, count in client.statuses.items() if status != 200)
        asked = sum(client.statuses.values())
        words = f"{asked} requests meanwhile, {failed} failed, the slowest took {client.slowest_s:.2f} s"
        self.time.expect(words, not failed and asked > 0)
        better = accuracy(service.watch(self.camera.faces(_FEW, NIGHT)))
        words = f"new faces at night: {_percent(better)} right, {_percent(self.at_night)} before"
        self.time.expect(words, better > self.at_night)

    def follows(self, service: Service, version: int) -> None:
        """The service takes up what the registry says."""
        name = f"{self.copy.model}/{version}"
        with suppress(RemoteError):
            wait_until("the service swaps", lambda: service.version() == name, 30, 0.1)
        answers = service.version()
        self.time.expect(f"the service answers with {answers}", answers == name)

    def poisoned(self, service: Service) -> None:
        """Wrong labels go in, and the gate refuses what comes of them."""
        files = [self.copy.folder / name for name in ("params.yaml", "dvc.lock")]
        before = [path.read_text() for path in files]
        poison = service.watch(self.camera.faces(self.size.poison), consent=True)
        taken = service.teach(poison, lambda name: EXPRESSIONS[(EXPRESSIONS.index(name) + 3) % len(EXPRESSIONS)])
        self.time.say(f"somebody says of {taken} faces what they do not show")
        time.sleep(2)
        with asking(service, [one.shown for one in poison[:50]]) as client:
            state = self.prefect.end(self.prefect.start("retrain", {"why": "poisoned feedback"}), _PATIENCE_S)
        self.time.expect(f"the retraining ends: {state}", state == "Refused")
        self.show_decision()
        self.time.expect("params.yaml and dvc.lock are as they were", [path.read_text() for path in files] == before)
        self.time.expect("the refused data is kept for a look", (self.copy.folder / "data/versions/2.parquet").exists())
        versions = set(client.versions)
        self.time.expect(f"the service went on with {', '.join(versions)}", versions == {f"{self.copy.model}/2"})

    def rolled_back(self, service: Service) -> None:
        """One command brings the champion before back."""
        said = self.copy.run("ferflow.cli", "rollback", "--why", "the drill ends")
        self.time.say(next(line for line in said.splitlines() if "is champion" in line))
        self.follows(service, 1)

    def show_decision(self) -> None:
        """The gate's table."""
        for row in loads((self.copy.folder / "reports/gate/latest.json").read_text())["rows"]:
            mark, figures = "    " if row["passed"] else "fail", f"{row['champion']:>12s} {row['challenger']:>12s}"
            self.time.say(f"      {mark} {row['check']:14s} {figures}  {row['why']}")


def _small(params: dict[str, Any], size: Size, post: str) -> None:
    params["dataset"] = {
        "source": "synthetic",
        "path": "src/ferflow/datasets/synthetic.yaml",
        "image_size": size.side,
        "options": {"count": size.faces, "size": size.side},
    }
    params["validate"]["face_sample"] = 20
    params["training"] |= {"epochs": size.epochs, "batch_size": 32}
    params["members"] = {"rgb": {"backbone": "cnn", "modality": "rgb", "recipe": "none", "options": {"width": size.width}}}
    params["students"] = {}
    params["evaluate"]["resamples"] = 100  # nobody reads the pipeline's report here; the gate takes its own 1000
    params["robustness"]["faces"] = 0
    params["export"]["faces"] = 100
    params["serve"] |= {"detector": "none", "poll_s": 0.3, "log": "sqlite:///.ferflow/live.db", "keys": ".ferflow/keys.json"}
    params["monitor"] = {"min_rows": 200, "draws": 150, "cron": ""}
    params["gate"] = {"margin": size.margin, "live_margin": size.margin, "class_floor": 0.05, "fairness_gap": 0.25}
    params["gate"] |= {"ece": 0.3, "latency_ratio": 4.0}
    params["retrain"] = {"min_feedback": 100, "hold_out": 0.25, "cron": "", "webhook": post}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def perform(size: Size, folder: Path) -> bool:
    """Play the drill in ``folder``; whether everything was as it had to be."""
    with mailbox() as (address, mail):
        drill = Drill(folder, size, address)
        good = False
        try:
            good = drill.play(mail)
        except RemoteError as error:
            drill.time.say(f"the drill stops: {error}")
        finally:
            drill.copy.stop()
    minutes = (time.monotonic() - drill.time.began) / 60
    verdict = f"all {drill.time.checked} expectations were met"
    if not good:
        verdict = f"NOT as it should be: {'; '.join(drill.time.broken) or 'it stopped'}"
    drill.time.say(f"verdict: {verdict}; {minutes:.1f} minutes")
    return good


def main() -> int:
    """The command line; 0 where everything was as it had to be."""
    parser = argparse.ArgumentParser(prog="python -m flows.drill", description="Play the whole loop on drawn faces.")
    parser.add_argument("--short", action="store_true", help="fewer faces")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder to play in, which stays")
    asked = parser.parse_args()
    size = SHORT if asked.short else FULL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started here is stopped
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))
    if asked.keep:
        if asked.keep.exists():
            parser.error(f"{asked.keep} is there already")
        asked.keep.mkdir(parents=True)
        return 0 if perform(size, asked.keep.resolve()) else 1
    with TemporaryDirectory(prefix="ferflow-drill-", ignore_cleanup_errors=True) as folder:
        return 0 if perform(size, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())

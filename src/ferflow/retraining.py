"""One retraining as a transaction on the project's folder: fold, train, judge; promote, or take everything back.

A journal is on disk from the first change to the last, so that a process that is killed leaves nothing half done: whoever
starts next goes on, and DVC knows what is done already. It knows MLflow (through ``tracking``) and DVC's command, and no Prefect.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from ferflow import evidence, folding, params, presets, tracking
from ferflow.consent import Crops
from ferflow.frozen import TEST_FACES
from ferflow.gate import Decision, decide
from ferflow.stages import DATA_REPORTS, HOPELESS, MANIFEST, REGISTRATION, RELEASE, REPORTS, SPLITS, read_json
from ferflow.whole import write_whole

STATE = Path(".ferflow/retraining")
JOURNAL = STATE / "journal.json"
GATE_REPORTS = REPORTS / "gate"
WANTED = STATE / "wanted"  # an alarm asked for a retraining, and too little feedback waited
_EXITED = re.compile(r"exited with (-?\d+)")
_LOCKFILE, _OUTPUT = STATE / "lock", STATE / "dvc.log"
_DVC_LOCK = Path("dvc.lock")
_BY_GATE = "gate:"  # how the words of a promotion begin that nobody made by hand
_AGAIN_S = 24 * 3600.0  # until an alarm whose retraining failed is sent again
_RESAMPLES = 1000  # at least: of two columns of right and wrong they cost nothing
_KEPT = (params.PARAMS_FILE, _DVC_LOCK, params.PARAMS_FILE.with_name(presets.BACKUP))

Say = Callable[[str], None]


class RetrainError(RuntimeError):
    """A retraining that cannot go on; the message says why. ``hopeless``: trying again would not help."""

    def __init__(self, message: str, hopeless: bool = True) -> None:
        super().__init__(message)
        self.hopeless = hopeless


@dataclass(frozen=True)
class Journal:
    """What a retraining has changed: the texts of files as they were (None: no such file), and the version of the data.

    ``after``: params.yaml as the retraining wrote it. ``ending``: what the version is called once everything is taken back, which
    has begun; whoever starts next has to end it, as half of the folder is old by then.
    """

    before: dict[str, str | None]
    after: str | None = None
    version: int | None = None
    ending: str = ""
    why: str = ""
    going_on: int = 0  # how often another process took it up
    challenger: int | None = None  # the version that had the alias
    base: int | None = None  # the version whose settings and data were gone on from; None: it does not matter

    def save(self) -> "Journal":
        """Write it to its file, whole or not at all."""
        STATE.mkdir(parents=True, exist_ok=True)
        write_whole(JOURNAL, json.dumps(asdict(self)))
        return self


def unfinished() -> Journal | None:
    """The retraining that was begun and not ended; None: there is none."""
    return Journal(**json.loads(JOURNAL.read_text())) if JOURNAL.exists() else None


@contextmanager
def alone(wait_s: float = 0.0) -> Iterator[IO[bytes]]:
    """The one retraining of this folder; ``RetrainError`` where another one is still at work after ``wait_s``.

    DVC's process holds the lock, too: one whose parent was killed is waited for.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    until, told = time.monotonic() + wait_s, False
    with _LOCKFILE.open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    raise RetrainError("another retraining is at work in this folder", hopeless=False) from error
                if not told:
                    print("another retraining is at work in this folder: waiting for its end", flush=True)
                told = True
                time.sleep(0.2)
        yield lock


def begin(
    why: str, min_feedback: int | None = None, *, refused_too: bool = False, after_rollback: bool = False, say: Say = print
) -> folding.Folded | None:
    """Fold what waits into a new version of the data and make it the project's; None where too little waits.

    A retraining that did not end is gone on with. Raises ``RetrainError`` where the folder has changes of the user's that
    taking back would lose, and, unless ``after_rollback``, where somebody went back to an earlier version: the project still has
    the settings and the data of the one that was not wanted, and what is trained on them would be promoted in its place.
    """
    if (journal := unfinished()) is not None:
        if journal.ending:
            take_back(journal.why, journal.ending, say)
        elif journal.version is not None and (_dvc_file(journal.version).exists()):
            replace(journal, going_on=journal.going_on + 1).save()
            say(f"going on with version {journal.version} of the data, which an earlier run began with")
            return folding.read_version(journal.version)
        else:
            take_back("it was interrupted", say=say)  # before anything was trained
    settings = params.load()
    crops = Crops(settings.serve.keep_crops, settings.serve.keep_days)
    least = settings.retrain.min_feedback if min_feedback is None else min_feedback
    _must_be_clean()
    model = settings.register_.model
    aliases = tracking.aliases(model)
    if aliases.get(tracking.CHAMPION) is None:  # else the first that is registered would be it
        raise RetrainError(f"{model} has no champion to compare with: 'ferflow promote VERSION' makes one")
    base = None if after_rollback or not REGISTRATION.exists() else int(read_json(REGISTRATION)["version"])
    if back := went_back(model, base):
        raise RetrainError(
            f"{model} went back from version {back['before']} to {back['now']} ({back['why']}), and the project still has the "
            f"settings and the data of {back['before']}: bring back those of {back['now']} (git checkout, dvc checkout), or keep "
            "them, and retrain with --after-rollback"
        )
    crops.purge()  # nobody else may have, where no service runs
    words = folding.waiting(settings.serve.log, crops, settings.serve.keep_days, MANIFEST, refused_too=refused_too)
    if len(words) < max(1, least):
        say(f"{len(words)} labelled faces with consent wait; it takes {max(1, least)}")
        return None
    before = {str(path): _text(path) for path in _KEPT}
    journal = Journal(before, why=why, challenger=aliases.get(tracking.CHALLENGER), base=base).save()
    share, least_live = settings.retrain.hold_out, settings.gate.min_live
    folded = folding.fold(words, crops, MANIFEST, SPLITS, settings.validation, hold_out=share, least=least_live)
    journal = replace(journal, version=folded.version).save()
    presets.set_dataset("parquet", folded.path, {}, frozen=True)
    replace(journal, after=_text(params.PARAMS_FILE)).save()
    WANTED.unlink(missing_ok=True)
    _dvc("add", "--quiet", str(folded.path))
    say(f"{folded.path}: {folded.faces} faces, {folded.added} live ones added, {folded.held_out} held out for the gate")
    return folded


def went_back(model: str, version: int | None) -> dict[str, Any] | None:
    """The last move by which a person went back from a version that ``version`` is, or was made after.

    None where there is none, and where that version or a later one became champion since.
    """
    moves = tracking.moves(model)
    back = [
        place for place, move in enumerate(moves) if move["now"] < (move["before"] or 0) and not move["why"].startswith(_BY_GATE)
    ]
    if version is None or not back:
        return None
    found: dict[str, Any] = moves[back[-1]]
    since = any(move["now"] >= found["before"] for move in moves[back[-1] + 1 :])
    return None if since or version < found["before"] else found


def unwanted() -> dict[str, Any] | None:
    """``went_back`` from what the retraining that is going on was made of: people may do so while it trains."""
    journal = unfinished()
    return went_back(params.load().register_.model, journal.base) if journal is not None and journal.base is not None else None


def reproduce(lock: IO[bytes] | None = None, say: Say = print) -> None:
    """``dvc repro``: what is done already is not done again. ``RetrainError`` with the last lines where a stage fails."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT__")}
    keep = (lock.fileno(),) if lock is not None else ()
    _OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    with _OUTPUT.open("wb") as output:
        run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, pass_fds=keep)
        try:
            while run.poll() is None:
                time.sleep(0.2)  # in short naps, so that a cancellation reaches this thread
        finally:
            _end(run)
    lines = _OUTPUT.read_text(errors="replace").splitlines()
    ran = [line.split("'")[1] for line in lines if line.startswith("Running stage '")]
    if run.returncode:
        last = "\n".join(line for line in lines[-15:] if line.strip())
        hopeless = any(int(code) == HOPELESS for line in lines[-15:] for code in _EXITED.findall(line))
        raise RetrainError(f"dvc repro ended with exit code {run.returncode}:\n{last}", hopeless)
    say(f"dvc repro ran {', '.join(ran) or 'nothing: all was done already'}")


def _end(run: "subprocess.Popen[bytes]") -> None:
    """End DVC with what it started: it passes no signal on, and a stage that works on would meet the next one."""
    if run.poll() is not None:
        return
    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(run.pid).children(recursive=True)
    run.terminate()
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(family, timeout=20)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    with suppress(subprocess.TimeoutExpired):
        run.wait(20)
    run.kill()
    run.wait()


def want(failed: bool) -> None:
    """Note an alarm whose retraining trained nothing: it found too little feedback, or ``failed``."""
    WANTED.parent.mkdir(parents=True, exist_ok=True)
    WANTED.write_text("failed" if failed else "")


def enough_waits() -> bool:
    """Whether such a retraining would find enough feedback by now; after one that failed a day later at the earliest."""
    if not WANTED.exists() or not MANIFEST.exists():
        return False
    if WANTED.read_text() and time.time() - WANTED.stat().st_mtime < _AGAIN_S:
        return False
    settings = params.load()
    crops = Crops(settings.serve.keep_crops, settings.serve.keep_days)
    words = folding.waiting(settings.serve.log, crops, settings.serve.keep_days, MANIFEST)
    return len(words) >= settings.retrain.min_feedback


def judge(folded: folding.Folded | None, say: Say = print) -> Decision | None:
    """Judge the version that the pipeline registered against the champion, and keep the decision; None: it is the champion."""
    settings = params.load()
    model, version = settings.register_.model, int(read_json(REGISTRATION)["version"])
    champion = tracking.aliases(model).get(tracking.CHAMPION)
    if champion is None:
        raise RetrainError(f"{model} has no champion to compare with: 'ferflow promote {version}' makes one")
    if champion == version:
        say(f"version {version} is the champion already: nothing is new")
        return None
    both = [_candidate(model, one) for one in (champion, version)]
    found = evidence.gather(
        *both,
        manifest=MANIFEST,
        splits=SPLITS,
        live=folded.live if folded else None,
        release=RELEASE,
        validation=DATA_REPORTS / "validation.json",
    )
    decision = decide(*found, settings.gate, max(_RESAMPLES, settings.evaluate.resamples), settings.seed)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    decision = replace(decision, made=made, data=_data_in_words(folded))
    keep(model, decision)
    say(decision.in_words())
    return decision


def keep(model: str, decision: Decision) -> None:
    """The decision below ``reports/gate``, and with its version in MLflow: as tags, as files, and as a table."""
    text, said = decision.as_markdown(), json.dumps(decision.as_json(), indent=1)
    GATE_REPORTS.mkdir(parents=True, exist_ok=True)
    for name in (f"version-{decision.challenger}", "latest"):
        (GATE_REPORTS / f"{name}.md").write_text(text)
        (GATE_REPORTS / f"{name}.json").write_text(said + "\n")
    tags = {
        "ferflow.gate": "passed" if decision.passed else "refused",
        "ferflow.gate.time": decision.made,
        "ferflow.gate.against": str(decision.champion),
        "ferflow.gate.data": decision.data,
    }
    for row in decision.rows:
        tags[f"ferflow.gate.{row.check.replace(' ', '_')}"] = f"{'passed' if row.passed else 'failed'}: {row.why}"
    table = {name: [str(getattr(row, name)) for row in decision.rows] for name in decision.rows[0].__dataclass_fields__}
    tracking.record_decision(model, decision.challenger, tags, {"decision.md": text, "decision.json": said}, table)


def accept(decision: Decision, why: str) -> tuple[int | None, int]:
    """Make the challenger champion, if the champion is still the one it was compared with; the new data stays the project's.

    Raises ``tracking.ChampionChangedError`` where it is not: judge again.
    """
    model = params.load().register_.model
    said = f"{_BY_GATE} {why or 'retrained'}; {len(decision.rows)} checks passed"
    with suppress(tracking.AlreadyChampionError):  # we were killed between promoting and saying so
        moved = tracking.promote(model, decision.challenger, said, compared_with=decision.champion)
        _close(folding.ACCEPTED, decision.in_words())
        return moved
    _close(folding.ACCEPTED, decision.in_words())
    return decision.champion, decision.challenger


def close_accepted(why: str) -> None:
    """End a retraining whose data stays the project's."""
    _close(folding.ACCEPTED, why)


def refuse(decision: Decision, say: Say = print) -> None:
    """Take everything back; the refused data stays below data/versions, and the version without its alias in the registry."""
    journal = unfinished()
    before = journal.challenger if journal is not None else None
    tracking.drop_challenger(params.load().register_.model, decision.challenger, before)
    take_back(decision.in_words(), folding.REFUSED, say)


def take_back(why: str, state: str = "failed", say: Say = print) -> None:
    """The folder as it was before: params.yaml, dvc.lock, and every output, out of DVC's cache. Without a journal: nothing."""
    if (journal := unfinished()) is None:
        return
    journal = replace(journal, ending=state, why=why).save()
    registered = int(read_json(REGISTRATION)["version"]) if REGISTRATION.exists() else None
    _put_aside(journal, say)
    for name, text in journal.before.items():
        if text is None:
            Path(name).unlink(missing_ok=True)
        else:
            write_whole(Path(name), text)
    with _kept(journal.version):
        if journal.version is not None and _dvc_file(journal.version).exists():
            _dvc("remove", "--quiet", str(_dvc_file(journal.version)))
        _dvc("checkout", "--force", "--quiet")
    _drop_unjudged(registered, journal.challenger, say)
    if journal.version is not None and state != folding.REFUSED:  # only its words are kept: it may fail every night
        for name in (f"{journal.version}.parquet", f"{journal.version}.live.parquet"):
            (folding.VERSIONS / name).unlink(missing_ok=True)
    _close(state, why)
    say("params.yaml, dvc.lock and all outputs are as they were before")


def _drop_unjudged(registered: int | None, before: int | None, say: Say) -> None:
    """What was registered is not the challenger any more, but who was: 'ferflow promote' takes it, and no gate has passed it."""
    if registered is None or registered == before:
        return
    try:
        tracking.drop_challenger(params.load().register_.model, registered, before)
    except Exception as error:  # whatever it is, the folder must become what it was
        say(f"MLflow cannot be told that version {registered} is not the challenger any more: {error}")


def _put_aside(journal: Journal, say: Say) -> None:
    """What the user has changed in params.yaml meanwhile is kept beside it."""
    now = _text(params.PARAMS_FILE)
    if now is not None and journal.after is not None and now not in (journal.after, journal.before.get(str(params.PARAMS_FILE))):
        mine = params.PARAMS_FILE.with_name("params.mine.yaml")
        mine.write_text(now)
        say(f"{params.PARAMS_FILE} was edited meanwhile: that text is {mine} now")


@contextmanager
def _kept(version: int | None) -> Iterator[None]:
    """The table of a version is there afterwards: DVC deletes files that it knew and that nothing names any more."""
    path, copy = folding.VERSIONS / f"{version}.parquet", STATE / "version.part"
    if version is not None and path.exists():
        shutil.copyfile(path, copy)
        copy.replace(copy.with_name(path.name))
    yield
    if version is not None and copy.with_name(path.name).exists():
        copy.with_name(path.name).replace(path)


def _close(state: str, why: str) -> None:
    journal = unfinished()
    if journal is not None and journal.version is not None:
        with suppress(folding.FoldError):
            folding.note(replace(folding.read_version(journal.version), state=state, why=why))
    JOURNAL.unlink(missing_ok=True)


def _must_be_clean() -> None:
    """``RetrainError`` unless every output is there as dvc.lock says, so that it can be brought back."""
    if not _DVC_LOCK.exists() or not MANIFEST.exists() or not SPLITS.exists():
        raise RetrainError("the pipeline has not run here yet: run dvc repro first")
    said: dict[str, Any] = json.loads(_dvc("data", "status", "--json") or "{}")
    now = params.load().dataset
    for name, known in (_ran_on() or {}).items():
        if name in ("source", "path") and str(known) != str(getattr(now, name)):
            raise RetrainError(
                f"the pipeline has not run on the data that {params.PARAMS_FILE} names (dataset.{name}): run dvc repro"
            )
    changed = [name for names in said.get("uncommitted", {}).values() for name in _names(names)]
    missing = _names(said.get("not_in_cache", []))
    if changed or missing:
        some = ", ".join((changed + missing)[:3])
        raise RetrainError(f"outputs differ from dvc.lock, or are not in DVC's cache ({some}): run dvc repro, or dvc checkout")


def _ran_on() -> dict[str, Any] | None:
    """The block ``dataset`` as dvc.lock has it; None where it does not say."""
    entries = (yaml.safe_load(_DVC_LOCK.read_text()) or {}).get("stages", {}).values()
    found = (entry.get("params", {}).get(params.PARAMS_FILE.name, {}).get("dataset") for entry in entries)
    return next((block for block in found if isinstance(block, dict)), None)


def _names(found: Any) -> list[str]:
    return [str(one if isinstance(one, str) else next(iter(one.values()))) for one in found]


def _dvc(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise RetrainError(f"dvc {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[-600:]}", hopeless=False)
    return done.stdout


def _candidate(model: str, version: int) -> evidence.Candidate:
    tags = tracking.version_tags(model, version)
    return evidence.Candidate(version, tracking.registered_file(f"models:/{model}/{version}"), tags.get(TEST_FACES))


def _data_in_words(folded: folding.Folded | None) -> str:
    if folded is None:
        return "no new version"
    said = ", ".join(f"{count} {name}" for name, count in folded.labels.items())
    return f"{folded.path}, {folded.faces} faces and {folded.added} live ones ({said}), {folded.held_out} held out"


def _dvc_file(version: int) -> Path:
    return folding.VERSIONS / f"{version}.parquet.dvc"


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None

"""``python -m flows STAGE [ARGUMENT]``: run a stage as a Prefect flow. This is what dvc.yaml calls.

The stage's work starts at once; Prefect is loaded beside it, and records it if its server answers. Whatever
happens to the server, the exit code is the stage's own. It knows no stage but by the name of its file.
"""

import sys
import time
from pathlib import Path

import psutil

from ferflow.registry import names
from flows.companion import STATE, Job, ensure, recorded, start_stage


def main() -> int:
    """Start the work, then the flow around it."""
    known = names("stages")
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        print(f"usage: python -m flows STAGE [ARGUMENT]; stages: {', '.join(known)}", file=sys.stderr)
        return 2
    stage, arguments = sys.argv[1], sys.argv[2:]
    ensure()
    result = (STATE / "results" / ("-".join([stage, *arguments]) + ".json")).resolve()
    result.parent.mkdir(parents=True, exist_ok=True)
    job = start_stage(stage, arguments, result)

    code = _recorded(stage, arguments, job, result) if recorded() else job.wait()
    if code == 0:
        note_wall_time(result)
    return code


def _recorded(stage: str, arguments: list[str], job: Job, result: Path) -> int:
    """The stage's exit code; Prefect has it, too, if it can be loaded and its server answers."""
    try:
        from flows.stages import record  # loads Prefect: seconds in which the stage is already at work
    except Exception as error:  # a broken Prefect must not fail a stage
        print(f"Prefect cannot be loaded, so {stage} is not recorded: {error}", file=sys.stderr)
        return job.wait()
    return record(stage, arguments, job, result)


def note_wall_time(result: Path) -> None:
    """Add the seconds since this process started to the stage's result, for ``ferflow results``."""
    from ferflow.stages import read_json, write_json

    write_json(read_json(result) | {"wall_s": time.time() - psutil.Process().create_time()}, result)


if __name__ == "__main__":
    sys.exit(main())

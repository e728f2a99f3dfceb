"""``ferflow search``: a hyperparameter search on the pipeline's own split, every trial a run in MLflow.

It reads the data and records the trials; what is tried next is known to ``search`` alone.
"""

from pathlib import Path

from ferflow import params, tracking
from ferflow.faces import load_faces, tasks_of
from ferflow.search import Tried, search
from ferflow.stages import MANIFEST, SPLITS, StageError, Summary
from ferflow.tables import load_labels

FOLDER = Path("models/search")


def run(name: str) -> Summary:
    """Search values for the member ``name``; the best trials, the best first. ``StageError`` where there is no space."""
    settings = params.load()
    member, space = settings.member(name), settings.search
    if space is None:
        raise StageError("params.yaml has no block 'search'; 'ferflow search --help' shows one")
    if not SPLITS.exists():
        raise StageError(f"{SPLITS} is not there; run dvc repro split first")
    labels = load_labels(MANIFEST, SPLITS)
    tasks = member.learns(tasks_of(labels))
    data = load_faces(MANIFEST, labels, ("train", "val"), settings.dataset.image_size, member.modality, tasks)

    def record(tried: Tried) -> None:
        score = {} if tried.score is None else {"score": tried.score}
        said = {key: str(value) for key, value in tried.values.items()} | {"state": tried.state[:200]}
        trial = tracking.MemberRun(f"{name} trial {tried.number}", said, tried.history, score, [])
        tracking.record_trial(settings.register_.experiment, f"search {name}", trial)
        print(
            f"trial {tried.number}: {tried.state} {tried.values} {'' if tried.score is None else f'{tried.score:.4f}'}",
            flush=True,
        )

    study = search(name, member, space, tasks, data["train"], data["val"], settings.seed, FOLDER, record)
    finished = sorted((t for t in study.trials if t.value is not None), key=lambda trial: -float(trial.value or 0))
    rows = [{"trial": trial.number, "score": round(float(trial.value or 0), 4), **trial.params} for trial in finished[:10]]
    return Summary(
        f"search {name}: {len(study.trials)} trials, the best by validation (put its values into members.{name})", rows
    )

"""Hyperparameter search for one member with Optuna: trials are pruned early, recorded one by one, and never lost.

Akiba et al., "Optuna" (KDD 2019). The study lies in a SQLite file, so that a search that was stopped, or killed, goes on;
a trial that was under way then is tried again, from its checkpoint. Only validation faces decide. It knows no tracking
server: ``record`` is told of every trial.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from ferflow.faces import Faces, Tasks
from ferflow.params import Member, Range, Search
from ferflow.training import score_of, train


@dataclass(frozen=True)
class Tried:
    """One trial: its number, the values it tried, the best score (None where it was pruned or failed), and its history."""

    number: int
    values: dict[str, Any]
    score: float | None
    state: str
    history: list[dict[str, float]]


def search(
    name: str,
    member: Member,
    space: Search,
    tasks: Tasks,
    data: Faces,
    val: Faces,
    seed: int,
    folder: Path,
    record: Callable[[Tried], None],
) -> optuna.Study:
    """Try ``space.trials`` variants of a member and return the study; those of an earlier call count.

    The study lies in ``folder/NAME.db``; another space, member, seed, or data is another study in it. ``record`` is called
    after every trial. A variant that params.yaml would refuse, that diverges, that is too large, or that fails in another
    way counts as tried, without a score. ``ValueError`` for a key that a member does not have, or that changes what is loaded.
    """
    check_space(member, space)
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=_name(member, space, tasks, data, val, seed),
        storage=f"sqlite:///{folder / f'{name}.db'}",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        load_if_exists=True,
    )
    for broken in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(broken.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(broken.params)  # once more, from where its checkpoint is
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))  # or a later call would draw the same again
    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    while len(study.get_trials(deepcopy=False, states=done)) < space.trials:
        trial = study.ask()
        values = {key: _suggest(trial, key, found) for key, found in space.space.items()}
        checkpoint = folder / f"{name}.pt"
        scores: list[float] = []

        def report(epoch: int, score: float, trial: optuna.Trial = trial, scores: list[float] = scores) -> None:
            scores.append(score)
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            here = {"devices": 1, "nodes": 1}  # a trial that another process trains could not be given up
            variant = with_values(member, here | values | ({"epochs": space.epochs} if space.epochs else {}))
            trained = train(variant, tasks, data, val, seed, checkpoint, report)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            record(Tried(trial.number, values, None, "pruned", [{"epoch": i, "score": s} for i, s in enumerate(scores, 1)]))
        except Exception as error:  # a bad variant, whatever it breaks, is no bad search; and is not tried for ever
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            record(Tried(trial.number, values, None, f"{type(error).__name__}: {error}", []))
        else:
            best = max(score_of(row, variant) for row in trained.history)  # with the epochs before an interruption
            study.tell(trial, best)
            record(Tried(trial.number, values, best, "complete", trained.history))
        checkpoint.unlink(missing_ok=True)
    return study


def _name(member: Member, space: Search, tasks: Tasks, data: Faces, val: Faces, seed: int) -> str:
    """A study's name: what is searched, and a hash of what its scores depend on."""
    content = {key: value for key, value in member.model_dump().items() if key not in space.space}
    everything = (sorted(space.space.items()), content, space.epochs, tasks, data.digest(), val.digest(), seed)
    return f"{', '.join(sorted(space.space))} {hashlib.blake2b(repr(everything).encode(), digest_size=8).hexdigest()}"


def check_space(member: Member, space: Search) -> None:
    """``ValueError`` that names a key of the space which a member does not have, or which changes the faces that are loaded."""
    for key in space.space:
        first, *rest = key.split(".")
        if first not in Member.model_fields or (rest and not isinstance(getattr(member, first), dict)):
            raise ValueError(f"search.space: a member has no key {key!r}; known: {', '.join(Member.model_fields)}")
        if first == "modality" or (first == "task_weights" and not member.task_weights.get(".".join(rest))):
            raise ValueError(f"search.space: {key} changes what is loaded; make it an axis of 'ferflow ablation' instead")


def _suggest(trial: optuna.Trial, key: str, found: Range | list[Any]) -> Any:
    if isinstance(found, list):
        return trial.suggest_categorical(key, found)
    if isinstance(found.low, int) and isinstance(found.high, int):
        return trial.suggest_int(key, found.low, found.high, log=found.log)
    return trial.suggest_float(key, found.low, found.high, log=found.log)


def with_values(member: Member, values: dict[str, Any]) -> Member:
    """The member with other values; a dotted key reaches into a mapping (``options.width``). Checked like params.yaml."""
    content = member.model_dump()
    for key, value in values.items():
        *path, last = key.split(".")  # check_space has seen that it leads somewhere
        inner = content
        for part in path:
            inner = inner[part]
        inner[last] = value
    return Member.model_validate(content)

"""Training a member: faces and targets in, a network and its history out. One file, read from top to bottom.

It knows no tracking server and no orchestrator, and of files only the checkpoint it is told to keep.
"""

import hashlib
import math
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from queue import Full, Queue
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.data.mixup import Mixup
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.distributed import is_torchelastic_launched
from torch.multiprocessing.spawn import ProcessRaisedException
from tqdm import tqdm

from ferflow.faces import Faces
from ferflow.metrics import of_kind
from ferflow.model import FaceNetwork, build
from ferflow.params import Member
from ferflow.registry import get
from ferflow.transforms import Recipe
from ferflow.vocabulary import TASKS

Item = TypeVar("Item")
Report = Callable[[int, float], None]  # called with the number and score of every epoch, past ones too; may raise to stop

_PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_CPU = torch.device("cpu")
_LEAST_RATE = 1e-3  # of the largest rate, where schedules end
_GROWN = 0.7  # of the epochs, after which the pictures have their full size
_CALMER = "a smaller lr, or a longer warmup, keeps it finite"


@dataclass(frozen=True)
class Trained:
    """The network with the weights of its best epoch, and a row of figures for every epoch."""

    network: FaceNetwork
    history: list[dict[str, float]]
    best_epoch: int


class DivergedError(ArithmeticError):
    """The loss is not finite any more; the message names the epoch, the step, the learning rate and the ids."""


class TooLargeError(MemoryError):
    """A batch does not fit into memory; the message names the batch size to try."""


_TOLD = (DivergedError, TooLargeError, FileNotFoundError, ConnectionError, ValueError)  # what a user can mend


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def train(
    member: Member,
    tasks: dict[str, tuple[str, ...]],
    data: Faces,
    val: Faces,
    seed: int,
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> Trained:
    """Train a member from its seed; keep the epoch with the best validation score (``member.score``).

    Faces of ``data`` that have no label for any of ``tasks`` are left out.
    The same seed gives the same weights on the same machine's CPU. After every epoch all that is needed to go on is
    written to ``checkpoint``; a training that finds one of the same member, data, seed and code there goes on from it,
    and ends as an unbroken one would. On several machines (``member.nodes``) only the first process returns, the others
    end their interpreter. Raises ``DivergedError``, ``TooLargeError``, and ``ValueError`` where torchrun is needed.
    """
    if member.nodes > 1 and not is_torchelastic_launched():
        raise ValueError(
            f"nodes: {member.nodes} needs this on every machine: torchrun --nnodes {member.nodes} --nproc-per-node "
            f"{member.devices} --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 -m ferflow.stages.train NAME"
        )
    if member.precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("precision: fp16 needs a GPU; bf16 and fp32 work without")
    data = data.labelled()
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        strategy="ddp" if member.nodes > 1 else "ddp_spawn" if member.devices > 1 else "auto",
        devices=member.devices,
        num_nodes=member.nodes,
        precision=_PRECISIONS[member.precision],
    )
    with TemporaryDirectory() as folder:  # a file: what processes send through a queue dies with them
        result = Path(folder) / "trained.pt"
        work = partial(
            _train, result, member=member, tasks=tasks, data=data, val=val, seed=seed, checkpoint=checkpoint, report=report
        )  # Fabric would look into arguments, and stumble over frozen ones
        try:
            fabric.launch(work)
        except ProcessRaisedException as error:  # of a process that was started here: its own error lies beside the result
            raise _error_of(result) or error from error
        if not fabric.is_global_zero:
            raise SystemExit(0)
        best, history, best_epoch = torch.load(result, weights_only=False)
    network = build(member, tasks, data.pixels.shape[1], weights=False)
    network.load_state_dict(best)
    return Trained(network.eval(), history, best_epoch)


def _train(
    result: Path,
    fabric: Fabric,
    member: Member,
    tasks: dict[str, tuple[str, ...]],
    data: Faces,
    val: Faces,
    seed: int,
    checkpoint: Path | None,
    report: Report | None,
) -> None:
    """What one process of the training does. ``result`` gets the best epoch's weights, the history, and its number."""
    with _told_beside(result):
        _train_here(result, _Run(fabric, member, tasks, data, val, seed), checkpoint, report)


@contextmanager
def _told_beside(result: Path) -> Iterator[None]:
    """An error that says what to do survives the end of its process in a file; others as the text that torch makes of them."""
    try:
        yield
    except _TOLD as error:
        kind = next(kind for kind in _TOLD if isinstance(error, kind))
        result.with_suffix(f".{kind.__name__}").write_text(str(error))
        raise


def _error_of(result: Path) -> Exception | None:
    for kind in _TOLD:
        if (told := result.with_suffix(f".{kind.__name__}")).exists():
            return kind(told.read_text())
    return None


@dataclass(frozen=True)
class _Queued:
    """A step that was begun: its number, learning rate, row numbers, and the loss that it will have."""

    epoch: int
    step: int
    rate: float
    rows: np.ndarray
    loss: Tensor


class _Run:
    """A member's training, as one process does it: what a step changes, and what a checkpoint keeps of it."""

    def __init__(
        self, fabric: Fabric, member: Member, tasks: dict[str, tuple[str, ...]], data: Faces, val: Faces, seed: int
    ) -> None:
        if fabric.world_size > 1 and fabric.device.type == "cpu":
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // member.devices))
        seed_everything(seed)
        self.fabric, self.member, self.tasks, self.data, self.val, self.seed = fabric, member, tasks, data, val, seed
        self.network = network = build(member, tasks, data.pixels.shape[1]).to(memory_format=torch.channels_last)
        with _room_for(member):
            self.pixels = resident(data.pixels, fabric.device if self.recipe(seed).batch else _CPU)
        self.targets = _targets(member, tasks, data)
        if member.balance == "weights":
            for task in (name for name in tasks if TASKS[name].kind == "classification"):
                network.heads[task].class_weights = class_weights(data.targets[task], len(tasks[task]))
        self.optimizer = create_optimizer_v2(network, member.optimizer, member.lr, member.weight_decay, filter_bias_and_bn=True)
        self.steps = steps_an_epoch(len(data.ids), member.batch_size)
        self.schedule = Schedule(member, self.optimizer, -(-self.steps // member.accumulate))
        self.wrapped: Any = fabric.setup_module(network)
        self.stepper: Any = fabric.setup_optimizers(self.optimizer)
        self.average = ModelEmaV3(network, member.ema, use_warmup=True) if member.ema else None
        self.early = early_modules(network.backbone, member.freeze_share) if member.freeze_epochs else []
        self.full_size = network.preprocessing.image_size
        self.history: list[dict[str, float]] = []
        self.best: tuple[float, int, dict[str, Tensor]] = (-np.inf, 0, {})

    @cached_property
    def identity(self) -> str:
        """What a checkpoint must be of."""
        return fingerprint(self.member, self.tasks, self.data, self.val, self.seed)

    def recipe(self, seed: int) -> Recipe:
        """How the training faces are changed."""
        recipe: Recipe = get("transforms", self.member.recipe)(self.data.pixels.shape[1], seed)
        return recipe

    @property
    def judged(self) -> FaceNetwork:
        """The network that is validated and kept: the averaged one, where there is one."""
        return self.average.module if self.average else self.network

    @property
    def patient(self) -> bool:
        """Whether another epoch is worth it."""
        patience = self.member.patience
        return not (patience and self.history and len(self.history) - self.best[1] >= patience)

    def resume(self, checkpoint: Path | None) -> None:
        """Go on from a checkpoint of the same run, where there is one."""
        there = _read(checkpoint, self.identity) if checkpoint and self.fabric.is_global_zero else None
        if not (state := self.fabric.broadcast(there)):
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        self.history, self.best = state["history"], state["best"]
        if self.fabric.is_global_zero:
            print(f"going on after epoch {len(self.history)} of {self.member.epochs}, from {checkpoint}", flush=True)

    def keep(self, checkpoint: Path) -> None:
        """Write all that is needed to go on."""
        states = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        states |= {"schedule": self.schedule.state_dict(), "average": self.average.module.state_dict() if self.average else {}}
        states["precision"] = self.fabric.strategy.precision.state_dict()  # the scale of fp16's gradients
        _write(checkpoint, {"run": self.identity, "history": self.history, "best": self.best} | states)

    def epoch(self, number: int, progress: "tqdm[Any]") -> None:
        """One pass over the faces, then validation; the history grows by a row."""
        fabric, member, network = self.fabric, self.member, self.network
        epoch_seed = self.seed + 1000 * number  # an epoch depends on nothing but its number and the weights it begins with
        seed_everything(epoch_seed + fabric.global_rank)
        recipe = self.recipe(epoch_seed + fabric.global_rank)
        order = epoch_order(self.data, member, epoch_seed)
        share = _Share(fabric.global_rank, fabric.world_size)
        source = batches(self.pixels, order, member.batch_size, recipe, share, fabric.device)
        size = size_in_epoch(member, self.full_size, number, getattr(network.backbone, "size_step", 8))
        network.preprocessing.image_size = size
        network.train()
        stand_still(self.early, number <= member.freeze_epochs, keep_gradients=fabric.world_size > 1)
        total, waited, started = 0.0, [0.0], perf_counter()
        last: _Queued | None = None
        scores = {"score": f"{score_of(self.history[-1], member):.3f}", "best": f"{self.best[0]:.3f}"} if self.history else {}
        with _room_for(member):  # for the batches, too
            for step, batch in enumerate(ahead(source, waited), start=1):
                rate = self.schedule.rate
                queued = _Queued(number, step, rate, batch[0], self._step(number, step, *batch))
                if last:  # asked for only now, so that a GPU has the next step to do meanwhile
                    total += self._value(last)
                    progress.set_postfix(loss=f"{total / last.step:.3f}", **scores, refresh=False)
                progress.update(min(member.batch_size, len(self.data.ids)))
                last = queued
            if last:
                total += self._value(last)
                progress.set_postfix(loss=f"{total / last.step:.3f}", **scores, refresh=False)
        seconds, rate = perf_counter() - started, self.schedule.rate
        figures: dict[str, float] = {"epoch": number, "lr": rate, "image_size": size, "train_loss": total / self.steps}
        self._validate(number, figures | {"epoch_s": seconds, "wait_s": waited[0]})

    def _value(self, queued: _Queued) -> float:
        """The loss of a step; waits until it is computed. Raises ``DivergedError`` where it is not finite."""
        loss = queued.loss.item()
        if not math.isfinite(loss):
            where = f"loss {loss} at epoch {queued.epoch}, step {queued.step}, lr {queued.rate:.2g}"
            ids = ", ".join(self.data.ids[row] for row in queued.rows)
            raise DivergedError(f"{where}: {_CALMER}; ids of the batch: {ids}")
        return loss

    def _step(self, epoch: int, step: int, rows: np.ndarray, faces: Tensor, mixing: Tensor | None) -> Tensor:
        """The loss of a batch, whose gradients are added up, and used after every ``accumulate``-th; perhaps not computed yet."""
        fabric, member = self.fabric, self.member
        update = step % member.accumulate == 0 or step == self.steps
        together = min(member.accumulate, self.steps - (step - 1) // member.accumulate * member.accumulate)
        truth = {task: mixed(torch.from_numpy(target[rows]), mixing).to(fabric.device) for task, target in self.targets.items()}
        with fabric.no_backward_sync(self.wrapped, enabled=not update):
            raw = {task: value.float() for task, value in self.wrapped(faces).items()}
            loss = self.network.loss(raw, truth, member.task_weights)
            fabric.backward(loss / together)
        if update:
            self._update(epoch)
        return loss.detach()

    def _update(self, epoch: int) -> None:
        if epoch <= self.member.freeze_epochs:
            forget_gradients(self.early)
        if self.member.clip:
            self.fabric.clip_gradients(self.wrapped, self.stepper, max_norm=self.member.clip, error_if_nonfinite=False)
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.average:
            self.average.update(self.network, step=self.schedule.updates)

    def _validate(self, epoch: int, figures: dict[str, float]) -> None:
        self.network.preprocessing.image_size = self.judged.preprocessing.image_size = self.full_size
        with _room_for(self.member):
            figures |= self.fabric.broadcast(validate(self.judged, self.val, self.member) if self.fabric.is_global_zero else {})
        if not np.isfinite(figures["val_loss"]):
            raise DivergedError(
                f"validation loss {figures['val_loss']} after epoch {epoch}, lr {self.schedule.rate:.2g}: {_CALMER}"
            )
        self.history.append(figures)
        score = score_of(figures, self.member)
        self.schedule.end_epoch(score)
        if score > self.best[0]:
            self.best = (score, epoch, {name: value.cpu().clone() for name, value in self.judged.state_dict().items()})


def _train_here(result: Path, run: _Run, checkpoint: Path | None, report: Report | None) -> None:
    """All epochs that are left, each reported and kept."""
    member, first = run.member, run.fabric.is_global_zero
    run.resume(checkpoint)
    tell = report if report and first else lambda epoch, score: None
    for row in run.history:
        tell(int(row["epoch"]), score_of(row, member))
    a_step = min(member.batch_size, len(run.data.ids))
    progress = tqdm(
        total=member.epochs * run.steps * a_step,
        initial=len(run.history) * run.steps * a_step,
        unit="face",
        desc=f"train {member.label}",
        mininterval=5,
        dynamic_ncols=True,
        disable=not first,
    )
    for epoch in range(len(run.history) + 1, member.epochs + 1):
        if not run.patient:
            break
        run.epoch(epoch, progress)
        if checkpoint and first:
            run.keep(checkpoint)
        tell(epoch, score_of(run.history[-1], member))
    progress.close()
    if first:
        torch.save((run.best[2], run.history, run.best[1]), result)


@contextmanager
def _room_for(member: Member) -> Iterator[None]:
    """A memory that is full becomes an error that says what to try, for two processes as for one."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "allocate memory" not in str(error):
            raise
        least = 2 * member.devices * member.nodes
        size = member.batch_size // 2 // least * least
        advice = (
            f"batch_size: {size}, with accumulate: {member.accumulate * 2} for the same steps" if size else "a smaller image_size"
        )
        raise TooLargeError(f"a batch of {member.batch_size} faces does not fit into memory: try {advice}") from error


class Schedule:
    """The learning rate: schedules of torch's, stepped after every update, and plateau's also after every epoch."""

    def __init__(self, member: Member, optimizer: torch.optim.Optimizer, updates_an_epoch: int) -> None:
        self.updates, self._optimizer = 0, optimizer
        self._plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        total = member.epochs * updates_an_epoch
        self._rise = round(member.warmup * total)
        if member.schedule == "onecycle":
            share = min(max(member.warmup, 1 / total), 1 - 1 / total)
            self._inner: Any = torch.optim.lr_scheduler.OneCycleLR(optimizer, member.lr, total_steps=total + 1, pct_start=share)
        else:
            self._inner = _after_rise(optimizer, self._rise, member.schedule, total - self._rise)
        if member.schedule == "plateau":
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, "max", factor=0.1, patience=max(1, member.epochs // 10), min_lr=member.lr * _LEAST_RATE
            )

    @property
    def rate(self) -> float:
        """The learning rate of the next update."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """After an update of the weights."""
        self.updates += 1
        if self._plateau is None or self.updates <= self._rise:  # after its warm-up the rate is the plateau's alone
            self._inner.step()

    def end_epoch(self, score: float) -> None:
        """After an epoch, with its score."""
        if self._plateau is not None and self.updates >= self._rise:
            self._plateau.step(score)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        plateau = self._plateau.state_dict() if self._plateau else {}
        return {"updates": self.updates, "inner": self._inner.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.updates = state["updates"]
        self._inner.load_state_dict(state["inner"])
        if self._plateau:
            self._plateau.load_state_dict(state["plateau"])


def _after_rise(optimizer: torch.optim.Optimizer, rise: int, name: str, total: int) -> Any:
    """The rate rises in ``rise`` updates; in ``total`` more it falls to a thousandth in half a cosine, or to a tenth after each
    third, or stays."""
    scheduler = torch.optim.lr_scheduler
    later: Any = scheduler.ConstantLR(optimizer, factor=1.0)
    if name == "cosine":
        later = scheduler.CosineAnnealingLR(optimizer, max(1, total), eta_min=_LEAST_RATE * optimizer.param_groups[0]["lr"])
    elif name == "step":
        later = scheduler.MultiStepLR(optimizer, [max(1, round(total / 3)), round(2 * total / 3)], gamma=0.1)
    if not rise:
        return later
    first = scheduler.LinearLR(optimizer, start_factor=1 / 25, total_iters=rise)
    return scheduler.SequentialLR(optimizer, [first, later], milestones=[rise])


def size_in_epoch(member: Member, full: int, epoch: int, step: int = 8) -> int:
    """The side of the pictures in an epoch: it grows in steps of 8 pixels (a backbone may need others, its
    ``size_step``), and is full after 70 % of the epochs.

    Small pictures first is the progressive learning of Tan and Le, "EfficientNetV2" (ICML 2021).
    """
    share = member.progressive + (1 - member.progressive) * min(1.0, (epoch - 1) / max(1.0, _GROWN * member.epochs))
    return full if share >= 1 else min(full, max(1, round(full * share / step)) * step)


def class_weights(target: np.ndarray, classes: int) -> Tensor:
    """N / (K n) for each of the K classes, from class numbers (-1: no label); 0 for a class that does not occur."""
    counts = np.bincount(target[target >= 0], minlength=classes)
    weights = np.where(counts > 0, counts.sum() / (classes * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def _targets(member: Member, tasks: dict[str, tuple[str, ...]], data: Faces) -> dict[str, np.ndarray]:
    """What the loss compares with, for every task."""
    blends = {task: 1.0 if TASKS[task].auxiliary else member.soft_labels for task in tasks}
    return {task: _target(data.targets[task], len(classes), data.soft.get(task), blends[task]) for task, classes in tasks.items()}


def _target(target: np.ndarray, classes: int, soft: np.ndarray | None, blend: float) -> np.ndarray:
    """What the loss compares with: N x K shares of the classes, blended with the soft ones, or N x 2 values."""
    if target.ndim == 2:
        return target
    shares = np.eye(classes, dtype=np.float32)[np.maximum(target, 0)] * (target >= 0)[:, None]
    if soft is None or not blend:
        return shares
    known = (soft.sum(axis=1) > 0)[:, None]
    labelled = (target >= 0)[:, None]
    blended = (1 - blend) * shares + blend * soft
    return np.where(known & labelled, blended, np.where(known, soft, shares)).astype(np.float32)


def mixed(target: Tensor, mixing: Tensor | None) -> Tensor:
    """The targets (B x K) of mixed faces; ``mixing`` (B x B) says which share of which face each one has.

    A value that one of the faces does not have (NaN, of affect) is not known of the mixture.
    """
    if mixing is None:
        return target
    unknown = torch.isnan(target)
    found = mixing @ target.masked_fill(unknown, 0.0)
    return found.masked_fill(mixing @ unknown.float() > 0, float("nan"))


def early_modules(backbone: nn.Module, share: float) -> list[nn.Module]:
    """The first ``share`` of the layers with weights, in the order of the backbone; ``branches``, if any, go side by side,
    before what follows them."""
    branches = [_layers(part) for part in getattr(backbone, "branches", [])]
    within = {id(layer) for branch in branches for layer in branch}
    after = [layer for layer in _layers(backbone) if id(layer) not in within]
    deepest = max((len(branch) for branch in branches), default=0)
    depth = max(1, round(share * (deepest + len(after))))
    found = [layer for branch in branches for layer in branch[: max(1, round(min(1.0, depth / deepest) * len(branch)))]]
    return found + after[: max(0, depth - deepest)]


def _layers(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if any(True for _ in layer.parameters(recurse=False))]


def stand_still(modules: list[nn.Module], frozen: bool, keep_gradients: bool) -> None:
    """Freeze layers, or let them go: no gradients, and statistics of normalisation as they are.

    Several processes wait for every gradient: there they are computed (``keep_gradients``), and thrown away.
    """
    for module in modules:
        module.training = module.training and not frozen
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(not frozen or keep_gradients)


def forget_gradients(modules: list[nn.Module]) -> None:
    """So that an optimizer passes over them."""
    for module in modules:
        for parameter in module.parameters(recurse=False):
            parameter.grad = None


def score_of(figures: dict[str, float], member: Member) -> float:
    """What the best epoch is chosen by; minus the validation loss where the wanted score is not defined."""
    if member.score == "combined" and "val_macro_f1" in figures:
        return figures["val_macro_f1"] + figures.get("val_ccc", 0.0)
    wanted = f"val_{member.score}"
    return figures[wanted] if member.score != "loss" and wanted in figures else -figures["val_loss"]


def fingerprint(member: Member, tasks: dict[str, tuple[str, ...]], data: Faces, val: Faces, seed: int) -> str:
    """A hash of everything that shapes a training: the member, its pretrained file, the data, the seed, and the code."""
    here = Path(__file__).parent  # what dvc.yaml names for the stage train
    shared = ["training.py", "model.py", "vocabulary.py", f"backbones/{member.backbone}.py", f"transforms/{member.recipe}.py"]
    files = [here / name for name in shared]
    for pattern in ("heads/*.py", "metrics/*.py", "backbones/_*.py", "transforms/_*.py"):
        files += sorted(here.glob(pattern))
    if isinstance(member.pretrained, str):
        files.append(Path(member.pretrained))
    digest = hashlib.blake2b(repr((member.model_dump(), tasks, seed)).encode())
    for path in files:
        digest.update(path.read_bytes())
    for faces in (data, val):
        digest.update(faces.digest().encode())
    return digest.hexdigest()


def _write(path: Path, state: dict[str, Any]) -> None:
    """Write in one go: whoever is killed here leaves the old checkpoint or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(path)


def _read(path: Path, run: str) -> dict[str, Any] | None:
    """The state of an earlier beginning of this same training, or None."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=False, map_location="cpu")
    except Exception as error:
        print(f"{path} cannot be read ({error}): the training begins anew", flush=True)
        return None
    if state.get("run") == run:
        return state
    print(f"{path} is of another member, data, seed or code: the training begins anew", flush=True)
    return None


def steps_an_epoch(rows: int, batch_size: int) -> int:
    """Full batches in ``rows``; the rest is left out, as the order changes every epoch; at least one."""
    return max(1, rows // batch_size)


def epoch_order(data: Faces, member: Member, seed: int) -> np.ndarray:
    """Row numbers in the order of an epoch: shuffled, or drawn so that every expression comes equally often."""
    draw = np.random.default_rng(seed)
    rows = len(data.ids)
    if member.balance != "sampling":
        return draw.permutation(rows)
    target = data.targets.get("expression", np.array([]))
    if not (target >= 0).any():
        raise ValueError("balance: sampling draws expressions equally often, and these faces have none; use weights or none")
    weights = class_weights(target, int(target.max()) + 1).numpy()
    chance = np.where(target >= 0, weights[np.maximum(target, 0)], 1.0)
    return draw.choice(rows, rows, p=chance / chance.sum())


@dataclass(frozen=True)
class _Share:
    """Which faces of a batch belong to this of several processes."""

    rank: int = 0
    processes: int = 1


def resident(pixels: np.ndarray, device: torch.device) -> Tensor:
    """All training faces (N x S x S x C, uint8) in the device's memory, or in the machine's where they would take half of it."""
    if device.type == "cuda" and pixels.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
        return torch.from_numpy(pixels).to(device)
    return torch.from_numpy(pixels)


def batches(
    pixels: Tensor,
    order: np.ndarray,
    size: int,
    recipe: Recipe,
    share: _Share = _Share(),
    device: torch.device = _CPU,
) -> Iterator[tuple[np.ndarray, Tensor, Tensor | None]]:
    """Batches of one epoch: row numbers (B), changed faces (B x S x S x C, uint8, on ``device``), how they were mixed (B x B)."""
    mix = None
    if recipe.mixup or recipe.cutmix:
        mix = Mixup(recipe.mixup, recipe.cutmix, prob=recipe.mix_share, label_smoothing=0.0)
    for index in range(steps_an_epoch(len(order), size)):
        rows = order[index * size : (index + 1) * size][share.rank :: share.processes]
        if at_once(device) and recipe.batch:
            faces = recipe.batch(pixels[torch.from_numpy(rows).to(pixels.device, non_blocking=True)].to(device))
        else:  # by numpy: torch's threads of this thread may compete with the network's
            faces = torch.from_numpy(np.stack([recipe.face(face) for face in pixels.numpy()[rows]])).to(device)
        if mix is None or len(rows) % 2:
            yield rows, faces, None
            continue
        mix.num_classes = len(rows)
        blended, mixing = mix(faces.permute(0, 3, 1, 2).float(), torch.arange(len(rows)))
        yield rows, blended.round().to(torch.uint8).permute(0, 2, 3, 1), mixing


def at_once(device: torch.device) -> bool:
    """Whether faces are changed in batches: a CPU has no time to lose to that, nor a GPU to faces one by one."""
    return device.type != "cpu"


def ahead(source: Iterator[Item], waited: list[float], depth: int = 4) -> Iterator[Item]:
    """The items of ``source``, made by a thread up to ``depth`` ahead; adds the seconds waited for them to ``waited[0]``."""
    ready: Queue[tuple[bool, Item | BaseException | None]] = Queue(depth)
    stopped = Event()

    def put(message: tuple[bool, Item | BaseException | None]) -> None:
        while not stopped.is_set():
            with suppress(Full):
                ready.put(message, timeout=0.1)
                return

    def make() -> None:
        try:
            for item in source:
                if stopped.is_set():
                    return
                put((True, item))
            put((False, None))
        except BaseException as error:
            put((False, error))

    Thread(target=make, daemon=True).start()
    try:
        while True:
            started = perf_counter()
            more, item = ready.get()
            waited[0] += perf_counter() - started
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()


@torch.no_grad()
def predict(network: FaceNetwork, pixels: np.ndarray, batch_size: int = 256) -> dict[str, np.ndarray]:
    """Outputs of the network for uint8 faces: task -> N x K (float32), without augmentation, in full precision."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        network.predict(torch.from_numpy(pixels[start : start + batch_size]).to(device))
        for start in range(0, len(pixels), batch_size)
    ]
    return {task: torch.cat([part[task] for part in parts]).cpu().numpy() for task in parts[0]}


@torch.no_grad()
def validate(network: FaceNetwork, val: Faces, member: Member) -> dict[str, float]:
    """Figures of the validation faces, without test-time views.

    ``val_loss``; ``val_accuracy`` and ``val_macro_f1`` of the expression; ``val_TASK_accuracy`` of other classifications;
    ``val_ccc``, the mean of valence's and arousal's. What has no labels has no figure.
    """
    network.eval()
    device = next(network.parameters()).device
    starts = range(0, len(val.ids), member.batch_size)  # what fits with gradients fits without
    parts = [network(torch.from_numpy(val.pixels[start : start + member.batch_size]).to(device)) for start in starts]
    raw = {task: torch.cat([part[task] for part in parts]) for task in parts[0]}
    targets = {task: torch.from_numpy(val.targets[task]).to(device) for task in raw}
    figures = {"val_loss": network.loss(raw, targets, member.task_weights, learned=False).item()}  # a mean over all of a label
    for task, value in raw.items():
        found, truth = network.heads[task].outputs(value).cpu().numpy(), val.targets[task]  # type: ignore[operator]
        if TASKS[task].kind == "affect":
            known = ~np.isnan(truth).any(axis=1)
            if known.any():
                ccc = of_kind("affect")["ccc"]
                figures["val_ccc"] = float(np.mean([ccc(truth[known, i], found[known, i]) for i in range(2)]))
        elif (known := truth >= 0).any():
            names = {"accuracy": "val_accuracy", "macro_f1": "val_macro_f1"}
            if task != "expression":
                names = {"accuracy": f"val_{task}_accuracy"}
            figures |= {column: of_kind("classification")[name](truth[known], found[known]) for name, column in names.items()}
    return figures

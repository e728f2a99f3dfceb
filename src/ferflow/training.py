"""Training a member: faces and targets in, a network and its history out. One file, read from top to bottom.

It knows no file, no tracking server and no orchestrator: stages read and write, and pass values.
"""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from time import perf_counter
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ferflow.faces import Faces
from ferflow.model import FaceNetwork, build
from ferflow.params import Member
from ferflow.registry import get
from ferflow.transforms import Recipe

Item = TypeVar("Item")


@dataclass(frozen=True)
class Trained:
    """The network with the weights of its best epoch, and a row of figures for every epoch."""

    network: FaceNetwork
    history: list[dict[str, float]]
    best_epoch: int


class DivergedError(ArithmeticError):
    """The loss is not finite any more; the message names the epoch, the step, the learning rate and the ids."""


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def best_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(member: Member, tasks: dict[str, tuple[str, ...]], data: Faces, val: Faces, seed: int) -> Trained:
    """Train a member from its seed; keep the epoch with the best validation score.

    The score is the accuracy of the expression where there is one, else the negative validation loss. The
    same seed gives the same weights on the same machine's CPU. Raises ``DivergedError``.
    """
    seed_everything(seed)
    device = best_device()
    network = build(member, tasks, data.pixels.shape[1]).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = get("transforms", member.recipe)(data.pixels.shape[1], seed)
    steps = member.epochs * steps_an_epoch(len(data.ids), member.batch_size)
    optimizer = torch.optim.AdamW(_parameter_groups(network, member.weight_decay), lr=member.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, member.lr, total_steps=steps, pct_start=0.25)
    history: list[dict[str, float]] = []
    best: tuple[float, int, dict[str, Tensor]] = (-np.inf, 0, {})
    progress = tqdm(total=steps, unit="step", desc=f"train {member.label}", mininterval=5, dynamic_ncols=True)

    for epoch in range(1, member.epochs + 1):
        network.train()
        total, waited, started = 0.0, [0.0], perf_counter()
        for step, (rows, pixels) in enumerate(ahead(batches(data, member.batch_size, recipe, seed + epoch), waited)):
            targets = {task: torch.from_numpy(target[rows]).to(device) for task, target in data.targets.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=member.precision == "bf16"):
                raw = network(torch.from_numpy(pixels).to(device))
            raw = {task: value.float() for task, value in raw.items()}
            loss = network.loss(raw, targets, member.task_weights)
            if not torch.isfinite(loss):
                ids = ", ".join(data.ids[row] for row in rows[:5])
                rate = schedule.get_last_lr()[0]
                raise DivergedError(f"loss {loss.item()} at epoch {epoch}, step {step}, lr {rate:.2g}; first ids: {ids}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
            progress.update()
        figures: dict[str, float] = {"epoch": epoch, "lr": float(schedule.get_last_lr()[0])}
        figures["train_loss"] = total / (step + 1)
        figures |= {"epoch_s": perf_counter() - started, "wait_s": waited[0]}
        figures |= validate(network, val, member)
        history.append(figures)
        score = figures.get("val_accuracy", -figures["val_loss"])
        if score > best[0]:
            best = (score, epoch, {name: value.cpu().clone() for name, value in network.state_dict().items()})
        progress.set_postfix({name: f"{value:.3f}" for name, value in figures.items() if name.startswith("val_")})

    progress.close()
    network.load_state_dict(best[2])
    return Trained(network.cpu().eval(), history, best[1])


def _parameter_groups(network: FaceNetwork, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels only: not for biases and normalisation."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def steps_an_epoch(rows: int, batch_size: int) -> int:
    """Full batches in ``rows``; the rest is left out, as the order changes every epoch; at least one."""
    return max(1, rows // batch_size)


def batches(data: Faces, size: int, recipe: Recipe, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled batches of one epoch: row numbers (B) and augmented pixels (B x S x S x C, uint8)."""
    order = np.random.default_rng(seed).permutation(len(data.ids))
    for index in range(steps_an_epoch(len(order), size)):
        rows = order[index * size : (index + 1) * size]
        yield rows, np.stack([recipe(face) for face in data.pixels[rows]])


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
    """Validation loss and, for the expression, accuracy."""
    network.eval()
    device = next(network.parameters()).device
    total, outputs = 0.0, []
    for start in range(0, len(val.ids), 256):
        rows = slice(start, start + 256)
        raw = network(torch.from_numpy(val.pixels[rows]).to(device))
        targets = {task: torch.from_numpy(target[rows]).to(device) for task, target in val.targets.items()}
        total += network.loss(raw, targets, member.task_weights).item() * len(val.ids[rows])
        if "expression" in raw:
            outputs.append(raw["expression"].argmax(dim=1).cpu().numpy())
    figures = {"val_loss": total / len(val.ids)}
    if outputs and (known := val.targets["expression"] >= 0).any():
        truth, guess = val.targets["expression"][known], np.concatenate(outputs)[known]
        figures["val_accuracy"] = float((truth == guess).mean())
    return figures

"""What training costs, as ratios taken in one run; and what two choices (memory layout, precision) bring on this machine.

    python benchmarks/training.py epoch    a whole epoch as members are trained, against a bare torch loop on tensors in memory
    python benchmarks/training.py layout   channels_last and bf16 against the plain layout and fp32
    python benchmarks/training.py input    what each recipe can feed: faces one by one on a CPU, and in batches on this device

Run in the project's root. Times are of this machine at this moment: only the ratios mean something. With a GPU (there, say,
``epoch --faces 65536 --batch 1024 --rounds 3``) ``epoch`` has its utilisation, too.
"""

import argparse
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import numpy as np
import torch
from timm.optim import create_optimizer_v2

from ferflow.faces import Faces
from ferflow.model import build
from ferflow.params import Member
from ferflow.registry import get, names
from ferflow.training import batches, resident, train

TASKS = {"expression": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")}
NETWORKS: dict[str, dict[str, object]] = {
    "seresnet": {"backbone": "seresnet"},
    "cnn": {"backbone": "cnn", "options": {"width": 32}},
    "timm resnet18": {"backbone": "timm", "variant": "resnet18"},
}
BASE: dict[str, object] = {"modality": "gray", "recipe": "crp", "epochs": 1, "batch_size": 64, "optimizer": "sgd", "lr": 0.01}
BASE |= {"clip": 0.0, "schedule": "constant", "weight_decay": 0.0, "label_smoothing": 0.0, "dropout": 0.0, "image_size": 0}
BASE |= {"precision": "fp32", "pretrained": False, "task_weights": {"expression": 1.0}}

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def member(changes: dict[str, object]) -> Member:
    """A grey member with the recipe crp and these changes."""
    return Member.model_validate(BASE | changes)


def faces(count: int) -> Faces:
    """Noise of 48 x 48: what is in a picture does not change what it costs."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, 48, 48, 1), dtype=np.uint8)
    return Faces([str(i) for i in range(count)], pixels, {"expression": draw.integers(0, 7, count)})


def bare(one: Member, data: Faces, channels_last: bool = True) -> float:
    """Faces a second of the least that training can be: tensors in memory, forward, loss, backward, step."""
    device = DEVICE
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = build(one, TASKS, 48).to(device, memory_format=layout).train()
    optimizer = create_optimizer_v2(network, one.optimizer, one.lr, one.weight_decay)
    pixels, target = torch.from_numpy(data.pixels).to(device), torch.from_numpy(data.targets["expression"]).to(device)
    rows = range(0, len(data.ids) - one.batch_size + 1, one.batch_size)
    started = time.perf_counter()
    for start in rows:
        with torch.autocast(device.type, torch.bfloat16, enabled=one.precision == "bf16"):
            raw = network(pixels[start : start + one.batch_size])["expression"].float()
        loss = torch.nn.functional.cross_entropy(raw, target[start : start + one.batch_size])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(rows) * one.batch_size / (time.perf_counter() - started)


@contextmanager
def utilisation(found: list[int]) -> Iterator[None]:
    """Adds the GPU's utilisation in percent, as its driver tells it, five times a second; nothing without one."""
    over = Event()

    def ask() -> None:
        while not over.wait(0.2):
            command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            found.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]))

    asking = Thread(target=ask)
    if DEVICE.type == "cuda":
        asking.start()
    try:
        yield
    finally:
        over.set()
        if asking.ident:
            asking.join()


def bench_epoch(count: int, rounds: int, batch_size: int) -> None:
    """The median ratio of short rounds by turns, so that a slow moment of the machine hits both."""
    data, val = faces(count), faces(64)
    print("| network | recipe | bare loop, faces/s | epoch, faces/s | ratio | GPU busy |\n|---|---|---|---|---|---|")
    for name, changes in NETWORKS.items():
        for recipe in ("crp", "strong"):
            one = member(changes | {"recipe": recipe, "batch_size": batch_size})
            bare(one, faces(4 * batch_size))
            floor, ours, busy = [], [], list[int]()
            for _ in range(rounds):
                floor.append(bare(one, data))
                with utilisation(busy):
                    history = train(one, TASKS, data, val, 0).history
                ours.append(count // one.batch_size * one.batch_size / history[0]["epoch_s"])
            ratio = np.median(np.array(ours) / np.array(floor))
            gpu = f"{np.mean(busy):.0f} %" if busy else "none"
            print(f"| {name} | {recipe} | {np.median(floor):.0f} | {np.median(ours):.0f} | {ratio:.2f} | {gpu} |", flush=True)


def bench_input(count: int, rounds: int, batch_size: int) -> None:
    """Changed faces a second of each recipe."""
    pixels = faces(count).pixels
    print("| recipe | one by one, faces/s | in batches, faces/s | ratio |\n|---|---|---|---|")
    for name in names("transforms"):
        found = []
        for _ in range(rounds):
            recipe, started = get("transforms", name)(48, 0), time.perf_counter()
            sum(1 for _ in batches(torch.from_numpy(pixels), np.arange(count), batch_size, recipe))
            single, there, started = time.perf_counter() - started, resident(pixels, DEVICE), time.perf_counter()
            for start in range(0, count, batch_size):
                if recipe.batch:
                    recipe.batch(there[start : start + batch_size])
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            found.append((count / single, count / (time.perf_counter() - started)))
        single, many = np.median(found, axis=0)
        cells = f"{many:.0f} | {many / single:.2f}" if recipe.batch else "none | none"
        print(f"| {name} | {single:.0f} | {cells} |", flush=True)


def bench_layout(count: int, rounds: int) -> None:
    """Faces a second of the bare loop in each layout and precision."""
    data = faces(count)
    networks = NETWORKS | {"timm efficientnet_b0": {"backbone": "timm", "variant": "efficientnet_b0"}}  # depthwise convolutions
    print("| network | plain fp32 | channels_last fp32 | ratio | channels_last bf16 | ratio to fp32 |\n|---|---|---|---|---|---|")
    for name, changes in networks.items():
        fp32, bf16 = member(changes), member(changes | {"precision": "bf16"})
        found = np.array(
            [[bare(fp32, data, False), bare(fp32, data), bare(bf16, faces(min(count, 512)))] for _ in range(rounds + 1)][1:]
        )
        plain, last, half = np.median(found, axis=0)
        print(f"| {name} | {plain:.0f} | {last:.0f} | {last / plain:.2f} | {half:.0f} | {half / last:.2f} |", flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["epoch", "layout", "input"])
    parser.add_argument("--faces", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    if DEVICE.type == "cpu":
        torch.set_num_threads(2)
    print(f"{torch.get_num_threads()} threads, {DEVICE.type}")
    if arguments.what == "layout":
        bench_layout(arguments.faces, arguments.rounds)
    else:
        (bench_epoch if arguments.what == "epoch" else bench_input)(arguments.faces, arguments.rounds, arguments.batch)


if __name__ == "__main__":
    main()

"""What training costs, as ratios taken in one run; and what two choices (memory layout, precision) bring on this machine.

    python benchmarks/training.py epoch    a whole epoch as members are trained, against a bare torch loop on tensors in memory
    python benchmarks/training.py layout   channels_last and bf16 against the plain layout and fp32

Run in the project's root. Times are of this machine at this moment: only the ratios mean something.
"""

import argparse
import time

import numpy as np
import torch
from timm.optim import create_optimizer_v2

from ferflow.faces import Faces
from ferflow.model import build
from ferflow.params import Member
from ferflow.training import train

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


def bench_epoch(count: int, rounds: int) -> None:
    """The median ratio of short rounds by turns, so that a slow moment of the machine hits both."""
    data, val = faces(count), faces(64)
    print("| network | recipe | bare loop, faces/s | epoch, faces/s | ratio |\n|---|---|---|---|---|")
    for name, changes in NETWORKS.items():
        for recipe in ("crp", "strong"):
            one = member(changes | {"recipe": recipe})
            bare(one, faces(256))
            floor, ours = [], []
            for _ in range(rounds):
                floor.append(bare(one, data))
                history = train(one, TASKS, data, val, 0).history
                ours.append(count // one.batch_size * one.batch_size / history[0]["epoch_s"])
            ratio = np.median(np.array(ours) / np.array(floor))
            print(f"| {name} | {recipe} | {np.median(floor):.0f} | {np.median(ours):.0f} | {ratio:.2f} |", flush=True)


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
    parser.add_argument("what", choices=["epoch", "layout"])
    parser.add_argument("--faces", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    if DEVICE.type == "cpu":
        torch.set_num_threads(2)
    print(f"{torch.get_num_threads()} threads, {DEVICE.type}")
    (bench_epoch if arguments.what == "epoch" else bench_layout)(arguments.faces, arguments.rounds)


if __name__ == "__main__":
    main()

"""What evaluation costs: ten members' predictions, drawn by lot, through the stages ensemble, evaluate and report.

    python benchmarks/evaluation.py [--faces 3589] [--members 10]      seconds of each stage, and the peak of memory
    python benchmarks/evaluation.py --faces 400000                     the same at the size of a large set

Times are of this machine at this moment.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import yaml

from ferflow.card import Card
from ferflow.images import encode_png
from ferflow.stages import COST, DATA_REPORTS, HISTORIES, MANIFEST, MEMBERS, RELEASE, SPLITS, STUDENTS, write_json
from ferflow.tables import predictions_table, write_rows

ROOT = Path(__file__).parent.parent
CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")
STAGES = ("ensemble", "evaluate", "report")


def make_project(faces: int, members: int) -> None:
    """A project in this folder, as it would be after training: labels, and predictions of members of different skill."""
    draw = np.random.default_rng(0)
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    entry = raw["members"]["gray-cnn"]
    raw["members"] = {f"member{index}": entry | {"lr": 0.001 * (index + 1)} for index in range(members)}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    count = {"val": faces, "test": faces}
    splits = np.repeat(list(count), list(count.values()))
    truth = draw.integers(0, len(CLASSES), len(splits))
    ids = [f"face-{index}" for index in range(len(splits))]
    image = encode_png(np.zeros((8, 8, 3), np.uint8))
    genders = draw.choice(["male", "female"], len(ids))
    MANIFEST.parent.mkdir()
    write_rows(
        ({"id": i, "image": image, "expression": CLASSES[t], "gender": g} for i, t, g in zip(ids, truth, genders, strict=True)),
        MANIFEST,
    )
    table = pd.DataFrame({"id": ids, "split": splits, "duplicate_group": range(len(ids)), "alike_group": range(len(ids))})
    table.assign(leaked=False, nearly_leaked=draw.random(len(ids)) < 0.1).to_parquet(SPLITS)
    cost = {}
    for index, name in enumerate(raw["members"]):
        folder = MEMBERS / name
        folder.mkdir(parents=True)
        card = Card(name=name, members={name: "cnn"}, input_size=64, modality="gray", tasks={"expression": CLASSES},
                    dataset="synthetic", parameters=1000, temperatures={"expression": 1.2})  # fmt: skip
        write_json(card.model_dump(), folder / "card.json")
        scores = draw.normal(0, 1, (len(ids), len(CLASSES)))
        scores[np.arange(len(ids)), truth] += 1 + 0.1 * index
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        tables = [
            predictions_table(
                card, [i for i, s in zip(ids, splits, strict=True) if s == side], side, {"expression": shares[splits == side]}
            )
            for side in count
        ]
        pd.concat(tables).to_parquet(folder / "predictions.parquet")
        cost[name] = {"parameters": 1000, "gmac": 0.01 * (index + 1), "ms": 1.0 + index, "fps": 1000.0 / (index + 1)}
        HISTORIES.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.3, 0.4], "val_loss": [2.0, 1.5]}).to_csv(HISTORIES / f"{name}.csv")
    STUDENTS.mkdir(parents=True)
    write_json(cost | {"ensemble": {"parameters": 10000, "gmac": 0.5, "ms": 50.0, "fps": 20.0}}, COST)
    RELEASE.mkdir(parents=True)
    write_json(card.model_dump(), RELEASE / "card.json")
    DATA_REPORTS.mkdir(parents=True)
    write_json({"rows_in": len(ids), "kept": len(ids), "quarantined": 0, "checks": []}, DATA_REPORTS / "validation.json")
    write_json({"counts": {"test": {"happy": faces}}, "leaks": {}}, DATA_REPORTS / "split.json")


def main() -> None:
    """Parse the command line, make the project, run the stages as processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=3589)
    parser.add_argument("--members", type=int, default=10)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        make_project(arguments.faces, arguments.members)
        print(
            f"{arguments.members} members x {arguments.faces} test faces\n\n| stage | seconds | peak GiB so far |\n|---|---|---|"
        )
        for stage in STAGES:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", f"ferflow.stages.{stage}"], check=True, stdout=subprocess.DEVNULL)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            print(f"| {stage} | {time.perf_counter() - started:.1f} | {peak:.2f} |", flush=True)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()

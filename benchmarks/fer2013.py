"""The networks of the systems that this one replaces, and our own, on FER-2013: one table, beside their authors' figures.

    ferflow preset fer2013_benchmark && dvc repro && python benchmarks/fer2013.py

reads what the pipeline made and writes reports/benchmarks/fer2013.csv and fer2013.md. Rows of members that are not trained
here stay as they were, so that runs of several days add up. Speed is measured here and now, on one machine.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferflow import params
from ferflow.card import Card
from ferflow.combiners import Combination
from ferflow.cost import gmac, timed
from ferflow.evaluation import evaluate
from ferflow.model import EnsembleNetwork
from ferflow.released import load_network
from ferflow.resampling import Resamples
from ferflow.stages import ENSEMBLE, HISTORIES, MANIFEST, MEMBERS, SPLITS, STUDENTS, read_json
from ferflow.stages.register import code_version
from ferflow.tables import load_labels, task_labels

TABLE = Path("reports/benchmarks/fer2013.csv")
# member -> what its authors report, in percent, and on what
AUTHORS = {
    "baseline": (52.03, "validation"),
    "attention": (62.56, "validation"),
    "multiscale": (50.25, "validation"),
    "hybrid": (55.71, "validation"),
    "specialists": (53.15, "validation"),
    "vit_tiny": (69.85, "validation"),
    "custom_cnn": (64.4, "test"),
    "mobilenetv3_small": (69.8, "test"),
    "efficientnet_b0_240": (71.3, "test"),
    "resnet18": (69.3, "test"),
    "efficientnet_b0_none": (62.25, "test"),
    "efficientnet_b0_crp": (66.66, "test"),
    "efficientnet_b0_crp_color": (64.51, "test"),
    "efficientnet_b0_crp_cutout": (65.22, "test"),
    "efficientnet_b0_mix": (64.69, "test"),
    "ensemble": (68.74, "test, two EfficientNet-B0, 0.0464 GMAC"),
}


def figures(name: str, folder: Path, labels: pd.DataFrame) -> dict[str, Any]:
    """Accuracy and macro F1 of the expression on validation, on the test split, and on its leak-free part, in percent."""
    card = Card.model_validate(
        read_json(folder / "card.json") if name != "ensemble" else read_json(ENSEMBLE / "ensemble.json")["card"]
    )
    predictions = pd.read_parquet(folder / "predictions.parquet")
    tasks = {"expression": card.tasks["expression"]}
    leaked = predictions["id"].map(labels["nearly_leaked"]).to_numpy(bool)
    sides = {"val": predictions["split"] == "val", "test": predictions["split"] == "test"}
    sides["leak_free"] = sides["test"] & ~leaked
    row: dict[str, Any] = {"parameters": card.parameters}
    for side, chosen in sides.items():
        part = predictions[chosen]
        resamples = Resamples(len(part), 1000) if side == "test" else None
        found = evaluate(part, {"expression": task_labels(labels.loc[part["id"]], "expression")}, tasks, resamples)
        row[side] = 100 * found.values["expression"]["accuracy"]
        if side == "test":
            low, high = found.interval("expression", "accuracy")
            row |= {"low": 100 * low, "high": 100 * high, "macro_f1": 100 * found.values["expression"]["macro_f1"]}
    return row


def measured(settings: params.Params, name: str, labels: pd.DataFrame) -> dict[str, Any]:
    """One network's row."""
    member = settings.networks[name]
    folder = (MEMBERS if name in settings.members else STUDENTS) / name
    network, history = load_network(member, folder), pd.read_csv(HISTORIES / f"{name}.csv")
    size, alone = settings.dataset.image_size, EnsembleNetwork([network], {"expression": Combination([1.0])}).eval()
    row = {"member": name, "network": member.label, **figures(name, folder, labels), "gmac": gmac(alone, size)}
    row |= {"faces_s": timed({name: alone}, size, 3)[name]["fps"], "train_min": history["epoch_s"].sum() / 60}
    row |= {"epochs": len(history)}
    row |= {"recipe": member.recipe, "views": member.tta, "crowd": member.task_weights.get("crowd", 0) > 0}
    return row | {"pretrained": str(member.pretrained), "seed": settings.seed, "commit": code_version()[:7]}


def main() -> None:
    """Measure what is there, keep what was measured before, write both files."""
    settings, labels = params.load(), load_labels(MANIFEST, SPLITS)
    rows = [
        measured(settings, name, labels)
        for name in settings.networks
        if ((MEMBERS if name in settings.members else STUDENTS) / name / "card.json").exists()
    ]
    by_name = {row["member"]: row for row in rows}
    if (ENSEMBLE / "ensemble.json").exists():
        weights = read_json(ENSEMBLE / "ensemble.json")["combinations"]["expression"]["weights"]
        parts = [name for name, weight in zip(settings.members, weights, strict=True) if weight > 0]
        total = {key: sum(by_name[name][key] for name in parts) for key in ("parameters", "gmac", "train_min")}
        rate = 1 / np.sum([1 / by_name[name]["faces_s"] for name in parts])
        rows.append(
            {
                "member": "ensemble",
                "network": " + ".join(parts),
                **figures("ensemble", ENSEMBLE, labels),
                **total,
                "faces_s": rate,
                "seed": settings.seed,
            }
        )
    table = pd.DataFrame(rows)
    if TABLE.exists():
        before = pd.read_csv(TABLE)
        table = pd.concat([before[~before["member"].isin(table["member"])], table])
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(TABLE, index=False, float_format="%.5g")
    TABLE.with_suffix(".md").write_text(as_markdown(table))
    print(TABLE.with_suffix(".md").read_text())


def as_markdown(table: pd.DataFrame) -> str:
    """The table for people; a network whose authors' figure stands there alone was not trained here yet."""
    shown = pd.DataFrame(
        {
            "member": table["member"],
            "authors": [_authors(name) for name in table["member"]],
            "validation": table["val"].round(1),
            "test [95 %]": [f"{row.test:.1f} [{row.low:.1f}, {row.high:.1f}]" for row in table.itertuples()],
            "leak-free": table["leak_free"].round(1),
            "macro F1": table["macro_f1"].round(1),
            "M parameters": (table["parameters"] / 1e6).round(2),
            "GMAC": table["gmac"].round(4),
            "accuracy/GMAC": (table["test"] / 100 / table["gmac"]).round(1),
            "faces/s": table["faces_s"].round(0),
            "minutes": table["train_min"].round(0),
            **{name: table[name] for name in ("epochs", "recipe", "views", "crowd", "pretrained", "seed", "commit")},
        }
    )
    missing = [f"{name} ({_authors(name)})" for name in AUTHORS if name not in set(table["member"])]
    lines = [
        "# FER-2013",
        "",
        "Made by `python benchmarks/fer2013.py`. Test is PublicTest (3,589 faces), looked at once a member was final; leak-free",
        "is it without images identical to one in training or validation. Accuracies in percent, intervals are Wilson's. GMAC",
        "counts every view that is averaged (flip doubles it); accuracy/GMAC is the share of right answers divided by it. crowd:",
        "the member also learned the votes of FER+ for its training faces. Speed and time on two CPU cores, other work beside.",
        "",
        shown.astype(object).where(shown.notna(), "").to_markdown(index=False),
        "",
        f"Not trained here yet: {', '.join(missing) or 'none'}.",
    ]
    return "\n".join(lines) + "\n"


def _authors(name: str) -> str:
    return f"{AUTHORS[name][0]:g} {AUTHORS[name][1]}" if name in AUTHORS else ""


if __name__ == "__main__":
    main()

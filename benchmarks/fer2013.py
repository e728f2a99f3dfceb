"""The networks of the systems that this one replaces, and our own, on FER-2013: one table, beside their authors' figures.

    ferflow preset fer2013_benchmark && dvc repro && python benchmarks/fer2013.py

reads what the pipeline made and writes reports/benchmarks/fer2013.csv and fer2013.md. A row is made anew when its member's
weights are new ones; other rows, also of members that are not here, stay as they were, so that runs of several days add
up. Speed is measured here and now, for all networks that are here in turns.
"""

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ferflow import params
from ferflow.card import task_columns
from ferflow.cost import gmac, timed
from ferflow.evaluation import evaluate
from ferflow.faces import tasks_of
from ferflow.released import load_alone
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
    "pair": (68.74, "test, at 0.0464 GMAC"),
}
SETTINGS = ("epochs", "recipe", "views", "precision", "crowd", "pretrained", "seed", "machine", "commit")


def figures(predictions: pd.DataFrame, labels: pd.DataFrame) -> dict[str, float]:
    """Accuracy and macro F1 of the expression on validation, on the test split, and on its leak-free part, in percent."""
    leaked = predictions["id"].map(labels["nearly_leaked"]).to_numpy(bool)
    sides = {"val": predictions["split"] == "val", "test": predictions["split"] == "test"}
    sides["leak_free"] = sides["test"] & ~leaked
    row: dict[str, float] = {}
    tasks = {"expression": tasks_of(labels)["expression"]}
    for side, chosen in sides.items():
        part = predictions[chosen]
        resamples = Resamples(len(part), 1000) if side == "test" else None
        truth = {"expression": task_labels(labels.loc[part["id"]], "expression")}
        found = evaluate(part, truth, tasks, resamples)
        row[side] = 100 * found.values["expression"]["accuracy"]
        if side == "test":
            low, high = found.interval("expression", "accuracy")
            row |= {"low": 100 * low, "high": 100 * high, "macro_f1": 100 * found.values["expression"]["macro_f1"]}
    return row


def measured(settings: params.Params, name: str, folder: Path, labels: pd.DataFrame) -> dict[str, Any]:
    """One network's row, but for its speed."""
    member, history = settings.networks[name], pd.read_csv(HISTORIES / f"{name}.csv")
    card, network = load_alone(member, folder)
    predictions = pd.read_parquet(folder / "predictions.parquet")
    row = {"member": name, "network": member.label, **figures(predictions, labels)}
    row |= {"parameters": card.parameters, "gmac": gmac(network, card.input_size), "train_min": history["epoch_s"].sum() / 60}
    row |= {"epochs": len(history), "recipe": member.recipe, "views": member.tta, "precision": member.precision}
    row |= {"crowd": member.task_weights.get("crowd", 0) > 0, "pretrained": str(member.pretrained), "seed": settings.seed}
    return row | {"machine": machine(), "commit": code_version()[:7], "weights": weights_of(folder)}


def weights_of(folder: Path) -> str:
    """Which weights lie there."""
    return hashlib.blake2b((folder / "weights.pt").read_bytes(), digest_size=4).hexdigest()


def machine() -> str:
    """Its kind."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return f"{os.cpu_count()} cores, {models[0] if models else platform.machine()}"


def combined(name: str, weights: dict[str, float], predictions: pd.DataFrame, rows: dict[str, Any], labels: pd.DataFrame) -> Any:
    """The row of several networks together; None where one of them has no row."""
    parts = [part for part, weight in weights.items() if weight > 0]
    if not set(parts) <= rows.keys():
        return None
    total = {key: sum(rows[part][key] for part in parts) for key in ("parameters", "gmac", "train_min")}
    total["faces_s"] = 1 / sum(1 / rows[part]["faces_s"] for part in parts)
    row = {"member": name, "network": " + ".join(parts), **figures(predictions, labels), **total}
    return row | {key: rows[parts[0]][key] for key in ("seed", "machine", "commit")}


def average(weights: dict[str, float], labels: pd.DataFrame) -> pd.DataFrame:
    """Predictions of members, weighted."""
    tables = [pd.read_parquet(MEMBERS / name / "predictions.parquet").set_index("id") for name in weights]
    columns = task_columns("expression", tasks_of(labels)["expression"])
    mean = sum(weight * table.loc[tables[0].index, columns] for weight, table in zip(weights.values(), tables, strict=True))
    return tables[0][["split"]].join(mean / sum(weights.values())).reset_index()


def main() -> None:
    """Measure what is there, keep what was measured before, write both files."""
    settings, labels = params.load(), load_labels(MANIFEST, SPLITS)
    before = pd.read_csv(TABLE, dtype={"weights": str}) if TABLE.exists() else pd.DataFrame(columns=["member", "weights"])
    rows: dict[str, Any] = {row["member"]: row for row in before.to_dict("records")}
    folders = {name: (MEMBERS if name in settings.members else STUDENTS) / name for name in settings.networks}
    here = {name: folder for name, folder in folders.items() if (folder / "card.json").exists()}
    for name, folder in here.items():
        if name not in rows or rows[name]["weights"] != weights_of(folder):
            rows[name] = measured(settings, name, folder, labels)
    networks = {name: load_alone(settings.networks[name], folder)[1] for name, folder in here.items()}
    for name, found in timed(networks, settings.dataset.image_size).items():
        rows[name]["faces_s"] = found["fps"]
    together: dict[str, Any] = {}
    if (ENSEMBLE / "ensemble.json").exists():
        ensemble = read_json(ENSEMBLE / "ensemble.json")
        weights = dict(zip(ensemble["card"]["members"], ensemble["combinations"]["expression"]["weights"], strict=True))
        together["ensemble"] = (weights, pd.read_parquet(ENSEMBLE / "predictions.parquet"))
    for name, fixed in settings.ensemble.fixed.items():
        if name != settings.ensemble.way and here.keys() >= fixed.keys():
            together[name] = (fixed, average(fixed, labels))
    for name, (weights, predictions) in together.items():
        rows[name] = combined(name, weights, predictions, rows, labels) or rows.get(name)
    table = pd.DataFrame([row for row in rows.values() if row])
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
            **{name: table[name] for name in SETTINGS},
        }
    )
    missing = [f"{name} ({_authors(name)})" for name in AUTHORS if name not in set(table["member"])]
    lines = [
        "# FER-2013",
        "",
        "Made by `python benchmarks/fer2013.py`. Test is PublicTest (3,589 faces), looked at once a member was final, and again",
        "where it was then trained with other settings (chosen on validation; docs/experiments.md tells why); leak-free",
        "is it without faces that have an identical or nearly identical image in training or validation. Accuracies in percent,",
        "intervals of 1,000 bootstrap resamples. GMAC counts every view that is averaged (flip doubles it); accuracy/GMAC is the",
        "share of right answers divided by it. crowd: the member also learned the votes of FER+ for its training faces. minutes:",
        "of the steps of training, without validation, nor the teachers of a student; there may have been other work beside it.",
        f"faces/s: in batches of 32, {torch.get_num_threads()} threads, on the machine that made the last row. commit: of the",
        "code that made the row.",
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

"""Stage robustness: every network, and the ensemble, on test faces that were made worse in ten ways, at five strengths.

How a face is made worse is known to ``ferflow.robustness``; nothing is chosen by what is found here.
"""

import numpy as np
import pandas as pd
from tqdm import tqdm

from ferflow import params, plots
from ferflow.card import Card
from ferflow.faces import load_faces
from ferflow.model import FaceNetwork
from ferflow.released import combinations_of, load_network
from ferflow.resampling import Resamples, interval
from ferflow.robustness import CORRUPTIONS, STRENGTHS, corrupted
from ferflow.stages import (
    ENSEMBLE,
    MANIFEST,
    MEMBERS,
    PLOTS,
    ROBUSTNESS,
    SPLITS,
    STUDENTS,
    Summary,
    fresh_folder,
    main,
    read_json,
)
from ferflow.tables import load_labels
from ferflow.training import predict

TASK = "expression"


def run() -> Summary:
    """Write ``reports/robustness/``: ``table.csv`` (a row a network, corruption and strength), ``summary.csv``; and a plot."""
    settings = params.load()
    fresh_folder(ROBUSTNESS)
    fresh_folder(PLOTS / "robustness")
    labels = load_labels(MANIFEST, SPLITS)
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    card = Card.model_validate(ensemble["card"])
    if TASK not in card.tasks or not settings.robustness.faces:
        pd.DataFrame().to_csv(ROBUSTNESS / "table.csv")
        return Summary("robustness: nothing to look at (no expressions, or robustness.faces is 0)")
    chosen = labels[(labels["split"] == "test") & labels[TASK].notna()]
    chosen = chosen.sample(min(settings.robustness.faces, len(chosen)), random_state=settings.seed)
    tasks = {TASK: card.tasks[TASK]}
    faces = load_faces(MANIFEST, chosen, ("test",), card.input_size, "rgb", tasks)["test"]
    networks = {
        name: load_network(member, (MEMBERS if name in settings.members else STUDENTS) / name)
        for name, member in settings.networks.items()
    }
    combine = combinations_of(ensemble)[TASK]
    resamples = Resamples(len(faces.ids), settings.evaluate.resamples, settings.seed)
    ways = [("none", 0), *((name, strength) for name in CORRUPTIONS for strength in STRENGTHS)]
    rows = []
    for name, strength in tqdm(ways, unit="way", desc="robustness", mininterval=5, dynamic_ncols=True):
        pixels = faces.pixels if name == "none" else corrupted(faces.pixels, name, strength, settings.seed)
        answers = {key: _ask(network, pixels) for key, network in networks.items() if TASK in network.heads}
        stacked = np.stack([answers.get(key, np.zeros_like(next(iter(answers.values())))) for key in settings.members])
        answers["ensemble"] = combine(stacked)
        for key, shares in answers.items():
            right = (shares.argmax(axis=1) == faces.targets[TASK]).astype(float)[:, None]
            low, high = interval(resamples.means(right, np.ones(len(right), bool))[:, 0])
            row = {"network": key, "corruption": name, "strength": strength, "accuracy": right.mean(), "low": low, "high": high}
            rows.append(row | {"confidence": float(shares.max(axis=1).mean()), "n": len(right)})
    table = pd.DataFrame(rows)
    table.to_csv(ROBUSTNESS / "table.csv", index=False)
    summary = _summary(table)
    summary.to_csv(ROBUSTNESS / "summary.csv", index=False)
    plots.robustness(table, 1 / len(tasks[TASK]), PLOTS / "robustness" / "robustness.png")
    return Summary(
        f"robustness: accuracy of the {TASK}, percent, mean over five strengths, {len(faces.ids)} test faces",
        [{str(key): value for key, value in row.items()} for row in summary.round(1).to_dict("records")],
    )


def _ask(network: FaceNetwork, pixels: np.ndarray) -> np.ndarray:
    return predict(network, pixels)[TASK]


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row a network: its accuracy in percent without corruption, and with each, the mean over its strengths."""
    means = 100 * table.pivot_table(index="network", columns="corruption", values="accuracy", aggfunc="mean", sort=False)
    means["mean of all"] = means.drop(columns="none").mean(axis=1)
    return means.reset_index().rename_axis(columns=None)


if __name__ == "__main__":
    main(run)

"""Stage explain: where the networks look, the most confident mistakes, and the most doubtful answers.

It draws and judges nothing; how a map is made is known to ``explanations``.
"""

import numpy as np
import pandas as pd

from ferflow import params, plots
from ferflow.card import Card, task_columns
from ferflow.explanations import METHODS, heat_maps, is_transformer, overlaid
from ferflow.faces import load_faces
from ferflow.released import load_network
from ferflow.stages import (
    ENSEMBLE,
    MANIFEST,
    MEMBERS,
    PLOTS,
    SPLITS,
    STUDENTS,
    Summary,
    fresh_folder,
    main,
    read_json,
)
from ferflow.tables import load_labels

TASK = "expression"
FOLDER = PLOTS / "explanations"
SHOWN = 12
A_CLASS = 40  # faces behind a class's mean map


def run() -> Summary:
    """Write ``reports/plots/explanations/``: a picture of mean maps a network, and of mistakes and doubts of the ensemble."""
    settings = params.load()
    fresh_folder(FOLDER)
    labels = load_labels(MANIFEST, SPLITS)
    card = Card.model_validate(read_json(ENSEMBLE / "ensemble.json")["card"])
    if TASK not in card.tasks:
        return Summary("explain: no expressions to explain")
    classes = card.tasks[TASK]
    known = labels[(labels["split"] == "test") & labels[TASK].isin(classes)]
    chosen = known.groupby(TASK, group_keys=False).head(A_CLASS)
    faces = load_faces(MANIFEST, chosen, ("test",), card.input_size, "rgb", {TASK: classes})["test"]
    rows = []
    for name, member in settings.networks.items():
        network = load_network(member, (MEMBERS if name in settings.members else STUDENTS) / name)
        if TASK not in network.heads:
            continue
        maps = heat_maps(network, faces.pixels, faces.targets[TASK])
        method = METHODS[is_transformer(network)]
        pictures, captions = [], []
        for number, expression in enumerate(classes):
            own = faces.targets[TASK] == number
            if own.any():
                mean = faces.pixels[own].mean(axis=0).astype(np.uint8)
                pictures += [mean, overlaid(mean, _stretched(maps[own].mean(axis=0)))]
                captions += [f"{expression}, {own.sum()}", "where it looked"]
        title = f"{name}: the mean face of every class, and the mean of its maps, each stretched from blue to red ({method})"
        plots.gallery(pictures, captions, None, title, FOLDER / f"{name}.png")
        rows.append({"network": name, "method": method, "faces": len(faces.ids)})
    _draw_hard_ones(settings, known, card)
    return Summary("explain", rows)


def _stretched(heat: np.ndarray) -> np.ndarray:
    """A map from 0 to 1: a mean of maps is flat, and what differs between classes would not be seen."""
    return np.asarray((heat - heat.min()) / max(float(np.ptp(heat)), 1e-9))


def whose_map(names: list[str], weights: list[float]) -> tuple[str, str]:
    """The member of most weight, and words for it: of several with as much, the first, and the words say so."""
    first = int(np.argmax(weights))
    alike = int(np.isclose(weights, weights[first]).sum())
    return names[first], "the heaviest member" if alike == 1 else f"the first of {alike} members of equal weight"


def _draw_hard_ones(settings: params.Params, known: pd.DataFrame, card: Card) -> None:
    """The ensemble's most confident mistakes and its most doubtful answers, each beside a map of the member of most weight."""
    classes = card.tasks[TASK]
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    predictions = pd.read_parquet(ENSEMBLE / "predictions.parquet").set_index("id").loc[known.index]
    shares = predictions[task_columns(TASK, classes)].to_numpy()
    guess = shares.argmax(axis=1)
    target = known[TASK].map({name: number for number, name in enumerate(classes)}).to_numpy()
    confidence = shares.max(axis=1)
    wrong = np.flatnonzero(guess != target)
    hard = {
        "mistakes": (wrong[np.argsort(-confidence[wrong], kind="stable")][:SHOWN], "most confident mistakes"),
        "doubts": (np.argsort(confidence, kind="stable")[:SHOWN], "most doubtful answers"),
    }
    looked, words = whose_map(list(settings.members), ensemble["combinations"][TASK]["weights"])
    network = load_network(settings.members[looked], MEMBERS / looked)
    for file, (rows, title) in hard.items():
        if not len(rows):
            continue
        faces = load_faces(MANIFEST, known.iloc[rows], ("test",), card.input_size, "rgb", {TASK: classes})["test"]
        place = {id_: number for number, id_ in enumerate(faces.ids)}
        order = [place[id_] for id_ in known.index[rows]]  # the hardest first
        maps = heat_maps(network, faces.pixels[order], guess[rows])
        pictures, captions = [], []
        for face, heat, row in zip(faces.pixels[order], maps, rows, strict=True):
            pictures += [face, overlaid(face, heat)]
            captions += [f"is {classes[target[row]]}", f"{classes[guess[row]]} {100 * confidence[row]:.0f} %"]
        title = f"The ensemble's {title}, and where {looked} looked: {words} ({METHODS[is_transformer(network)]})"
        plots.gallery(pictures, captions, None, title, FOLDER / f"{file}.png")


if __name__ == "__main__":
    main(run)

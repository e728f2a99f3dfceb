"""Stage train: one member's network, card, history, and predictions for validation and test.

``python -m ferflow.stages.train NAME`` is all that a bare GPU machine needs. The loop is ``training``'s; it knows no other
member.
"""

from pathlib import Path
from time import perf_counter

import pandas as pd
import torch

from ferflow import params
from ferflow.calibration import certain_above, fit_temperature, tempered
from ferflow.card import Card
from ferflow.faces import Faces, Tasks, load_faces, tasks_of
from ferflow.model import FaceNetwork
from ferflow.params import Member, Params
from ferflow.registry import get
from ferflow.stages import CHECKPOINTS, HISTORIES, MANIFEST, MEMBERS, SPLITS, StageError, Summary, main, write_json
from ferflow.tables import load_labels, predictions_table
from ferflow.training import Trained, predict, train
from ferflow.vocabulary import TASKS


def run(name: str) -> Summary:
    """Train the member ``name`` and write ``models/members/NAME/``."""
    settings = params.load()
    member = settings.member(name)
    libraries = load_libraries(member)
    labels = load_labels(MANIFEST, SPLITS)
    tasks = member.learns(tasks_of(labels))
    if all(TASKS[task].auxiliary for task in tasks):
        raise StageError(f"members.{name}.task_weights gives no task of this data a weight above 0: there is nothing to learn")
    data = load_faces(MANIFEST, labels, ("train", "val", "test"), settings.dataset.image_size, member.modality, tasks)
    return Summary("train", [train_and_write(settings, name, member, tasks, data, MEMBERS / name)], imports_s=libraries)


def train_and_write(
    settings: Params, name: str, member: Member, tasks: Tasks, data: dict[str, Faces], folder: Path
) -> dict[str, object]:
    """Train on ``data["train"]``, choose on ``data["val"]``, write all that a network leaves behind; a row that sums it up.

    What a broken run left in ``models/checkpoints/NAME.pt`` is taken up again.
    """
    checkpoint = CHECKPOINTS / f"{name}.pt"
    trained = train(member, tasks, data["train"], data["val"], settings.seed, checkpoint)
    certain = calibrate(trained.network, data["val"], settings.calibrate.certain_accuracy)
    card = Card(
        name=name,
        members={name: member.label},
        input_size=settings.dataset.image_size,
        modality=member.modality,
        tasks=tasks,
        dataset=settings.dataset.source,
        parameters=sum(parameter.numel() for parameter in trained.network.parameters()),
        temperatures=trained.network.temperatures,
        certain_above=certain,
    )
    write_network(card, trained, {split: data[split] for split in ("val", "test")}, folder)
    checkpoint.unlink(missing_ok=True)
    last = trained.history[trained.best_epoch - 1]
    row = {"member": name, "parameters": card.parameters, "best epoch": f"{trained.best_epoch}/{len(trained.history)}"}
    return row | {key: round(value, 4) for key, value in last.items() if key.startswith("val_")}


def calibrate(network: FaceNetwork, val: Faces, accuracy: float) -> float:
    """Give the network its temperatures, fitted on validation faces; the confidence from which on it is certain."""
    found = predict(network, val.pixels)
    network.temperatures = {
        task: fit_temperature(found[task], val.targets[task]) for task in found if TASKS[task].kind == "classification"
    }
    if "expression" not in found:
        return 0.0
    return certain_above(tempered(found["expression"], network.temperatures["expression"]), val.targets["expression"], accuracy)


def load_libraries(member: Member) -> float:
    """Import now what the member's entries and the first optimizer step would import later; seconds it took."""
    started = perf_counter()
    get("backbones", member.backbone)
    get("transforms", member.recipe)
    import torch._dynamo  # noqa: F401

    return perf_counter() - started


def write_network(card: Card, trained: Trained, held_out: dict[str, Faces], folder: Path) -> None:
    """Weights, card and predictions of held-out faces in ``folder``; the history where ``dvc plots`` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(trained.network.state_dict(), folder / "weights.pt")
    write_json(card.model_dump(), folder / "card.json")
    HISTORIES.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(trained.history).to_csv(HISTORIES / f"{card.name}.csv", index=False)
    tables = [
        predictions_table(card, faces.ids, split, predict(trained.network, faces.pixels)) for split, faces in held_out.items()
    ]
    pd.concat(tables).to_parquet(folder / "predictions.parquet", compression="zstd", index=False)


if __name__ == "__main__":
    main(run)

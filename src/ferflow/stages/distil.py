"""Stage distil: a student learns from the ensemble's answers on the training faces, beside their labels.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015). How much the teacher counts is the
student's ``soft_labels``. It learns the classifications that the ensemble knows, and affect from labels alone. Training and
writing are the stage ``train``'s; here is only what the targets are.
"""

import numpy as np
import torch
from tqdm import tqdm

from ferflow import params
from ferflow.card import Card
from ferflow.faces import Faces, load_faces
from ferflow.model import EnsembleNetwork
from ferflow.released import load_ensemble
from ferflow.stages import ENSEMBLE, MANIFEST, MEMBERS, SPLITS, STUDENTS, StageError, Summary, main, read_json
from ferflow.stages.train import load_libraries, train_and_write
from ferflow.tables import load_labels
from ferflow.vocabulary import TASKS


def run(name: str) -> Summary:
    """Train the student ``name`` and write ``models/students/NAME/``."""
    settings = params.load()
    if name not in settings.students:
        raise StageError(f"no student is called {name!r}; params.yaml has: {', '.join(settings.students) or 'none'}")
    student = settings.students[name]
    libraries = load_libraries(student)
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    card = Card.model_validate(ensemble["card"])
    tasks = student.learns(card.tasks)
    labels = load_labels(MANIFEST, SPLITS)
    data = load_faces(MANIFEST, labels, ("train", "val", "test"), card.input_size, student.modality, tasks)
    shown = data["train"]
    if card.modality != student.modality:
        shown = load_faces(MANIFEST, labels, ("train",), card.input_size, card.modality, {})["train"]
    answers = ask(load_ensemble(ensemble, settings.members, MEMBERS), shown.pixels)
    soft = {task: answers[task] for task in tasks if TASKS[task].kind == "classification"}
    train = data["train"]
    data["train"] = Faces(train.ids, train.pixels, train.targets, soft)
    return Summary("distil", [train_and_write(settings, name, student, tasks, data, STUDENTS / name)], imports_s=libraries)


def ask(teacher: EnsembleNetwork, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The teacher's answers for faces and their mirror images, averaged: task -> N x K."""
    parts = []
    alike = all(member.tta != "none" for member in teacher.members)  # their views hold every mirror image already
    with torch.no_grad():
        for start in tqdm(range(0, len(pixels), 256), desc="ask the teacher", unit="batch", mininterval=5, dynamic_ncols=True):
            faces = torch.from_numpy(pixels[start : start + 256])
            shown = [teacher(faces)] if alike else [teacher(faces), teacher(faces.flip(2))]
            parts.append([torch.stack(answers).mean(dim=0) for answers in zip(*shown, strict=True)])
    return {task: torch.cat([part[index] for part in parts]).numpy() for index, task in enumerate(teacher.tasks)}


if __name__ == "__main__":
    main(run)

"""Names that mean one thing everywhere: tasks, classes, emoji, age groups, and the columns of the two tables.

It owns every class name and every column name, and imports nothing heavier than numpy, so that
serving, training and reports can all read it. It knows no file and no library.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
EMOJI = dict(zip(EXPRESSIONS, ("😐", "😄", "😢", "😮", "😨", "🤢", "😠", "😒"), strict=True))
AGE_GROUPS = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-79", "80-89", "90+")
GENDERS = ("male", "female")
RACES = ("white", "black", "asian", "indian", "others")  # UTKFace's five groups
SPLITS = ("train", "val", "test")
Modality = Literal["rgb", "gray"]
LEAST_PROBABILITY = 1e-7  # below it a probability counts as this much, wherever its logarithm is taken
MIN_FACES = 30  # a smaller group is named, not judged: the interval of its accuracy would be wider than 35 points
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Task:
    """What a head learns.

    ``kind`` names the head's file in ``heads/``; ``classes`` are the class names of a
    classification task, ``ordered`` where they have an order; ``columns`` are the label columns of the manifest that it
    reads. An ``auxiliary`` task helps a member to learn the others; ensembles and releases leave it out.
    """

    name: str
    kind: Literal["classification", "affect"]
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    auxiliary: bool = False
    ordered: bool = False


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("expression", "classification", ("expression",), EXPRESSIONS),
        Task("affect", "affect", ("valence", "arousal")),
        Task("age", "classification", ("age",), AGE_GROUPS, ordered=True),
        Task("gender", "classification", ("gender",), GENDERS),
        Task("race", "classification", ("race",), RACES),
        Task("crowd", "classification", ("crowd",), EXPRESSIONS, auxiliary=True),  # what people voted, beside a set's own label
    )
}

# The manifest: one row a face image. Arrow type names; every label may be null.
MANIFEST_COLUMNS: dict[str, str] = {
    "id": "string",
    "image": "binary",
    "width": "int32",
    "height": "int32",
    "source": "string",
    "official_split": "string",
    "subject": "string",
    "expression": "string",
    "valence": "float32",
    "arousal": "float32",
    "age": "float32",
    "gender": "string",
    "race": "string",
    "votes": "list<int16>",  # one count an expression, in the order of EXPRESSIONS
    "problem": "string",  # why the source itself says that the face cannot be used; null where it does not
}


def age_group(years: float) -> str:
    """The name of the age group (a decade; the last one is open) that an age in years belongs to."""
    if not 0 <= years < 130:
        raise ValueError(f"an age of {years} years is outside 0 to 129")
    return AGE_GROUPS[min(int(years) // 10, len(AGE_GROUPS) - 1)]


def probability_column(task: str, class_name: str) -> str:
    """The column of the predictions table that holds the probability of one class, e.g. ``p_expression_happy``."""
    return f"p_{task}_{class_name}"


def is_id(text: object) -> bool:
    """Whether this is the id of a prediction that a service made: 32 hexadecimal digits, lower case."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


# The predictions that a service made: one row a face; a picture without a face is a row with faces 0 and no prediction. Never a
# picture. All but id and time may be null.
LIVE_COLUMNS: dict[str, str] = {
    "id": "string",  # of the prediction: 32 hexadecimal digits of a random UUID
    "request_id": "string",
    "time": "timestamp",  # UTC
    "client": "string",
    "model_version": "string",
    "member": "string",
    "faces": "int32",  # in the picture
    "face": "int32",  # which of them this is, from 0
    **{probability_column(task.name, name): "float32" for task in TASKS.values() if not task.auxiliary for name in task.classes},
    "valence": "float32",
    "arousal": "float32",
    "confidence": "float32",
    "entropy": "float32",
    "expression": "string",
    "certain": "bool",
    "face_size": "float32",  # pixels, of the longer side
    "detection_score": "float32",
    "brightness": "float32",
    "contrast": "float32",
    "sharpness": "float32",
    "latency_ms": "float32",
}

# What people said the expression of a prediction really was. Every word is kept, the last one of a prediction counts.
FEEDBACK_COLUMNS: dict[str, str] = {
    "key": "string",  # of this word
    "prediction": "string",
    "label": "string",
    "client": "string",
    "time": "timestamp",
}


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of each row of ``probabilities`` (N x K), between 0 and log K."""
    clipped = np.clip(probabilities, 1e-12, 1.0)
    return np.asarray(-(probabilities * np.log(clipped)).sum(axis=1))

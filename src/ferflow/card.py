"""The model card that travels with weights and exports: what goes in, what comes out, where it came from.

It is written into the ONNX file itself, so that one file is enough to serve. It knows no framework.
"""

from pydantic import BaseModel, ConfigDict

from ferflow.vocabulary import TASKS, Modality, probability_column

CARD_KEY = "ferflow_card"  # its place in the metadata of an ONNX file


class Card(BaseModel):
    """The contract of a network.

    It takes uint8 RGB faces, N x ``input_size`` x ``input_size`` x 3 (a grey one converts them itself), and
    gives, for every task, N x K probabilities, or N x 2 values for affect. ``tasks`` maps a task to its
    class names in the order of the outputs (for affect: valence, arousal). The probabilities are softened by
    ``temperatures`` already; an expression of less confidence than ``certain_above`` is "uncertain". Both were fitted on
    validation faces.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    members: dict[str, str]
    input_size: int
    modality: Modality
    tasks: dict[str, tuple[str, ...]]
    dataset: str
    parameters: int
    temperatures: dict[str, float] = {}
    certain_above: float = 0.0


def part_name(member: str, task: str) -> str:
    """What the output of one member of an ensemble is called in its ONNX graph; tasks alone are the combined ones."""
    return f"{member}/{task}"


def task_columns(task: str, names: tuple[str, ...]) -> list[str]:
    """Columns of one task's outputs: a probability a class, or the values themselves for affect."""
    if TASKS[task].kind == "affect":
        return list(names)
    return [probability_column(task, name) for name in names]

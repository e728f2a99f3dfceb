"""A member's network: preprocessing, one backbone, a head for every task that has labels.

The preprocessing is part of the network: it takes the uint8 crops that a service has in hand, so that
training, evaluation and every export see the same numbers. It knows no dataset and no file format.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferflow.combiners import Combination
from ferflow.params import Member
from ferflow.registry import check_options, get
from ferflow.vocabulary import LEAST_PROBABILITY, TASKS

# Grey levels of natural faces lie around here; a fixed value needs no pass over the training set.
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_LUMA, _LUMA_SUM = (9798, 19235, 3735), 32768  # ITU-R BT.601 in OpenCV's whole numbers: grey is the same to the last bit
_TEN_CROP = 0.9  # side of a crop, a share of the face's


class Preprocessing(nn.Module):
    """uint8 N x H x W x C (C = 3, or 1 for grey) to float N x C' x S x S with about zero mean and unit variance.

    ``mean`` and ``std`` are a colour's; grey takes their means.
    """

    luma: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, gray: bool, image_size: int, mean: Sequence[float] = _MEAN, std: Sequence[float] = _STD) -> None:
        super().__init__()
        self.gray, self.image_size = gray, image_size
        self.register_buffer("luma", torch.tensor(_LUMA, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        for name, values in (("mean", mean), ("std", std)):
            channels = torch.tensor(values, dtype=torch.float32)
            channels = channels.mean().view(1) if gray else channels
            self.register_buffer(name, channels.view(1, -1, 1, 1), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        pixels = faces.permute(0, 3, 1, 2).float()
        if self.gray and pixels.shape[1] == 3:
            pixels = torch.floor(((pixels * self.luma).sum(dim=1, keepdim=True) + _LUMA_SUM // 2) / _LUMA_SUM)
        pixels = pixels / 255.0
        if pixels.shape[-1] != self.image_size or pixels.shape[-2] != self.image_size:
            pixels = F.interpolate(pixels, (self.image_size, self.image_size), mode="bilinear", align_corners=False)
        return (pixels - self.mean) / self.std


def views(faces: Tensor, tta: str) -> list[Tensor]:
    """The faces (N x H x W x C) as they are, with their mirror images, or as five crops and their mirror images."""
    if tta == "none":
        return [faces]
    if tta == "flip":
        return [faces, faces.flip(2)]
    height, width = faces.shape[1:3]
    tall, wide = int(height * _TEN_CROP), int(width * _TEN_CROP)
    tops, lefts = (
        (0, 0, height - tall, height - tall, (height - tall) // 2),
        (0, width - wide, 0, width - wide, (width - wide) // 2),
    )
    crops = [faces[:, top : top + tall, left : left + wide] for top, left in zip(tops, lefts, strict=True)]
    return [view for crop in crops for view in (crop, crop.flip(2))]


class FaceNetwork(nn.Module):
    """uint8 faces (N x H x W x C) to the raw outputs of every head, by task name.

    ``tta`` names the views that ``predict`` averages. With ``learned`` the tasks' weights are learned: Kendall, Gal
    and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses" (CVPR 2018).
    """

    def __init__(self, preprocessing: Preprocessing, backbone: Any, heads: nn.ModuleDict, tta: str, learned: bool) -> None:
        super().__init__()
        self.preprocessing, self.backbone, self.heads, self.tta = preprocessing, backbone, heads, tta
        self.temperatures: dict[str, float] = {}  # by which predictions are softened; fitted after training
        names = heads.keys() if learned else ()
        self.log_variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in names})

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        features = self.backbone(self.preprocessing(faces))
        return {task: head(features) for task, head in self.heads.items()}

    def predict(self, faces: Tensor) -> dict[str, Tensor]:
        """Probabilities (N x K) or, for affect, values (N x 2), by task name: the mean over the views, softened."""
        seen = [self.forward(view) for view in views(faces, self.tta)]
        outputs = [{task: head.outputs(raw[task]) for task, head in self.heads.items()} for raw in seen]  # type: ignore[operator]
        found = {task: torch.stack([output[task] for output in outputs]).mean(0) for task in self.heads}
        return {task: tempered(output, self.temperatures.get(task, 1.0)) for task, output in found.items()}

    def loss(self, raw: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float], learned: bool = True) -> Tensor:
        """The weighted sum of the tasks' losses; a task without a weight, or without a label here, counts nothing.

        ``learned``: with the learned weights of the tasks, where there are some; without them losses stay comparable.
        """
        losses = {task: self.heads[task].loss(raw[task], targets[task]) for task in raw if weights.get(task)}  # type: ignore[operator]
        if not losses:
            raise ValueError(f"no task of {', '.join(raw)} has a weight above 0: there is nothing to learn")
        weighted = [weights[task] * loss for task, loss in losses.items()]
        if self.log_variances and learned:
            present = [has_label(TASKS[task].kind, targets[task]) for task in losses]
            logs = [self.log_variances[task] * there for task, there in zip(losses, present, strict=True)]
            weighted = [loss * torch.exp(-log) + log / 2 for loss, log in zip(weighted, logs, strict=True)]
        return torch.stack(weighted).sum()

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay passes over, beside biases and normalisation: the backbone says which (timm's custom)."""
        names: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in names} | {f"log_variances.{task}" for task in self.log_variances}


def build(member: Member, tasks: dict[str, tuple[str, ...]], input_size: int, weights: bool = True) -> FaceNetwork:
    """The network of a member for ``tasks`` (name -> class names); without ``weights`` it loads no pretrained ones."""
    image_size = member.image_size or input_size
    gray = member.modality == "gray"
    entry = get("backbones", member.backbone)
    check_options(entry, f"options for the backbone {member.backbone}", member.options)
    backbone = entry(
        member.variant,
        in_channels=1 if gray else 3,
        image_size=image_size,
        pretrained=member.pretrained if weights else False,
        **member.options,
    )
    for task in tasks:
        if (kind := get("heads", member.head(task)).kind) != TASKS[task].kind:  # type: ignore[attr-defined]
            raise ValueError(f"heads.{task}: {member.head(task)} is a head for {kind}, and {task} is a {TASKS[task].kind}")
    heads = {
        task: get("heads", member.head(task))(classes, backbone.num_features, member.dropout, member.label_smoothing)
        for task, classes in tasks.items()
    }
    looks = getattr(backbone, "pretrained_cfg", None) if member.pretrained else None  # pretrained weights know their pixels
    preprocessing = Preprocessing(gray, image_size, looks["mean"], looks["std"]) if looks else Preprocessing(gray, image_size)
    return FaceNetwork(preprocessing, backbone, nn.ModuleDict(heads), member.tta, member.task_weighting == "learned")


def has_label(kind: str, target: Tensor) -> Tensor:
    """Whether any face has one, told on the target's device.

    Values of affect (NaN: none), else class numbers (-1: none) or shares (zeros: none).
    """
    known = ~torch.isnan(target) if kind == "affect" else target >= 0 if target.ndim == 1 else target > 0
    return known.any()


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities (N x K) with their logarithms divided by ``temperature``, as ``calibration.tempered`` has it."""
    if temperature == 1.0:
        return probabilities
    return (probabilities.clamp(min=LEAST_PROBABILITY).log() / temperature).softmax(dim=1)


class EnsembleNetwork(nn.Module):
    """Several members as one network, combined task by task (``combiners.Combination``).

    It takes the same uint8 faces and gives ``predict``'s outputs as a tuple, in the order of ``tasks``. Members of weight 0
    for a task are not asked for it, and need no head for it; those of weight 0 for all do no work.
    """

    def __init__(self, members: list[FaceNetwork], combinations: dict[str, Combination]) -> None:
        super().__init__()
        self.members, self.combinations, self.tasks = nn.ModuleList(members), combinations, list(combinations)
        for task, combination in combinations.items():
            for name in ("matrix", "bias"):
                if (values := getattr(combination, name)) is not None:
                    self.register_buffer(f"{task}_{name}", torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        outputs = self._members_outputs(faces)
        return tuple(self._combine(task, outputs) for task in self.tasks)

    @property
    def parts(self) -> list[tuple[int, str]]:
        """The answers that the combined ones are made of: the number of a member, and the task it is asked for."""
        found = enumerate(self.members)
        return [(index, task) for index, _ in found for task in self.tasks if self.combinations[task].weights[index]]

    def with_parts(self, faces: Tensor) -> tuple[Tensor, ...]:
        """The combined outputs, and after them those of ``parts``."""
        outputs = self._members_outputs(faces)
        combined = [self._combine(task, outputs) for task in self.tasks]
        return (*combined, *(outputs[index][task] for index, task in self.parts))

    def _members_outputs(self, faces: Tensor) -> list[dict[str, Tensor]]:
        asked = {index for index, _ in self.parts}
        return [
            member.predict(faces) if index in asked else {}  # type: ignore[operator]
            for index, member in enumerate(self.members)
        ]

    def _combine(self, task: str, outputs: list[dict[str, Tensor]]) -> Tensor:
        how = self.combinations[task]
        places = [index for index, weight in enumerate(how.weights) if weight]
        seen = [(index, how.weights[index], outputs[index][task]) for index in places]
        if not how.logs:
            return tempered(torch.stack([weight * output for _, weight, output in seen]).sum(dim=0), how.temperature)
        logs = [(index, weight, output.clamp(min=LEAST_PROBABILITY).log()) for index, weight, output in seen]
        if how.matrix is None:
            scores = torch.stack([weight * log for _, weight, log in logs]).sum(dim=0)
        else:
            matrix: Tensor = getattr(self, f"{task}_matrix")
            scores = torch.stack([log @ matrix[index] for index, _, log in logs]).sum(dim=0)
        if how.bias is not None:
            scores = scores + getattr(self, f"{task}_bias")
        return (scores / how.temperature).softmax(dim=1)

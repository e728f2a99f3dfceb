"""A member's network: preprocessing, one backbone, a head for every task that has labels.

The preprocessing is part of the network: it takes the uint8 crops that a service has in hand, so that
training, evaluation and every export see the same numbers. It knows no dataset and no file format.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferflow.params import Member
from ferflow.registry import check_options, get

# Grey levels of natural faces lie around here; a fixed value needs no pass over the training set.
_MEAN, _STD = 0.5, 0.25
_LUMA, _LUMA_SUM = (9798, 19235, 3735), 32768  # ITU-R BT.601 in OpenCV's whole numbers: grey is the same to the last bit


class Preprocessing(nn.Module):
    """uint8 N x H x W x C (C = 3, or 1 for grey) to float N x C' x S x S with about zero mean and unit variance."""

    luma: Tensor

    def __init__(self, gray: bool, image_size: int) -> None:
        super().__init__()
        self.gray, self.image_size = gray, image_size
        self.register_buffer("luma", torch.tensor(_LUMA, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        pixels = faces.permute(0, 3, 1, 2).float()
        if self.gray and pixels.shape[1] == 3:
            pixels = torch.floor(((pixels * self.luma).sum(dim=1, keepdim=True) + _LUMA_SUM // 2) / _LUMA_SUM)
        pixels = pixels / 255.0
        if pixels.shape[-1] != self.image_size:
            pixels = F.interpolate(pixels, (self.image_size, self.image_size), mode="bilinear", align_corners=False)
        return (pixels - _MEAN) / _STD


class FaceNetwork(nn.Module):
    """uint8 faces (N x H x W x C) to the raw outputs of every head, by task name."""

    def __init__(self, preprocessing: Preprocessing, backbone: Any, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.preprocessing, self.backbone, self.heads = preprocessing, backbone, heads

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        features = self.backbone(self.preprocessing(faces))
        return {task: head(features) for task, head in self.heads.items()}

    def predict(self, faces: Tensor) -> dict[str, Tensor]:
        """Probabilities (N x K) or, for affect, values (N x 2), by task name."""
        raw = self.forward(faces)
        return {task: head.outputs(raw[task]) for task, head in self.heads.items()}  # type: ignore[operator]

    def loss(self, raw: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """The weighted sum of the tasks' losses; a task without a weight counts nothing."""
        losses = [weights[task] * self.heads[task].loss(raw[task], targets[task]) for task in raw if weights.get(task)]  # type: ignore[operator]
        if not losses:
            raise ValueError(f"no task of {', '.join(raw)} has a weight above 0: there is nothing to learn")
        return torch.stack(losses).sum()


def build(member: Member, tasks: dict[str, tuple[str, ...]], input_size: int) -> FaceNetwork:
    """The network of a member for ``tasks`` (name -> class names), fresh or with pretrained weights."""
    image_size = member.image_size or input_size
    gray = member.modality == "gray"
    entry = get("backbones", member.backbone)
    check_options(entry, f"options for the backbone {member.backbone}", member.options)
    backbone = entry(
        member.variant,
        in_channels=1 if gray else 3,
        image_size=image_size,
        pretrained=member.pretrained,
        **member.options,
    )
    heads = {
        task: get("heads", member.head(task))(classes, backbone.num_features, member.dropout, member.label_smoothing)
        for task, classes in tasks.items()
    }
    return FaceNetwork(Preprocessing(gray, image_size), backbone, nn.ModuleDict(heads))


class EnsembleNetwork(nn.Module):
    """Several members as one network: the weighted mean of their outputs, task by task.

    ``weights`` maps a task to one weight a member, in the members' order; members of weight 0 for a task
    are not asked for it, and need no head for it. It takes the same uint8 faces and gives ``predict``'s outputs as a
    tuple, in the order of ``tasks``.
    """

    def __init__(self, members: list[FaceNetwork], weights: dict[str, list[float]]) -> None:
        super().__init__()
        self.members, self.weights, self.tasks = nn.ModuleList(members), weights, list(weights)

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        outputs = [member.predict(faces) for member in self.members]  # type: ignore[operator]
        return tuple(self._mean(task, outputs) for task in self.tasks)

    def _mean(self, task: str, outputs: list[dict[str, Tensor]]) -> Tensor:
        weighted = [weight * output[task] for weight, output in zip(self.weights[task], outputs, strict=True) if weight]
        return torch.stack(weighted).sum(dim=0)

"""Task heads, one file each: features in, one task's outputs and loss out.

An entry is a class ``Head(classes, in_features, dropout, label_smoothing)``, a module with
``forward(features) -> Tensor`` (raw), ``loss(raw, target) -> Tensor`` (a scalar; rows without a label do
not count, and a batch without any gives 0) and ``outputs(raw) -> Tensor`` (N x K probabilities; for affect
N x 2 values), and the attribute ``kind``: the kind of task it learns. Targets are as ``tables.task_target`` gives
them, or, for a classification, N x K shares of the classes (soft labels, mixed faces; a row of zeros: no label). A
head of a classification has ``class_weights`` (K, ones at first). The head named like the kind is the default; a
member's ``heads`` chooses another. An entry knows no backbone and no other task.
"""

import torch
from torch import Tensor


def as_shares(target: Tensor, classes: int) -> Tensor:
    """Class numbers (N, -1: no label) as shares N x K; a row without a label is zeros. Shares pass as they are."""
    if target.ndim == 2:
        return target
    shares = torch.zeros(len(target), classes, device=target.device)
    known = target >= 0
    shares[known] = torch.nn.functional.one_hot(target[known], classes).float()
    return shares

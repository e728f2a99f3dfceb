"""Head ``classification``: one linear layer, cross-entropy, softmax."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor, nn
from torch.nn import functional as F

from ferflow.registry import register

MISSING = -1


@register
class ClassificationHead(nn.Module):
    """N x F features to N x K class scores."""

    def __init__(self, classes: Sequence[str], in_features: int, dropout: float, label_smoothing: float) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_features, len(classes)))

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.layers(features)
        return scores

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy over the rows with a label (target >= 0)."""
        known = target != MISSING
        if not known.any():
            return raw.sum() * 0.0
        return F.cross_entropy(raw[known], target[known], label_smoothing=self.label_smoothing)

    def outputs(self, raw: Tensor) -> Tensor:
        """Probabilities, N x K; each row sums to 1."""
        return raw.float().softmax(dim=1)

    @staticmethod
    def encode(labels: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
        """Class numbers (N, int64) in the order of ``classes``; -1 where there is no label."""
        return np.asarray(pd.Categorical(labels.iloc[:, 0], categories=list(classes)).codes, np.int64)

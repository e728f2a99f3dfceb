"""Head ``ordinal``: classes in an order, such as age groups, as K - 1 questions "is it above class k?".

Niu et al., "Ordinal Regression with Multiple Output CNN for Age Estimation" (CVPR 2016), with one direction
in feature space and K - 1 thresholds in a fixed order, so that the answers never contradict each other
(Cao, Mirjalili and Raschka, "Rank consistent ordinal regression", 2020).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferflow.heads import as_shares
from ferflow.registry import register


@register
class OrdinalHead(nn.Module):
    """N x F features to N x (K - 1) scores of lying above class 0, 1, … K - 2."""

    kind = "classification"
    class_weights: Tensor

    def __init__(self, classes: Sequence[str], in_features: int, dropout: float, label_smoothing: float) -> None:
        super().__init__()
        count = len(classes)
        self.label_smoothing = label_smoothing
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_features, 1, bias=False))
        self.first = nn.Parameter(torch.full((1,), (count - 2) / 2))
        self.steps = nn.Parameter(torch.full((count - 2,), 0.5413))  # softplus of it is 1
        self.register_buffer("class_weights", torch.ones(count), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        thresholds = torch.cat([self.first, self.first - F.softplus(self.steps).cumsum(0)])
        scores: Tensor = self.layers(features) + thresholds
        return scores

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of every question, a mean over questions and, weighted, over the labelled rows."""
        shares = as_shares(target, raw.shape[1] + 1)
        rows = (shares * self.class_weights).sum(dim=1)
        above = 1 - shares.cumsum(dim=1)[:, :-1] / shares.sum(dim=1, keepdim=True).clamp(min=1e-12)
        above = above.clamp(0, 1) * (1 - self.label_smoothing) + self.label_smoothing / 2
        questions = F.binary_cross_entropy_with_logits(raw, above, reduction="none").mean(dim=1)
        return (questions * rows).sum() / rows.sum().clamp(min=1e-12)  # 0 where no row has a label

    def outputs(self, raw: Tensor) -> Tensor:
        """Probabilities, N x K: the differences of neighbouring answers; each row sums to 1."""
        above = raw.float().sigmoid()
        return torch.cat([1 - above[:, :1], above[:, :-1] - above[:, 1:], above[:, -1:]], dim=1).clamp(min=0)

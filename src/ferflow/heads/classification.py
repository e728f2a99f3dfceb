"""Head ``classification``: one linear layer, cross-entropy, softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ferflow.heads import as_shares
from ferflow.registry import register


@register
class ClassificationHead(nn.Module):
    """N x F features to N x K class scores."""

    kind = "classification"
    class_weights: Tensor

    def __init__(self, classes: Sequence[str], in_features: int, dropout: float, label_smoothing: float) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_features, len(classes)))
        self.register_buffer("class_weights", torch.ones(len(classes)), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.layers(features)
        return scores

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy with the shares of the classes, a mean weighted by their class weights."""
        classes = raw.shape[1]
        shares = as_shares(target, classes)
        total = (shares * self.class_weights).sum().clamp(min=1e-12)  # asking a GPU whether it is 0 would be to wait for it
        smooth = (1 - self.label_smoothing) * shares + self.label_smoothing / classes * shares.sum(dim=1, keepdim=True)
        return -(smooth * self.class_weights * raw.log_softmax(dim=1)).sum() / total

    def outputs(self, raw: Tensor) -> Tensor:
        """Probabilities, N x K; each row sums to 1."""
        return raw.float().softmax(dim=1)

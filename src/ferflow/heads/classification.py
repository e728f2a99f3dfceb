"""Head ``classification``: one linear layer, cross-entropy, softmax."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ferflow.registry import register


@register
class ClassificationHead(nn.Module):
    """N x F features to N x K class scores."""

    kind = "classification"

    def __init__(self, classes: Sequence[str], in_features: int, dropout: float, label_smoothing: float) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_features, len(classes)))

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.layers(features)
        return scores

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy over the rows with a label (target >= 0)."""
        known = target >= 0
        if not known.any():
            return raw.sum() * 0.0
        return F.cross_entropy(raw[known], target[known], label_smoothing=self.label_smoothing)

    def outputs(self, raw: Tensor) -> Tensor:
        """Probabilities, N x K; each row sums to 1."""
        return raw.float().softmax(dim=1)

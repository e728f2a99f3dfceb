"""Head ``affect``: valence and arousal through FC-ReLU-FC-tanh, mean squared error."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ferflow.registry import register

_HIDDEN = 64


@register
class AffectHead(nn.Module):
    """N x F features to N x 2, valence and arousal, each between -1 and 1."""

    kind = "affect"

    def __init__(self, classes: Sequence[str], in_features: int, dropout: float, label_smoothing: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(in_features, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 2), nn.Tanh()
        )

    def forward(self, features: Tensor) -> Tensor:
        values: Tensor = self.layers(features)
        return values

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Mean squared error over the values with a label (target is not NaN)."""
        known = ~torch.isnan(target)
        difference = torch.where(known, raw - target.nan_to_num(), 0.0)
        return difference.pow(2).sum() / known.sum().clamp(min=1)

    def outputs(self, raw: Tensor) -> Tensor:
        """Valence and arousal, N x 2."""
        return raw.float()

"""Head ``affect_ccc``: as ``affect``, trained with 1 - CCC, which is also how affect is scored."""

import torch
from torch import Tensor

from ferflow.heads.affect import AffectHead
from ferflow.registry import register


@register
class AffectCCCHead(AffectHead):
    """N x F features to N x 2, valence and arousal, each between -1 and 1."""

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """1 - Lin's concordance correlation coefficient over the batch, a mean of valence and arousal.

        A value with fewer than two labels in the batch has no correlation and does not count.
        """
        losses = []
        for index in range(raw.shape[1]):
            known = ~torch.isnan(target[:, index])
            if known.sum() < 2:
                continue
            found, truth = raw[known, index], target[known, index]
            spread = found.var(unbiased=False) + truth.var(unbiased=False) + (found.mean() - truth.mean()).pow(2)
            covariance = ((found - found.mean()) * (truth - truth.mean())).mean()
            losses.append(1 - 2 * covariance / (spread + 1e-6))
        return torch.stack(losses).mean() if losses else raw.sum() * 0.0

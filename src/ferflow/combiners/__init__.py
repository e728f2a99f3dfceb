"""Ways to make one answer of several members' answers, one file each, fitted on validation predictions alone.

An entry is a function ``fit(predictions, target) -> Combination``: ``predictions`` are M x N x K probabilities with
``target`` N class numbers, or M x N x 2 values with N x 2 (affect); every row has a label. Entries that can combine
affect are marked with ``for_affect``. An entry knows no network, no member by name and no file.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ferflow.vocabulary import LEAST_PROBABILITY

Fit = TypeVar("Fit", bound=Callable[..., "Combination"])


@dataclass(frozen=True)
class Combination:
    """How M members' outputs of one task become one.

    Without ``logs`` it is the weighted mean of the outputs. With it, the softmax of the weighted sum of the
    probabilities' logarithms, or, where there is a ``matrix`` (M x K x K), of every member's logarithms times its matrix,
    plus ``bias`` (K). Members of weight 0 are not asked. At the end the answer is softened by ``temperature``.
    """

    weights: list[float]
    logs: bool = False
    matrix: list[list[list[float]]] | None = None
    bias: list[float] | None = None
    temperature: float = 1.0

    def __call__(self, predictions: np.ndarray) -> np.ndarray:
        """M x N x K to N x K, float32."""
        total = np.zeros(predictions.shape[1:])  # member by member: a large set's are never all in float64 at once
        for index, weight in enumerate(self.weights):
            if not weight:
                continue
            if not self.logs:
                total += weight * predictions[index]
            else:
                logs = np.log(np.maximum(predictions[index].astype(np.float64), LEAST_PROBABILITY))
                total += weight * logs if self.matrix is None else logs @ np.asarray(self.matrix[index])
        if not self.logs:
            return self._softened(total)
        return _softmax((total + (0 if self.bias is None else np.asarray(self.bias))) / self.temperature)

    def _softened(self, combined: np.ndarray) -> np.ndarray:
        if self.temperature == 1.0:
            return np.asarray(combined.astype(np.float32))
        return _softmax(np.log(np.maximum(combined, LEAST_PROBABILITY)) / self.temperature)

    def among(self, places: list[int], count: int) -> "Combination":
        """The same for ``count`` members, of whom these, at ``places``, are asked."""
        weights = [0.0] * count
        matrix = None if self.matrix is None else [[[0.0] * len(row) for row in self.matrix[0]] for _ in range(count)]
        for index, place in enumerate(places):
            weights[place] = self.weights[index]
            if matrix is not None and self.matrix is not None:
                matrix[place] = self.matrix[index]
        return replace(self, weights=weights, matrix=matrix)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def _softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray((shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))


def for_affect(fit: Fit) -> Fit:
    """Mark an entry that can also combine valence and arousal."""
    fit.for_affect = True  # type: ignore[attr-defined]
    return fit

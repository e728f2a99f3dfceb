"""Accuracy against cost: which networks none beats at their cost, and which one to ship under a limit.

Values in, values out.
"""

import numpy as np
import pandas as pd


def efficient(cost: pd.Series, accuracy: pd.Series) -> np.ndarray:
    """For every network whether no other is at least as accurate for less, or more accurate for as much (Pareto)."""
    costs, accuracies = cost.to_numpy(float), accuracy.to_numpy(float)
    beaten = [
        bool((((costs <= c) & (accuracies > a)) | ((costs < c) & (accuracies >= a))).any())
        for c, a in zip(costs, accuracies, strict=True)
    ]
    return ~np.array(beaten)


def to_ship(table: pd.DataFrame, validation: dict[str, float], by: str, limit: float) -> str | None:
    """The network with the best validation accuracy among those whose cost ``by`` is at most ``limit``; None if none is.

    Chosen by validation: the test split only reports.
    """
    within = table[table[by] <= limit]
    return max(within["network"], key=lambda name: validation[name]) if len(within) else None

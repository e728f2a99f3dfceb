"""What an answer costs: parameters, multiplications, and time on this machine's CPU.

It knows networks and no file.
"""

from time import perf_counter

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ferflow.model import EnsembleNetwork


def gmac(network: nn.Module, input_size: int) -> float:
    """Billions of multiplications with an addition for one face, all its views together."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into torch's fused transformer layers
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, input_size, input_size, 3, dtype=torch.uint8))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return float(counter.get_total_flops() / 2e9)


def timed(networks: dict[str, EnsembleNetwork], input_size: int, rounds: int = 7) -> dict[str, dict[str, float]]:
    """Milliseconds of one face alone (``ms``) and faces a second in batches of 32 (``fps``): medians of alternating rounds.

    All networks are timed in one go, so that a slow moment of the machine meets them all.
    """
    one, many = (torch.zeros(count, input_size, input_size, 3, dtype=torch.uint8) for count in (1, 32))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    with torch.no_grad():
        for _ in range(rounds + 1):
            for name, network in networks.items():
                found[name].append((_seconds(network, one), _seconds(network, many)))
    return {name: _summary(np.array(seconds[1:])) for name, seconds in found.items()}


def _seconds(network: nn.Module, faces: torch.Tensor) -> float:
    started = perf_counter()
    network(faces)
    return perf_counter() - started


def _summary(seconds: np.ndarray) -> dict[str, float]:
    alone, batch = np.median(seconds, axis=0)
    return {"ms": round(1000 * float(alone), 2), "fps": round(32 / float(batch), 1)}

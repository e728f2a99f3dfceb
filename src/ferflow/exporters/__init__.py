"""Export formats, one file each: a network becomes files that run without the code that trained it.

An entry is a class with two static methods. ``write(network, card, folder) -> Path`` takes a network that maps
uint8 faces (N x S x S x 3) to a tuple of outputs, one a task of the card, and puts the card into the file;
``read(path) -> Run`` opens that file in its own runtime, for the parity check.
"""

from collections.abc import Callable

import numpy as np

Run = Callable[[np.ndarray], list[np.ndarray]]  # uint8 faces to the outputs, in the order of the card's tasks

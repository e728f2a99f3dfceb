"""Augmentation recipes, one file each: a training face in, a changed one out.

An entry is a function ``build(size, seed) -> Callable``; the callable takes and returns one face
(size x size x C, uint8, C = 3 or 1). Grey stays grey: a recipe never adds channels. Evaluation has no
recipe: a face is resized to the dataset's ``image_size`` (``images.resize``) and the model does the rest.
"""

from collections.abc import Callable

import numpy as np

Recipe = Callable[[np.ndarray], np.ndarray]

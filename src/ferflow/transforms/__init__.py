"""Augmentation recipes, one file each: a training face in, a changed one out; a recipe may also mix whole batches.

An entry is a function ``build(size, seed) -> Recipe``. Grey stays grey: a recipe never adds channels. Evaluation has
no recipe: a face is resized to the dataset's ``image_size`` (``images.resize``) and the model does the rest. An entry
knows no network and no file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """How training faces are changed.

    ``face`` takes and returns one face (size x size x C, uint8, C = 3 or 1); ``batch``, where there is one, does so with
    many (N x size x size x C, uint8) on the device where they lie, and is what a GPU is fed with. ``mixup`` and ``cutmix``
    are the parameters of the Beta distributions of Zhang et al. 2018 and Yun et al. 2019, 0 for none; ``mix_share`` is
    the share of batches that is mixed. timm does the mixing.
    """

    face: Callable[[np.ndarray], np.ndarray]
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_share: float = 1.0
    batch: Callable[[Tensor], Tensor] | None = None

"""Which test faces a model was judged on, as one short word: so that two models are known to be compared on the same.

It knows the manifest and the table of splits, and no model.
"""

from hashlib import sha256
from pathlib import Path

import pandas as pd

from ferflow.tables import iter_images, load_labels
from ferflow.vocabulary import TASKS

TEST_FACES = "ferflow.test_faces"  # the tag of a registered version that holds it
_LABELS = sorted({column for task in TASKS.values() if not task.auxiliary for column in task.columns})


def fingerprint(manifest: Path, splits: Path) -> str:
    """SHA-256 of the test faces: their ids, pictures (as they are encoded) and labels, whatever order they stand in."""
    labels = load_labels(manifest, splits)
    test = labels.loc[labels["split"] == "test", _LABELS]
    pictures = {
        id_: sha256(data or b"").hexdigest() for batch in iter_images(manifest) for id_, data in batch if id_ in test.index
    }
    whole = sha256()
    for id_ in sorted(pictures):
        whole.update(repr((id_, pictures[id_], *map(_plain, test.loc[id_]))).encode())
    return whole.hexdigest()


def _plain(value: object) -> str | float | None:
    if isinstance(value, str):
        return value
    return None if pd.isna(value) else round(float(value), 4)  # type: ignore[arg-type, call-overload]

"""How far a linear classifier on pixels gets with the data that the pipeline has made: a floor for every network.

    python benchmarks/linear_baseline.py     after dvc repro; a few minutes

Multinomial logistic regression on standardised pixels, three sizes and two strengths of regularisation,
chosen on validation, reported on test with its 95 % Wilson interval.
"""

import cv2
import numpy as np
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ferflow import params
from ferflow.faces import load_faces, tasks_of
from ferflow.stages import MANIFEST, SPLITS
from ferflow.tables import load_labels


def main() -> None:
    """Fit, choose and print."""
    settings = params.load()
    labels = load_labels(MANIFEST, SPLITS)
    tasks = {"expression": tasks_of(labels)["expression"]}
    faces = load_faces(MANIFEST, labels, ("train", "val", "test"), settings.dataset.image_size, "rgb", tasks)
    truth = {name: faces[name].targets["expression"] for name in faces}
    tried = []
    for size in (16, 32, settings.dataset.image_size):
        pixels = {name: shrink(faces[name].pixels, size) for name in faces}
        for strength in (1e-4, 1e-3):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
            model.fit(pixels["train"], truth["train"])
            val = float(model.score(pixels["val"], truth["val"]))
            tried.append((val, float(model.score(pixels["test"], truth["test"])), size, strength))
            print(f"{size} x {size}, C {strength:g}: validation {100 * val:.1f} %", flush=True)
    val, test, size, strength = max(tried)
    n = len(truth["test"])
    interval = binomtest(round(test * n), n).proportion_ci(method="wilson")
    print(f"chosen on validation: {size} x {size}, C {strength:g}")
    print(f"test accuracy {100 * test:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}], n = {n}")


def shrink(faces: np.ndarray, size: int) -> np.ndarray:
    """N x size * size * 3 values from 0 to 1."""
    small = [cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA) for face in faces]
    return np.stack(small).reshape(len(small), -1).astype(np.float32) / 255


if __name__ == "__main__":
    main()

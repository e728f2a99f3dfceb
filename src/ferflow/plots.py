"""Pictures of figures; the only importer of matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd


def confusion_matrix(pairs: pd.DataFrame, classes: tuple[str, ...], title: str, path: Path) -> None:
    """Draw the matrix of ``actual`` against ``predicted``: counts written, shares of the actual class coloured."""
    counts = pd.crosstab(pairs["actual"], pairs["predicted"]).reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.62 * len(classes)
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set_title(title, fontsize=10)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def bars(names: list[str], values: list[int], title: str, path: Path) -> None:
    """Draw a bar with its number for every name."""
    figure, axes = plt.subplots(figsize=(6, 0.6 + 0.32 * max(1, len(names))), layout="constrained")
    axes.bar_label(axes.barh(names, values, color="steelblue"), padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def gallery(
    faces: Sequence[np.ndarray], captions: list[str], right: list[bool] | None, title: str, path: Path, columns: int = 8
) -> None:
    """Draw faces (each H x W x 3, uint8) in rows, each with its caption: green where the answer is right, else red.

    Black captions without ``right``.
    """
    rows = max(1, -(-len(faces) // columns))
    colours = ["black"] * len(faces) if right is None else ["darkgreen" if good else "crimson" for good in right]
    figure, axes = plt.subplots(rows, columns, figsize=(1.35 * columns, 1.55 * rows + 0.4), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, face, caption, colour in zip(axes.flat, faces, captions, colours, strict=False):
        axis.imshow(face)
        axis.set_title(caption, fontsize=8, color=colour, pad=3)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)

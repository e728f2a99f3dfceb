"""Pictures of figures; the only importer of matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from matplotlib.transforms import Bbox
from PIL import Image
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

FEW = 5  # faces: the accuracy of fewer in a bin of confidence is chance, and no line is drawn through it


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
    _save(figure, path)


def bars(names: list[str], values: list[int], title: str, path: Path) -> None:
    """Draw a bar with its number for every name."""
    figure, axes = plt.subplots(figsize=(6, 0.6 + 0.32 * max(1, len(names))), layout="constrained")
    axes.bar_label(axes.barh(names, values, color="steelblue"), padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    _save(figure, path)


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
    _save(figure, path, colours=None)


def curves(target: np.ndarray, shares: np.ndarray, classes: tuple[str, ...], title: str, path: Path) -> None:
    """Draw the ROC and the precision-recall curve of every class against the rest; ``target`` has class numbers (-1: none)."""
    known = target >= 0
    figure, (roc, pr) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for number, name in enumerate(classes):
        wanted, scores = target[known] == number, shares[known, number]
        if not 0 < wanted.sum() < len(wanted):
            continue
        false, true, _ = roc_curve(wanted, scores)
        few = _few(len(false))
        roc.plot(false[few], true[few], label=f"{name} {roc_auc_score(wanted, scores):.3f}", linewidth=1.2)
        precision, recall, _ = precision_recall_curve(wanted, scores)
        few = _few(len(recall))
        pr.plot(recall[few], precision[few], label=f"{name} {average_precision_score(wanted, scores):.3f}", linewidth=1.2)
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    for axes, x, y in ((roc, "false positive rate", "true positive rate"), (pr, "recall", "precision")):
        axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
        if pr.lines:
            axes.legend(fontsize=7, title="area under the curve" if axes is roc else "average precision", title_fontsize=7)
        else:
            axes.text(0.5, 0.5, "no class and its rest both have faces", ha="center", fontsize=8)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _few(count: int, most: int = 2000) -> np.ndarray:
    """Numbers of at most so many of ``count`` points, with both ends: more cannot be seen, and take long to draw."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def reliability(bins: dict[str, pd.DataFrame], covered: pd.DataFrame, certain_above: float, title: str, path: Path) -> None:
    """Draw accuracy against confidence for each table of ``bins``, and accuracy against coverage with the threshold.

    The larger a mark, the more faces are in its bin; bins of fewer than ``FEW`` are hollow and no line goes through them.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    for (name, table), colour in zip(bins.items(), ("darkorange", "steelblue"), strict=False):
        gap = float((table["n"] * (table["confidence"] - table["accuracy"]).abs()).sum() / max(1, table["n"].sum()))
        enough = table[table["n"] >= FEW]
        few = table[table["n"] < FEW]
        left.plot(enough["confidence"], enough["accuracy"], color=colour, linewidth=1.2, label=f"{name}: ECE {100 * gap:.1f} %")
        areas = 8 + 150 * enough["n"] / max(1, table["n"].max())
        left.scatter(enough["confidence"], enough["accuracy"], s=areas, color=colour, alpha=0.75)
        left.scatter(few["confidence"], few["accuracy"], s=10, facecolors="none", edgecolors=colour, linewidths=0.6, alpha=0.6)
    left.set(ylabel="accuracy", xlim=(0, 1.03), ylim=(-0.03, 1.03), title="does confidence mean what it says?")
    left.set_xlabel(f"confidence (larger mark: more faces; hollow: fewer than {FEW})")
    left.legend(fontsize=8)
    right.plot(covered["coverage"], covered["accuracy"], marker="o", markersize=4, color="steelblue")
    certain = covered[covered["confidence"] >= certain_above]
    if certain_above > 0 and len(certain) < len(covered):
        share = certain["coverage"].max() if len(certain) else 0.0
        right.axvline(share, color="crimson", linewidth=1, linestyle="--")
        label = f" certain above {certain_above:.2f} " if certain_above <= 1 else " nothing is certain enough "
        right.text(share, 0.03, label, color="crimson", fontsize=8, ha="right" if share > 0.5 else "left")
    right.set(xlabel="share of faces that get an answer, the surest first", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    right.set_title("accuracy against coverage", fontsize=12)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def front(table: pd.DataFrame, path: Path) -> None:
    """Draw accuracy (with its interval) against multiplications and against time; those that none beats are joined."""
    figure, pair = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    for axes, by, label in zip(pair, ("gmac", "ms"), ("GMAC a face", "milliseconds a face, alone, on this CPU"), strict=True):
        errors = 100 * np.stack([table["accuracy"] - table["low"], table["high"] - table["accuracy"]]).clip(0)
        axes.errorbar(table[by], 100 * table["accuracy"], errors, fmt="o", color="steelblue", markersize=5, elinewidth=0.8)
        best = table[table[f"efficient by {by}"]].sort_values(by)
        axes.plot(best[by], 100 * best["accuracy"], color="crimson", linewidth=1, drawstyle="steps-post")
        axes.set(xlabel=label, xscale="log")
        axes.margins(x=0.12)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(ScalarFormatter())
        axes.tick_params(axis="x", which="both", labelsize=7, rotation=30)
        axes.grid(alpha=0.3)
    pair[0].set_ylabel("accuracy of the expression, test, percent")
    figure.suptitle("What accuracy costs: on the red line lies what none beats", fontsize=10)
    figure.canvas.draw()  # only now is it known how much room there is
    for axes, by in zip(pair, ("gmac", "ms"), strict=True):
        _label(axes, list(table["network"]), table[by].to_numpy(), 100 * table["accuracy"].to_numpy())
    _save(figure, path)


def _label(axes: Axes, names: list[str], x: np.ndarray, y: np.ndarray) -> None:
    """Write each point's name beside it: inside the frame, and not over another name as long as there is a free place."""
    frame = axes.get_window_extent()
    taken: list[Bbox] = []
    for index in np.argsort(-y, kind="stable"):
        text = axes.annotate(names[index], (x[index], y[index]), (0, 0), textcoords="offset points", fontsize=7)
        for place in range(24):
            right, row = place % 2 == 0, place // 2
            text.set_horizontalalignment("left" if right else "right")
            text.set_position((5 if right else -5, 4 + 9 * (row // 2) if row % 2 == 0 else -11 - 9 * (row // 2)))
            box = text.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(text.get_window_extent())
        text.set_in_layout(False)


def _save(figure: Figure, path: Path, colours: int | None = 128) -> None:
    """Write the picture with so many colours: a third of the size, and no eye sees it. None where it has photographs."""
    figure.set_dpi(110)
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[:, :, :3].copy())  # type: ignore[attr-defined]
    if colours:
        image = image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(path, compress_level=9)
    plt.close(figure)


def robustness(table: pd.DataFrame, chance: float, path: Path) -> None:
    """Draw accuracy against strength for every corruption, a line a network; strength 0 is the faces as they are.

    ``chance``: what guessing reaches, 1 over the number of classes; a dotted line.
    """
    names = [name for name in table["corruption"].unique() if name != "none"]
    columns = 5
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.6 * columns, 2.4 * rows), layout="constrained", sharey=True, squeeze=False
    )
    for axes, name in zip(grid.flat, names, strict=False):
        for network, own in table[table["corruption"].isin(["none", name])].groupby("network", sort=False):
            own = own.sort_values("strength")
            line = axes.plot(own["strength"], 100 * own["accuracy"], marker=".", linewidth=1.2, label=network)
            axes.fill_between(own["strength"], 100 * own["low"], 100 * own["high"], alpha=0.12, color=line[0].get_color())
        axes.axhline(100 * chance, color="grey", linewidth=1, linestyle=":", label="guessing")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_ylim(0, 100)
        axes.set_xticks(range(int(table["strength"].max()) + 1))
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    for axes in grid[-1]:
        axes.set_xlabel("strength", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy, percent", fontsize=8)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    figure.suptitle(f"What is left when {table['n'].max():,} test faces get worse (bands: 95 %)", fontsize=10)
    _save(figure, path)


def histories(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw the validation accuracy of the expression (else the loss) of every network, epoch by epoch."""
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    measure = "val_accuracy" if all("val_accuracy" in table for table in tables.values()) else "val_loss"
    scale, unit = (100, ", percent") if measure == "val_accuracy" else (1, "")
    for name, table in tables.items():
        axes.plot(table["epoch"], scale * table[measure], marker=".", linewidth=1.2, label=name)
    axes.set(xlabel="epoch", ylabel=measure.replace("val_", "validation ") + unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    _save(figure, path)


def emotions(means: pd.DataFrame, title: str, path: Path) -> None:
    """Draw a face's emotions over time: stacked probabilities, and valence and arousal below where they are known.

    ``means`` has time_s and the columns of ``timeline.main_track``.
    """
    names = [name for name in means.columns if name.startswith("p_expression_")]
    affect = [name for name in ("valence", "arousal") if name in means.columns]
    count = bool(names) + bool(affect)
    figure, rows = plt.subplots(
        max(1, count), 1, figsize=(9, 2.9 * max(1, count)), layout="constrained", sharex=True, squeeze=False
    )
    if names:
        words = [name.removeprefix("p_expression_") for name in names]
        rows[0, 0].stackplot(means["time_s"], means[names].to_numpy().T, labels=words, colors=plt.get_cmap("tab10").colors)
        rows[0, 0].set(ylabel="probability", ylim=(0, 1))
        rows[0, 0].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    if affect:
        for name in affect:
            rows[-1, 0].plot(means["time_s"], means[name], label=name, linewidth=1.2)
        rows[-1, 0].axhline(0, color="grey", linewidth=0.6)
        rows[-1, 0].set(ylabel="valence, arousal", ylim=(-1, 1))
        rows[-1, 0].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    rows[-1, 0].set_xlabel("seconds")
    figure.suptitle(title, fontsize=10)
    _save(figure, path)

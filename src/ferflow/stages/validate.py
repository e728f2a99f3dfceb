"""Stage validate: measure every image, put unusable rows into quarantine, hold the rest to the expectations.

What a check is stands in ``quality``; no picture and no label is changed here.
"""

import shutil
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ferflow import params, quality
from ferflow.duplicates import duplicate_groups
from ferflow.images import decode
from ferflow.measuring import STATISTICS, measure
from ferflow.plots import bars, gallery
from ferflow.quality import Check
from ferflow.registry import get
from ferflow.stages import DATA_REPORTS, MANIFEST, MEASURES, QUARANTINE, StageError, Summary, main, write_json
from ferflow.tables import read_images, read_labels, task_labels

_COUNTED = ("expression", "gender", "race", "age")
_EXAMPLES = 8  # pictures of each check


def run() -> Summary:
    """Write measures, quarantine and the report; raise ``StageError`` with a readable list when a check fails.

    Rows in = rows kept + rows in quarantine, or it stops.
    """
    settings = params.load()
    limits = settings.validation
    labels, measures = read_labels(MANIFEST), measure(MANIFEST)
    groups = duplicate_groups(measures, limits.near_distance, limits.near_correlation)
    flags = quality.row_flags(labels, measures, groups, limits)
    why = quality.reasons(flags, labels, measures, limits)
    kept = why == ""
    quarantined = pd.DataFrame({"id": labels["id"], "source": labels["source"], "reason": why})[~kept]
    write_tables(measures.join(groups)[kept], quarantined, len(labels))
    facts = {"quarantined": len(quarantined) / len(labels)}
    if faces := look_for_faces(labels["id"][kept & ~flags["unreadable"]], limits.face_sample, settings.seed):
        facts["no_face"] = 1 - faces[0] / faces[1]
    shutil.rmtree(DATA_REPORTS / "docs", ignore_errors=True)
    expectations, frame = quality.suite(flags[kept], labels[kept], facts, limits)
    results = quality.run_suite(expectations, frame, DATA_REPORTS / "docs")
    counts = {str(name): int(count) for name, count in flags.sum().items()} | known(labels[kept], groups[kept])
    write_report(results, len(labels), quarantined, counts, labels[kept], measures[kept], faces)
    draw_examples(flags, labels)
    if broken := [check for check in results if check.severity == "fail" and not check.passed]:
        lines = "\n".join(f"  {check.name}: {check.found}" for check in broken)
        where = f"all in {DATA_REPORTS}/validation.md"
        raise StageError(
            f"the data breaks {len(broken)} expectations ({where}); mend the data, or say in validate what is allowed:\n{lines}"
        )
    rows = [{"rows in": len(labels), "kept": int(kept.sum()), "quarantined": len(quarantined),
             "expectations": len(results), "warnings": sum(not check.passed for check in results)}]  # fmt: skip
    return Summary("validate", rows)


def write_tables(kept: pd.DataFrame, quarantined: pd.DataFrame, rows_in: int) -> None:
    """``data/measures.parquet`` and ``data/quarantine.parquet``; ``StageError`` if a row is in neither or in both."""
    if len(kept) + len(quarantined) != rows_in or set(kept["id"]) & set(quarantined["id"]):
        raise StageError(f"{rows_in} rows came in, but {len(kept)} were kept and {len(quarantined)} quarantined")
    columns = ["id", "pixel_hash", *STATISTICS, "same", "near"]
    kept[columns].to_parquet(MEASURES, compression="zstd", index=False)
    quarantined.to_parquet(QUARANTINE, compression="zstd", index=False)


def look_for_faces(ids: pd.Series, count: int, seed: int) -> tuple[int, int] | None:
    """Faces found in a sample drawn by lot, and its size; None for an empty sample."""
    chosen = ids.sample(min(count, len(ids)), random_state=seed)
    if chosen.empty:
        return None
    images = (decode(data) for data in read_images(MANIFEST, set(chosen)).values())
    return quality.face_rate(images, get("detectors", "haar")(None))


def known(labels: pd.DataFrame, groups: pd.DataFrame) -> dict[str, int]:
    """Counts about identical and nearly identical images among the rows that were kept."""
    same, near = groups["same"], groups["near"]
    sizes = same.value_counts()
    return {
        "images": len(labels),
        "unique images": int(same.nunique()),
        "groups of identical images": int((sizes > 1).sum()),
        "groups of identical images with different expressions": int((labels["expression"].groupby(same).nunique() > 1).sum()),
        "unique images nearly identical to another": int(len(sizes) - near[~same.duplicated()].nunique()),
        "groups of alike images, identical or nearly": int((near.value_counts() > 1).sum()),
        "images in the largest of them": int(near.value_counts().max()) if len(near) else 0,
    }


def write_report(
    results: list[Check],
    rows_in: int,
    quarantined: pd.DataFrame,
    counts: dict[str, int],
    labels: pd.DataFrame,
    measures: pd.DataFrame,
    faces: tuple[int, int] | None,
) -> None:
    """``reports/data/validation.json``, the same for people as ``validation.md``, and the pictures in it."""
    weights = {task: quality.class_weights(task_labels(labels, task)[task]) for task in _COUNTED if labels[task].notna().any()}
    statistics = measures[list(STATISTICS)].describe(percentiles=[0.01, 0.5, 0.99]).drop(index="count").round(1)
    write_json(
        {
            "rows_in": rows_in,
            "kept": len(labels),
            "quarantined": len(quarantined),
            "checks": [vars(check) for check in results],
            "counts": counts,
            "class_weights": {task: dict(zip(found["class"], found["weight"], strict=True)) for task, found in weights.items()},
            "faces_found": {"found": faces[0], "sample": faces[1]} if faces else None,
        },
        DATA_REPORTS / "validation.json",
    )
    shown = (
        pd.concat([found.assign(task=task) for task, found in weights.items()])
        if weights
        else quality.class_weights(labels["crowd"])
    )
    names = [
        str(one) if task == "expression" else f"{task}: {one}"
        for task, one in zip(shown.get("task", []), shown["class"], strict=False)
    ]
    bars(names, shown["rows"].tolist(), "faces a class, kept", DATA_REPORTS / "classes.png")
    lines = ["# Data validation", "", f"{rows_in} rows came in: {len(labels)} kept, {len(quarantined)} in quarantine.", ""]
    lines += ["| check | severity | passed | found |", "|---|---|---|---|"]
    lines += [f"| {c.name} | {c.severity} | {'yes' if c.passed else '**no**'} | {c.found} |" for c in results]
    lines += ["", "[All of them as Great Expectations shows them](docs/index.html)", "", "## What was counted", ""]
    lines += ["| what | count |", "|---|---|"]
    lines += [f"| {quality.WORDS.get(name, name)} | {value} |" for name, value in counts.items()]
    if faces:
        lines += [f"| a face is found (Haar cascade) | {faces[0]} of {faces[1]} sampled |"]
    lines += ["", "## Classes", "", "weight = N / (K n)", ""]
    for task, found in weights.items():
        lines += [f"### {task}", "", found.to_markdown(index=False), ""]
    lines += ["![](classes.png)", "", "Labels that are probably wrong need a trained member: `ferflow data suspects MEMBER`."]
    lines += ["", "## Images", "", statistics.to_markdown(), "", "![](examples.png)"]
    if len(quarantined):
        reason = quarantined["reason"].str.replace(r"\d+", "N", regex=True).value_counts()
        lines += ["", "## Quarantine", "", "Every row is in `data/quarantine.parquet`.", "", "| reason | rows |", "|---|---|"]
        lines += [f"| {name} | {count} |" for name, count in reason.head(20).items()]
        lines += ["", "First rows:", "", *(f"- {row.id}: {row.reason}" for row in quarantined[:20].itertuples())]
    (DATA_REPORTS / "validation.md").write_text("\n".join(lines) + "\n")


def draw_examples(flags: pd.DataFrame, labels: pd.DataFrame) -> None:
    """``reports/data/examples.png``: the first pictures that each check marked."""
    chosen = [
        (name, id_) for name in map(str, flags) for id_ in labels["id"][flags[name]].head(_EXAMPLES) if name != "unreadable"
    ]
    images = read_images(MANIFEST, {id_ for _, id_ in chosen})
    drawn = list(_decoded(chosen, images))
    title = "the first images that each check marked" if drawn else "no check marked an image"
    gallery([face for _, face in drawn], [name for name, _ in drawn], None, title, DATA_REPORTS / "examples.png")


def _decoded(chosen: list[tuple[str, str]], images: dict[str, bytes]) -> Iterator[tuple[str, np.ndarray]]:
    for name, id_ in chosen:
        try:
            yield name, decode(images[id_])
        except ValueError:
            continue


if __name__ == "__main__":
    main(run)

"""Stage split: every usable face gets its side, and a report proves that nothing leaks, or counts what does.

Which side a face gets is decided by ``splitting``; no picture is opened here.
"""

import pandas as pd

from ferflow import params
from ferflow.splitting import leak_report, split
from ferflow.stages import DATA_REPORTS, MANIFEST, MEASURES, SPLITS, Summary, main, write_json
from ferflow.tables import read_labels
from ferflow.vocabulary import SPLITS as NAMES


def run() -> Summary:
    """Write ``data/splits.parquet`` and ``reports/data/split.json`` and ``.md``."""
    settings = params.load()
    groups = pd.read_parquet(MEASURES, columns=["id", "same", "near"]).set_index("id")
    labels = read_labels(MANIFEST)
    labels = labels[labels["id"].isin(groups.index)]
    splits = split(labels, groups, settings.split, settings.seed)
    leaks = leak_report(splits, labels)
    counts = pd.crosstab(splits["split"].to_numpy(), labels["expression"].fillna("none").to_numpy()).reindex(NAMES, fill_value=0)
    splits.to_parquet(SPLITS, compression="zstd", index=False)
    write_json({"counts": counts.to_dict("index"), "leaks": leaks}, DATA_REPORTS / "split.json")
    write_report(counts, leaks, bool(labels["official_split"].isin(["val", "test"]).any()))
    row = {name: int((splits["split"] == name).sum()) for name in NAMES}
    return Summary("split", [row | {"leaked test images": int(splits["leaked"].sum())}])


def write_report(counts: pd.DataFrame, leaks: dict[str, int], official: bool) -> None:
    """``reports/data/split.md``."""
    crossing = [f"{count} {name}" for name, count in leaks.items() if count and "across" in name]
    verdict = "No identical image, no alike image and no subject crosses a split."
    if crossing:
        verdict = f"The split leaks: {', '.join(crossing)}. Figures are given with and without the test images concerned."
    where = "The source's official split is kept; what it lacks was cut from training." if official else "The split is ours."
    lines = ["# Split", "", f"{where} {verdict}", "", "| split | " + " | ".join(counts.columns) + " | all |"]
    lines += ["|---" * (len(counts.columns) + 2) + "|"]
    lines += [f"| {name} | " + " | ".join(map(str, row)) + f" | {row.sum()} |" for name, row in counts.iterrows()]
    lines += ["", "## What crosses", "", "| what | count |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in leaks.items()]
    (DATA_REPORTS / "split.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(run)

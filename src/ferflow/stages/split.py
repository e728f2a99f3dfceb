"""Stage split: every usable face gets its side, and a report says what leaks."""

import pandas as pd

from ferflow import params
from ferflow.splitting import leak_report, split
from ferflow.stages import DATA_REPORTS, MANIFEST, MEASURES, SPLITS, Summary, main, write_json
from ferflow.tables import read_labels
from ferflow.vocabulary import SPLITS as NAMES


def run() -> Summary:
    """Write ``data/splits.parquet`` and ``reports/data/split.json`` and ``.md``."""
    settings = params.load()
    measures = pd.read_parquet(MEASURES, columns=["id", "pixel_hash"]).set_index("id")["pixel_hash"]
    labels = read_labels(MANIFEST)
    labels = labels[labels["id"].isin(measures.index)]
    splits = split(labels, measures, settings.split, settings.seed)
    leaks = leak_report(splits, labels)
    counts = pd.crosstab(splits["split"].to_numpy(), labels["expression"].fillna("none").to_numpy()).reindex(NAMES)
    splits.to_parquet(SPLITS, compression="zstd", index=False)
    write_json({"counts": counts.to_dict("index"), "identical_images": leaks}, DATA_REPORTS / "split.json")
    lines = ["# Split", "", "| split | " + " | ".join(counts.columns) + " | all |", "|---" * (len(counts.columns) + 2) + "|"]
    lines += [f"| {name} | " + " | ".join(map(str, row)) + f" | {row.sum()} |" for name, row in counts.iterrows()]
    lines += ["", "## Identical images", "", "| what | count |", "|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {count} |" for name, count in leaks.items()]
    (DATA_REPORTS / "split.md").write_text("\n".join(lines) + "\n")
    row = {name: int((splits["split"] == name).sum()) for name in NAMES}
    return Summary("split", [row | {"leaked test images": leaks["leaked_test_images"]}])


if __name__ == "__main__":
    main(run)

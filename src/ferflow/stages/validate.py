"""Stage validate: measure every image, put unusable rows into quarantine, hold the rest to the expectations."""

from itertools import chain

import pandas as pd

from ferflow import params
from ferflow.quality import Check, checks, measure
from ferflow.stages import DATA_REPORTS, MANIFEST, MEASURES, QUARANTINE, StageError, Summary, main, write_json
from ferflow.tables import iter_images, read_labels


def run() -> Summary:
    """Write measures, quarantine and the report; raise ``StageError`` with a readable list when an error was found."""
    limits = params.load().validation
    labels = read_labels(MANIFEST)
    measures = measure(chain.from_iterable(iter_images(MANIFEST)))
    bad = measures["problem"] != ""
    kept, quarantined = measures[~bad], measures.loc[bad, ["id", "problem"]]
    if len(kept) + len(quarantined) != len(labels):
        raise StageError(f"{len(labels)} rows came in, but {len(kept)} were kept and {len(quarantined)} quarantined")
    results = checks(labels[~bad.to_numpy()], kept, limits)
    kept.drop(columns="problem").to_parquet(MEASURES, compression="zstd", index=False)
    quarantined.rename(columns={"problem": "reason"}).to_parquet(QUARANTINE, compression="zstd", index=False)
    write_report(results, len(labels), quarantined)
    if broken := [check for check in results if check.severity == "error" and not check.passed]:
        lines = "\n".join(f"  {check.name}: {check.found}" for check in broken)
        raise StageError(f"the data breaks {len(broken)} expectations (all in {DATA_REPORTS}/validation.md):\n{lines}")
    rows = [{"rows in": len(labels), "kept": len(kept), "quarantined": len(quarantined),
             "expectations": len(results), "warnings": sum(not check.passed for check in results)}]  # fmt: skip
    return Summary("validate", rows)


def write_report(results: list[Check], rows_in: int, quarantined: pd.DataFrame) -> None:
    """``reports/data/validation.json`` and the same for people as ``validation.md``."""
    write_json(
        {"rows_in": rows_in, "quarantined": len(quarantined), "checks": [vars(check) for check in results]},
        DATA_REPORTS / "validation.json",
    )
    lines = ["# Data validation", "", f"{rows_in} rows came in, {len(quarantined)} went to quarantine.", ""]
    lines += ["| check | severity | passed | found |", "|---|---|---|---|"]
    lines += [f"| {c.name} | {c.severity} | {'yes' if c.passed else '**no**'} | {c.found} |" for c in results]
    if len(quarantined):
        lines += ["", "First rows in quarantine:", "", *(f"- {row.id}: {row.problem}" for row in quarantined[:20].itertuples())]
    (DATA_REPORTS / "validation.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(run)

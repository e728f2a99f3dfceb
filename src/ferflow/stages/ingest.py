"""Stage ingest: a source's faces and labels become the manifest, one Parquet file.

It knows no source: ``ingestion`` asks the registry for the one that params.yaml names.
"""

from ferflow import params
from ferflow.ingestion import ingest
from ferflow.stages import MANIFEST, Summary, main
from ferflow.tables import check_manifest, read_labels


def run() -> Summary:
    """Read the source named in params, write ``data/manifest.parquet`` and check it against its schema."""
    settings = params.load()
    ingest(settings.dataset, settings.seed, MANIFEST)
    check_manifest(MANIFEST)
    labels = read_labels(MANIFEST)
    rows = [{"faces": len(labels), "megabytes": round(MANIFEST.stat().st_size / 1e6, 1)}]
    rows[0] |= {name: int(labels[name].notna().sum()) for name in ("expression", "valence", "age", "gender", "race", "problem")}
    return Summary(f"ingest: {settings.dataset.source}", rows)


if __name__ == "__main__":
    main(run)

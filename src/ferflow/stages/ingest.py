"""Stage ingest: a source's faces and labels become the manifest, one Parquet file."""

from ferflow import params
from ferflow.registry import check_options, get
from ferflow.stages import MANIFEST, Summary, main
from ferflow.tables import check_manifest, read_labels, write_manifest


def run() -> Summary:
    """Read the source named in params, write ``data/manifest.parquet`` and check it against its schema."""
    settings = params.load()
    load = get("datasets", settings.dataset.source)
    check_options(load, f"dataset.options for the source {settings.dataset.source}", settings.dataset.options)
    write_manifest(load(settings.dataset.path, seed=settings.seed, **settings.dataset.options), MANIFEST)
    check_manifest(MANIFEST)
    labels = read_labels(MANIFEST)
    rows = [{"faces": len(labels), "megabytes": round(MANIFEST.stat().st_size / 1e6, 1)}]
    rows[0] |= {name: int(labels[name].notna().sum()) for name in ("expression", "valence", "age", "gender", "race")}
    return Summary(f"ingest: {settings.dataset.source}", rows)


if __name__ == "__main__":
    main(run)

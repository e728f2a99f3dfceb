"""Consented feedback becomes a new version of the data: the present manifest, every face on the side that it has, and below it
the live faces, for training. So the test set stays the same to the face.

It owns ``data/versions``: ``N.parquet``, ``N.live.parquet`` (the newest of the live faces, which only the gate sees) and
``N.json`` (what went in, and what became of it). It knows no model, no stage and no registry.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ferflow.consent import Crops
from ferflow.duplicates import duplicate_groups
from ferflow.images import ImageError, decode
from ferflow.ingestion import join
from ferflow.livelog import LogError, labelled
from ferflow.measuring import measure
from ferflow.params import Validate
from ferflow.tables import MANIFEST_SCHEMA, ROWS_A_GROUP, check_manifest, load_labels, manifest_writer, read_labels, write_rows

VERSIONS = Path("data/versions")
_SPARE = 1.2  # times as many are held out as are wanted at least: some turn out alike to others
SOURCE = "feedback"
_COLUMNS = ["id", "time", "request_id", "client", "label", "path"]
REFUSED, ACCEPTED, OPEN = "refused", "accepted", "open"


class FoldError(ValueError):
    """Feedback that cannot become a version of the data; the message says why."""


@dataclass(frozen=True)
class Folded:
    """A version of the data, and what went into it.

    ``faces``: rows of the manifest it stands on; ``added``, ``held_out``, ``expired``: live faces that were added, kept for
    the gate, and taken out again because their crop is gone; ``left_out``: reason -> how many; ``labels`` and ``clients``:
    what the added ones are called, and who said so; ``ids``: of the predictions that were added or held out.
    """

    version: int
    faces: int
    added: int
    held_out: int
    expired: int
    left_out: dict[str, int]
    labels: dict[str, int]
    clients: dict[str, int]
    ids: list[str] = field(default_factory=list)
    made: str = ""
    state: str = OPEN
    why: str = ""

    @property
    def path(self) -> Path:
        """The version's table."""
        return VERSIONS / f"{self.version}.parquet"

    @property
    def live(self) -> Path | None:
        """The table of the faces that were held out; None where there are none."""
        return VERSIONS / f"{self.version}.live.parquet" if self.held_out else None


def waiting(log: str, crops: Crops, keep_days: float, manifest: Path, *, refused_too: bool = False) -> pd.DataFrame:
    """Live faces with consent and a label that no version has yet, oldest first: id, time, request_id, client, label, path.

    Those of refused versions are left out unless ``refused_too``: what spoilt a model once would spoil it again.
    """
    paths = {path.stem: path for path in crops.paths()}
    known = {str(id_).removeprefix(f"{SOURCE}-") for id_ in read_labels(manifest)["id"]}
    known |= set() if refused_too else _of_refused()
    until = datetime.now(UTC) + timedelta(minutes=1)
    try:
        found = labelled(log, until - timedelta(days=keep_days + 1), until, ["id", "time", "request_id", "client"])
    except LogError:
        if paths:
            raise
        found = pd.DataFrame(columns=_COLUMNS[:-1])  # nobody has served anything yet
    found = found[found["id"].isin(paths) & ~found["id"].isin(known)]
    return found.assign(path=found["id"].map(paths)).sort_values(["time", "id"], ignore_index=True)[_COLUMNS]


def fold(
    words: pd.DataFrame, crops: Crops, manifest: Path, splits: Path, limits: Validate, *, hold_out: float = 0.0, least: int = 0
) -> Folded:
    """Write the next version from the manifest and the live faces ``words`` (see ``waiting``).

    Left out are faces whose label training does not know, that cannot be read, or that are alike to a validation or test
    face (a twin of a test face in training would make the test worthless). ``hold_out``: the share, of the newest, that is
    not trained on; where that is some, at least ``least`` and a few for those that are left out, if that is no more than half.
    Raises ``FoldError`` where no face is left.
    """
    check_manifest(manifest)
    labels = load_labels(manifest, splits)
    classes = set(labels.loc[labels["split"] == "train", "expression"].dropna())
    left_out: dict[str, int] = {}
    good = words[words["label"].isin(classes)]
    _count(left_out, "a label that the data does not know", len(words) - len(good))
    VERSIONS.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=VERSIONS, prefix=".fold-") as folder:
        rows = list(_rows(good, left_out))
        newest = _newest(good, {row["id"] for row in rows}, hold_out, least)
        twins = _twins(rows, newest, manifest, labels, limits, Path(folder))
        _count(left_out, "alike to a validation or test face", len(twins["judged"]))
        _count(left_out, "held out, and alike to one that is trained on", len(twins["live"]))
        rows = [row for row in rows if row["id"] not in twins["judged"] | twins["live"]]
        train = [row for row in rows if row["id"] not in newest]
        live = [row | {"official_split": "test"} for row in rows if row["id"] in newest]
        if not train:
            raise FoldError(f"none of {len(words)} live faces can be trained on ({_said(left_out)})")
        version = next_version()
        kept = {f"{SOURCE}-{path.stem}" for path in crops.paths()}
        base, expired = _frozen(manifest, labels["split"], kept, Path(folder) / "0.parquet")
        write_rows(train, Path(folder) / "1.parquet")
        if live:
            write_rows(live, Path(folder) / "live.parquet")
            (Path(folder) / "live.parquet").replace(VERSIONS / f"{version}.live.parquet")
        join([Path(folder) / "0.parquet", Path(folder) / "1.parquet"], VERSIONS / f"{version}.parquet")
    used = good.set_index("id").loc[[_prediction(row["id"]) for row in train]]
    folded = Folded(
        version,
        faces=base,
        added=len(train),
        held_out=len(live),
        expired=expired,
        left_out=left_out,
        labels=_counts(used["label"]),
        clients=_counts(used["client"].fillna("anonymous")),
        ids=[_prediction(row["id"]) for row in (*train, *live)],
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    note(folded)
    return folded


def note(folded: Folded) -> None:
    """Write down what a version is, beside it."""
    _sidecar(folded.version).write_text(json.dumps(asdict(folded), indent=1) + "\n")


def read_version(version: int) -> Folded:
    """What is known of a version; ``FoldError`` where nothing is."""
    try:
        return Folded(**json.loads(_sidecar(version).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise FoldError(f"{_sidecar(version)} cannot be read: {error}") from error


def versions() -> list[int]:
    """The versions there are, oldest first."""
    found = [re.fullmatch(r"(\d+)\.(?:parquet|json|parquet\.dvc)", path.name) for path in VERSIONS.glob("*")]
    return sorted({int(match[1]) for match in found if match})


def next_version() -> int:
    """The number of the next version; no number is used twice."""
    return max(versions(), default=0) + 1


def _sidecar(version: int) -> Path:
    return VERSIONS / f"{version}.json"


def _of_refused() -> set[str]:
    """Predictions that refused versions trained on."""
    found: set[str] = set()
    for version in versions():
        if _sidecar(version).exists() and (known := read_version(version)).state == REFUSED:
            found |= set(known.ids)
    return found


def _rows(words: pd.DataFrame, left_out: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The rows of the manifest; a crop that is gone, or is no picture, is counted."""
    for word in words.itertuples():
        try:
            data = Path(str(word.path)).read_bytes()
            decode(data)
        except (OSError, ImageError):
            _count(left_out, "a crop that cannot be read", 1)
            continue
        row = {"id": f"{SOURCE}-{word.id}", "image": data, "source": SOURCE}
        yield row | {"official_split": "train", "expression": word.label}


def _newest(words: pd.DataFrame, usable: set[str], share: float, least: int) -> set[str]:
    """Ids of the newest ``share`` of the usable faces (see ``fold``); those of one picture stay together."""
    some = words[words["id"].map(lambda one: f"{SOURCE}-{one}").isin(usable)]
    wanted, enough = int(share * len(some)), ceil(_SPARE * least)
    if share and enough <= len(some) // 2:
        wanted = max(wanted, enough)
    if not wanted:
        return set()
    requests = set(some["request_id"].iloc[-wanted:].dropna())
    chosen = some["request_id"].isin(requests) | (some.index >= some.index[-wanted])
    return {f"{SOURCE}-{one}" for one in some.loc[chosen, "id"]}


def _twins(
    rows: list[dict[str, Any]], newest: set[str], manifest: Path, labels: pd.DataFrame, limits: Validate, folder: Path
) -> dict[str, set[str]]:
    """Live faces that are alike to faces they must not be alike to: ``judged`` (validation, test), ``live`` (held out ones)."""
    judged = set(labels.index[labels["split"] != "train"])
    with manifest_writer(folder / "judged.parquet") as writer, pq.ParquetFile(manifest) as file:
        for batch in file.iter_batches(batch_size=ROWS_A_GROUP):
            table = pa.Table.from_batches([batch], MANIFEST_SCHEMA)
            writer.write_table(table.filter(pa.array([id_ in judged for id_ in table["id"].to_pylist()])))
    write_rows(rows, folder / "new.parquet")
    join([folder / "judged.parquet", folder / "new.parquet"], folder / "all.parquet")
    measures = measure(folder / "all.parquet")
    near = duplicate_groups(measures, limits.near_distance, limits.near_correlation)["near"]
    ids, ours = measures["id"], measures["id"].isin({row["id"] for row in rows})
    twins = set(ids[ours & near.isin(set(near[~ours]))])
    trained = ours & ~ids.isin(newest) & ~ids.isin(twins)
    return {"judged": twins, "live": set(ids[ids.isin(newest) & near.isin(set(near[trained]))]) - twins}


def _frozen(manifest: Path, sides: pd.Series, kept: set[str], target: Path) -> tuple[int, int]:
    """The manifest with every face's side as its official split; how many rows, and how many live ones went with their crop.

    A row without a side (it was set aside by the validation) is for training, so that it can never join the test.
    """
    side, rows, expired = sides.to_dict(), 0, 0
    place = MANIFEST_SCHEMA.get_field_index("official_split")
    with manifest_writer(target) as writer, pq.ParquetFile(manifest) as file:
        for batch in file.iter_batches(batch_size=ROWS_A_GROUP):
            table = pa.Table.from_batches([batch], MANIFEST_SCHEMA)
            stays = [
                source != SOURCE or id_ in kept
                for id_, source in zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True)
            ]
            expired += len(stays) - sum(stays)
            table = table.filter(pa.array(stays))
            sides_of = pa.array([side.get(id_, "train") for id_ in table["id"].to_pylist()], pa.string())
            writer.write_table(table.set_column(place, MANIFEST_SCHEMA.field(place), sides_of))
            rows += len(table)
    return rows, expired


def _prediction(id_: str) -> str:
    return id_.removeprefix(f"{SOURCE}-")


def _count(counts: dict[str, int], what: str, how_many: int) -> None:
    if how_many:
        counts[what] = counts.get(what, 0) + how_many


def _counts(column: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in column.value_counts().sort_index().items()}


def _said(counts: dict[str, int]) -> str:
    return "; ".join(f"{count}: {what}" for what, count in counts.items()) or "there were none"

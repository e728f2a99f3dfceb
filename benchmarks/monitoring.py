"""How well drift is told from chance: false alarms without drift, and drills that must be found; and a million rows in time.

    python benchmarks/monitoring.py windows MODEL [--seeds 40] [--quiet 60] [--cache FOLDER]
    python benchmarks/monitoring.py rows MODEL [--rows 1000000]

MODEL is a release (model.onnx, or its folder). Faces are drawn anew for every seed, other ones for the reference and for each
window, and the model is asked about every one of them; so it is after their pixels were made darker or blurred. Both commands
write their part of reports/benchmarks/monitoring.md. Run in the project's root.
"""

import argparse
import os
import pickle
import resource
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import numpy as np
import pandas as pd

from ferflow import effects, monitoring, params
from ferflow.datasets import synthetic
from ferflow.effects import wilson
from ferflow.images import decode, resize
from ferflow.inference import Predictor
from ferflow.monitoring import Drift, Known, compare
from ferflow.robustness import corrupted
from ferflow.serving.answers import log_row
from ferflow.vocabulary import EXPRESSIONS

OUT = Path("reports/benchmarks/monitoring.md")
UNITS = Path("src/ferflow/datasets/synthetic.yaml")
REFERENCE, WINDOW = 600, 500  # faces; 600 is the test split of the default params
SIZES = (200, 500)
DRILLS = [("darker", 1), ("darker", 2), ("blur", 1), ("blur", 2)]
MIXES = {"happy 25 %": 0.25, "happy 35 %": 0.35, "happy 50 %": 0.5}  # instead of an eighth
TRAITS = {
    "darker 1": "light times 0.8",
    "darker 2": "light times 0.6",
    "blur 1": "Gaussian, 1 % of the side",
    "blur 2": "Gaussian, 2 % of the side",
    "happy 25 %": "a quarter of the faces is happy, not an eighth",
    "happy 35 %": "35 % of them",
    "happy 50 %": "half of them",
}


def faces(seed: int, start: int, count: int, size: int, expression: str | None = None) -> tuple[np.ndarray, list[str]]:
    """Drawn faces (N x S x S x 3) and their expressions, which are drawn by lot: no seed and start share a face."""
    table = synthetic.read_action_units(UNITS)
    pixels, labels = [], []
    for index in range(start, start + count):
        draw = np.random.default_rng([7_000_000 + seed, index])
        label = expression or str(draw.choice(EXPRESSIONS))
        pixels.append(resize(decode(synthetic.draw_row(index, label, table, 64, draw)["image"]), size))
        labels.append(label)
    return np.stack(pixels), labels


def rows_of(predictor: Predictor, pixels: np.ndarray, labels: list[str]) -> pd.DataFrame:
    """What the service writes into its log of faces that are cut out already, with what they really show as ``label``."""
    found = predictor.predict_faces(list(pixels))
    rows = [
        log_row(face, {"id": f"{number:032x}"}, crop, (0, 1), {"client": "c", "model_version": "m"})
        for number, (face, crop) in enumerate(zip(found, pixels, strict=True))
    ]
    return pd.DataFrame(rows).assign(label=labels).drop(columns=["id", "time"])


class Asked:
    """The windows of one seed: drawn, and the model asked about them, once; answers are kept in a folder."""

    def __init__(self, model: Path, seed: int, cache: Path) -> None:
        self.seed, self.cache = seed, cache
        self.predictor = Predictor(model, threads=1)
        self._window: tuple[np.ndarray, list[str]] | None = None

    def rows(self, kind: str) -> pd.DataFrame:
        """Rows of one kind: reference, window, another window, only happy faces, or a drill (the window, made worse)."""
        path = self.cache / f"{self.seed:04d} {kind}.parquet"
        if not path.exists():
            rows_of(self.predictor, *self._drawn(kind)).to_parquet(path)
        return pd.read_parquet(path)

    def _drawn(self, kind: str) -> tuple[np.ndarray, list[str]]:
        size = self.predictor.card.input_size
        places = {"reference": (0, REFERENCE, None), "other": (20_000, WINDOW, None), "happy": (50_000, 260, "happy")}
        if kind in places:
            start, count, expression = places[kind]
            return faces(self.seed, start, count, size, expression)
        if self._window is None:
            self._window = faces(self.seed, 10_000, WINDOW, size)
        pixels, labels = self._window
        if kind == "window":
            return pixels, labels
        name, _, strength = kind.partition(" ")
        return corrupted(pixels, name, int(strength), self.seed), labels


def mixed(window: pd.DataFrame, happy: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The window with so many faces replaced by happy ones that they are that share of it."""
    count = round(len(window) * (share - 1 / 8) / (7 / 8))
    draw = np.random.default_rng(seed)
    kept = window.iloc[draw.permutation(len(window))[count:]]
    return pd.concat([kept, happy.head(count)], ignore_index=True).sample(frac=1, random_state=seed).reset_index(drop=True)


def judged(model: Path, cache: Path, seeds: int, seed: int) -> dict[str, list[Drift]]:
    """The judgements of one seed: kind of window -> one for every size; kept as long as nothing that judges changes."""
    settings = params.load().monitor
    code = b"".join(Path(module.__file__ or "").read_bytes() for module in (effects, monitoring))
    kept = cache / f"{seed:04d} {sha256(code + settings.model_dump_json().encode()).hexdigest()[:12]} {seed < seeds}.pickle"
    if kept.exists():
        return dict(pickle.loads(kept.read_bytes()))
    found = _judged(model, cache, seed, seed < seeds, settings)
    kept.write_bytes(pickle.dumps(found))
    return found


def _judged(model: Path, cache: Path, seed: int, drills: bool, settings: params.Monitor) -> dict[str, list[Drift]]:
    asked = Asked(model, seed, cache)
    reference = asked.rows("reference").drop(columns=["face_size", "detection_score"])
    base = asked.rows("window")
    cases = {"window": base, "other": asked.rows("other")}
    if drills:
        cases |= {f"{name} {strength}": asked.rows(f"{name} {strength}") for name, strength in DRILLS}
        happy = asked.rows("happy")
        cases |= {name: mixed(base, happy, share, seed) for name, share in MIXES.items()}
    known: Known = {}
    return {name: [compare(reference, rows.head(size), settings, known=known) for size in SIZES] for name, rows in cases.items()}


def windows(model: Path, seeds: int, quiet: int, processes: int, cache: Path) -> str:
    """Judge windows with and without drift; the tables."""
    cache.mkdir(parents=True, exist_ok=True)
    alarms: dict[int, list[Drift]] = {size: [] for size in SIZES}
    drills: dict[str, dict[int, list[Drift]]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for seed, found in enumerate(pool.map(partial(judged, model, cache, seeds), range(max(seeds, quiet)))):
            for name, drifts in found.items():
                for size, drift in zip(SIZES, drifts, strict=True):
                    if name in ("window", "other"):
                        alarms[size].append(drift)
                    else:
                        drills.setdefault(name, {}).setdefault(size, []).append(drift)
            wrong = sum(one.verdict == "drift" for one in alarms[WINDOW])
            print(f"seed {seed}: {wrong} false alarms in {len(alarms[WINDOW])} windows", file=sys.stderr, flush=True)
    return "\n".join([*quiet_table(alarms, max(seeds, quiet)), "", *drill_table(drills, seeds)])


def quiet_table(alarms: dict[int, list[Drift]], quiet: int) -> list[str]:
    """False alarms by the window's size, and what they were about."""
    lines = [
        f"No drift: {quiet} references of {REFERENCE} faces, two windows of other faces against each.",
        "",
        "| faces in the window | windows | false alarms | share [95 % interval] | allowed | features that alarmed |",
        "|---|---|---|---|---|---|",
    ]
    for size, found in alarms.items():
        wrong = [one for one in found if one.verdict == "drift"]
        low, high = wilson(len(wrong), len(found))
        features = Counter(name for one in wrong for name in one.drifted)
        named = ", ".join(f"{name} {count}" for name, count in features.most_common()) or "–"
        share = f"{100 * len(wrong) / len(found):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        lines.append(f"| {size} | {len(found)} | {len(wrong)} | {share} | 5 % | {named} |")
    return lines


def drill_table(drills: dict[str, dict[int, list[Drift]]], seeds: int) -> list[str]:
    """How many drills were found, by the window's size, the feature that was furthest, and what it does to the answers."""
    heads = " | ".join(f"found in {size}" for size in SIZES)
    lines = [
        f"Drift: {seeds} seeds, each with its own reference and faces.",
        "",
        f"| drill | what happens | {heads} | furthest feature | right answers |",
        "|---|---|" + "---|" * len(SIZES) + "---|---|",
    ]
    for name, by_size in drills.items():
        cells = [f"{sum(one.verdict == 'drift' for one in found)} of {len(found)}" for found in by_size.values()]
        last = by_size[WINDOW]
        first = Counter(one.drifted[0] for one in last if one.drifted).most_common(1)
        right = np.mean([one.accuracy.value for one in last if one.accuracy])
        furthest = first[0][0] if first else "–"
        lines.append(f"| {name} | {TRAITS[name]} | {' | '.join(cells)} | {furthest} | {100 * right:.0f} % |")
    return lines


BIG = """
import sys, time
import numpy as np
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
import pandas as pd
from ferflow import params, watching
started = time.perf_counter()
settings = params.load()
begin = datetime(2026, 3, 1, tzinfo=UTC)
seen = watching.look(settings, begin, begin + timedelta(days=1), sys.argv[1])
looked = time.perf_counter()
reference = watching.reference_of(settings, seen.version, Path(sys.argv[2]))
drift = watching.judge(settings, seen, reference)
judged = time.perf_counter()
folder = watching.write(settings, drift, seen, reference)
import resource
done = time.perf_counter()
print(len(seen.rows), drift.counts.rows, drift.verdict, looked - started, judged - looked, done - judged,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def big_log(path: Path, count: int, rows: pd.DataFrame) -> None:
    """A log of so many rows, of a day and of ten clients, with feedback on every hundredth; made of the given rows."""
    from ferflow.livelog.tables import FEEDBACK, PREDICTIONS, connect, prepare

    url = f"sqlite:///{path}"
    engine = connect(url)
    prepare(engine)
    draw = np.random.default_rng(0)
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    base = rows.drop(columns=["label"]).to_dict("records")
    with engine.begin() as connection:
        for start in range(0, count, 20_000):
            many = []
            for number in range(start, min(start + 20_000, count)):
                own = {"id": UUID(bytes=draw.bytes(16)).hex, "time": begin + timedelta(seconds=86_400 * number / count)}
                row = base[int(draw.integers(len(base)))]
                many.append(row | own | {"client": f"camera-{number % 10}", "model_version": "models/release"})
            connection.execute(PREDICTIONS.insert(), many)
            words = [
                {"key": UUID(bytes=draw.bytes(16)).hex, "prediction": one["id"], "label": "happy", "time": one["time"]}
                for one in many[::100]
            ]
            connection.execute(FEEDBACK.insert(), words)
    engine.dispose()


def large(count: int, model: Path) -> str:
    """One look at a log of so many rows, in a process of its own; the table."""
    predictor = Predictor(model, threads=1)
    size = predictor.card.input_size
    reference = rows_of(predictor, *faces(0, 0, REFERENCE, size)).drop(columns=["face_size", "detection_score"])
    with TemporaryDirectory() as name:
        folder = Path(name)
        reference.to_parquet(folder / "reference.parquet")
        big_log(folder / "live.db", count, rows_of(predictor, *faces(0, 10_000, 2000, size)))
        megabytes = (folder / "live.db").stat().st_size / 1e6
        started, load = time.perf_counter(), os.getloadavg()[0]
        (folder / "params.yaml").write_text(Path("params.yaml").read_text())
        done = subprocess.run(
            [sys.executable, "-c", BIG, f"sqlite:///{folder / 'live.db'}", str(folder / "reference.parquet")],
            capture_output=True, text=True, check=True, cwd=folder,
        )  # fmt: skip
        wall = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = usage.ru_utime + usage.ru_stime
    compared, rows, *rest = done.stdout.split()
    look, judge, write, peak = map(float, rest[-4:])
    return "\n".join(
        [
            f"One look at {int(rows):,} rows of SQLite ({megabytes:,.0f} MB) of ten clients, in a process of its own, "
            f"start and imports included; the machine's load was {load:.0f} on {os.cpu_count()} cores.",
            "",
            "| rows | compared | all | of it on the processor | from the log | judgement | report | peak memory |",
            "|---|---|---|---|---|---|---|---|",
            f"| {int(rows):,} | {int(compared):,} | {wall:.0f} s (at most 60) | {used:.0f} s | {look:.0f} s | {judge:.0f} s | "
            f"{write:.0f} s | {peak:.2f} GiB (at most 2) |",
        ]
    )


def keep(part: str, text: str) -> None:
    """Put a part of the page in its place; the other one stays."""
    heads = {"windows": "## Alarms", "rows": "## A large log"}
    parts = dict.fromkeys(heads, "")
    if OUT.exists():
        for name, head in heads.items():
            parts[name] = OUT.read_text().partition(head + "\n")[2].partition("\n## ")[0].strip()
    parts[part] = text
    OUT.parent.mkdir(parents=True, exist_ok=True)
    intro = "# Monitoring, measured\n\nWritten by `benchmarks/monitoring.py`; what the words mean stands in docs/monitoring.md.\n"
    OUT.write_text(intro + "".join(f"\n{heads[name]}\n\n{body}\n" for name, body in parts.items() if body))
    print(text)


def main() -> None:
    """Choose by the first argument."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("windows", "rows"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--seeds", type=int, default=40, help="of the drills")
    parser.add_argument("--quiet", type=int, default=60, help="references for windows without drift")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="where answers are kept between runs")
    parser.add_argument("--rows", type=int, default=1_000_000)
    chosen = parser.parse_args()
    if chosen.what == "rows":
        keep("rows", large(chosen.rows, chosen.model))
        return
    with TemporaryDirectory() as folder:
        keep("windows", windows(chosen.model, chosen.seeds, chosen.quiet, chosen.processes, chosen.cache or Path(folder)))
    print(f"(peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB)", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Drawings of the page on drift, as SVG: what was tested in grey, what is seen now in colour; red where it drifted.

Colours are classes of the page's style sheet, because its policy forbids styles of elements. Values in, markup out.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from ferflow.wording import number

_W, _H, _BINS, _MOST = 300, 96, 28, 4.0
_FEW = 5  # faces of a stretch of time: the mean of fewer is chance


def bar(far: float) -> Markup:
    """How far a feature is from the reference, against its limit: the upright line. More than four limits are cut."""
    width, limit = 200 * min(far, _MOST) / _MOST, 200 / _MOST
    state = "bad" if far > 1 else "good"
    end = Markup('<path class="bad" d="M200 3l7 6-7 6z"/>') if far > _MOST else ""
    return Markup(
        '<svg class="bar" viewBox="0 0 210 18" role="img" aria-label="{:.1f} times its limit">'
        '<rect class="rail" y="6" width="200" height="6" rx="3"/><rect class="{}" y="6" width="{:.1f}" height="6" rx="3"/>{}'
        '<path class="limit" d="M{:.1f} 1v16"/></svg>'
    ).format(far, state, max(width, 2), end, limit)


def histogram(reference: np.ndarray, current: np.ndarray, drifted: bool) -> Markup:
    """Two distributions of a number over each other, with their means; the outermost half percent is left out."""
    reference, current = reference[np.isfinite(reference)], current[np.isfinite(current)]
    low, high = np.quantile(np.concatenate([reference, current]), [0.005, 0.995])
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    shares = [np.histogram(np.clip(side, low, high), edges)[0] / max(1, len(side)) for side in (reference, current)]
    top = max(float(side.max()) for side in shares) or 1.0
    steps = [_steps(side / top) for side in shares]
    means = [(float(np.clip(side.mean(), low, high)) - low) / (high - low) * _W for side in (reference, current)]
    now = "now bad" if drifted else "now"
    return Markup(
        '<svg class="plot" viewBox="0 0 {w} {full}" role="img" aria-label="on average {b}, before {a}">'
        '<path class="then" d="{then}"/><path class="{now}" d="{new}"/>'
        '<path class="mean then" d="M{m0:.1f} 0v{h}"/><path class="mean {now}" d="M{m1:.1f} 0v{h}"/>'
        '<path class="axis" d="M0 {h}h{w}"/><text x="0" y="{y}">{low}</text><text x="{w}" y="{y}" class="end">{high}</text></svg>'
    ).format(
        w=_W, h=_H, full=_H + 18, y=_H + 14, a=number(float(reference.mean())), b=number(float(current.mean())), now=now,
        then=steps[0], new=steps[1], m0=means[0], m1=means[1], low=number(float(low)), high=number(float(high)),
    )  # fmt: skip


def _steps(heights: np.ndarray) -> str:
    wide = _W / len(heights)
    parts = [f"M0 {_H}"]
    for place, height in enumerate(heights):
        parts.append(f"V{_H * (1 - 0.94 * height):.1f}H{(place + 1) * wide:.1f}")
    return "".join([*parts, f"V{_H}Z"])


def shares(reference: dict[str, float], current: dict[str, float], drifted: bool) -> Markup:
    """A pair of bars for every class: its share in the test and now."""
    top = max([*reference.values(), *current.values(), 0.01])
    state = "now bad" if drifted else "now"
    row = Markup(
        '<text x="0" y="{mid}">{name}</text><rect class="then" x="78" y="{top}" width="{before:.1f}" height="7" rx="2"/>'
        '<rect class="{state}" x="78" y="{low}" width="{now:.1f}" height="9" rx="2"/>'
        '<text x="{end}" y="{mid}" class="end">{words}</text>'
    )
    rows = []
    for place, name in enumerate(reference):
        y, before, now = 26 * place, reference[name], current.get(name, 0.0)
        wide = {"before": 140 * before / top, "now": 140 * now / top}
        words = f"{100 * before:.0f} → {100 * now:.0f} %"
        rows.append(row.format(mid=y + 16, top=y + 2, low=y + 10, name=name, state=state, end=_W, words=words, **wide))
    height = 26 * len(reference)
    words = ", ".join(f"{name} {100 * current.get(name, 0.0):.0f} %" for name in reference)
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _W, height, words, Markup("").join(rows)
    )


def timeline(places: np.ndarray, values: np.ndarray | None, band: tuple[float, float] | None, ends: Sequence[str]) -> Markup:
    """A window from left to right in 48 stretches: how many faces there were or, with ``values``, their mean.

    ``places``: when, from 0 to 1; ``band``: what was usual in the test, grey; ``ends``: the words below both ends.
    """
    count = 48
    stretch = np.minimum((places * count).astype(int), count - 1)
    faces = np.bincount(stretch, minlength=count)
    wide, tall = 720.0, 72.0
    if values is None:
        top = max(1, int(faces.max()))
        drawn = Markup("").join(
            Markup('<rect class="now" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                place * wide / count, tall * (1 - many / top), wide / count - 1.5, tall * many / top
            )
            for place, many in enumerate(faces)
            if many
        )
        words = f"at most {top} faces in a stretch"
    else:
        drawn, words = _means(stretch, values, faces, band, (wide, tall))
    return Markup(
        '<svg class="plot long" viewBox="0 0 {w:.0f} {full:.0f}" role="img" aria-label="{words}">{drawn}'
        '<path class="axis" d="M0 {h}h{w}"/>'
        '<text x="0" y="{y}">{first}</text><text x="{w}" y="{y}" class="end">{last}</text></svg>'
    ).format(w=wide, h=tall, full=tall + 18, y=tall + 14, words=words, drawn=drawn, first=escape(ends[0]), last=escape(ends[1]))


def _means(
    stretch: np.ndarray, values: np.ndarray, faces: np.ndarray, band: tuple[float, float] | None, size: tuple[float, float]
) -> tuple[Markup, str]:
    wide, tall = size
    known = np.isfinite(values)
    sums = np.bincount(stretch[known], weights=values[known], minlength=len(faces))
    enough = np.flatnonzero(np.bincount(stretch[known], minlength=len(faces)) >= _FEW)
    means = sums[enough] / np.bincount(stretch[known], minlength=len(faces))[enough]
    edges = [*means, *(band or ())] or [0.0, 1.0]
    low, high = float(min(edges)), float(max(edges))
    room = (high - low) * 0.12 or 0.5
    low, high = low - room, high + room

    def height(value: float) -> float:
        return tall * (1 - (value - low) / (high - low))

    parts = []
    if band:
        top, bottom = height(band[1]), height(band[0])
        parts.append(Markup('<rect class="band" x="0" y="{:.1f}" width="{}" height="{:.1f}"/>').format(top, wide, bottom - top))
    x = (enough + 0.5) * wide / len(faces)
    points = " ".join(f"{one:.1f},{height(mean):.1f}" for one, mean in zip(x, means, strict=True))
    parts.append(Markup('<polyline class="line" points="{}"/>').format(points))
    parts += [
        Markup('<circle class="now" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(one, height(mean))
        for one, mean in zip(x, means, strict=True)
    ]
    words = f"from {number(float(means[0]))} to {number(float(means[-1]))}" if len(means) else "too few faces"
    return Markup("").join(parts), words

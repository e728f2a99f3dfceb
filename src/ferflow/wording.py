"""A judgement of drift in words that a person understands: what changed, which way, by how much. It judges nothing."""

from collections.abc import Sequence
from typing import Protocol

_DIRECTIONS = {  # feature: what fewer and what more of it means
    "confidence": ("the model is less sure", "the model is surer"),
    "entropy": ("answers are less torn between classes", "answers are more torn between classes"),
    "valence": ("expressions are less pleasant", "expressions are more pleasant"),
    "arousal": ("expressions are calmer", "expressions are more excited"),
    "brightness": ("pictures are darker", "pictures are brighter"),
    "contrast": ("pictures are flatter", "pictures have more contrast"),
    "sharpness": ("pictures are less sharp", "pictures are sharper or noisier"),
    "face_size": ("faces are smaller", "faces are larger"),
    "detection_score": ("faces are harder to find", "faces are easier to find"),
}
_CLASSES = 2  # named of a task whose shares changed


class Said(Protocol):
    """What a headline needs to know of a feature."""

    @property
    def drifted(self) -> bool: ...
    @property
    def words(self) -> str: ...
    @property
    def feature(self) -> str: ...


def words_of(
    feature: str, reference: float | dict[str, float] | None, current: float | dict[str, float] | None, drifted: bool
) -> str:
    """One feature: ``pictures are darker (brightness 112 → 67)``; where it did not drift, that it is as it was."""
    if feature == "all together":
        return "a classifier can tell these faces from the tested ones" if drifted else "a classifier cannot tell the two apart"
    if feature == "no face":
        return f"{_share(current)} of the pictures have no face"
    if not drifted:
        return "as in the test"
    if isinstance(reference, dict) and isinstance(current, dict):
        return _of_classes(feature, reference, current)
    if not isinstance(reference, float) or not isinstance(current, float):
        return ""
    fewer, more = _DIRECTIONS[feature]
    before, now = number(reference), number(current)
    if before == now:
        return f"{feature} is spread differently (on average {now}, as before)"
    return f"{more if current > reference else fewer} ({feature.replace('_', ' ')} {before} → {now})"


def _of_classes(feature: str, reference: dict[str, float], current: dict[str, float]) -> str:
    moved = sorted(reference, key=lambda name: -abs(current[name] - reference[name]))[:_CLASSES]
    if feature == "certain":
        before, now = reference["uncertain"], current["uncertain"]
        return f"{'more' if now > before else 'fewer'} uncertain answers ({_share(before)} → {_share(now)})"
    parts = [
        f"{'more' if current[name] > reference[name] else 'less'} {name} ({_share(reference[name])} → {_share(current[name])})"
        for name in moved
    ]
    return f"{feature}: {' and '.join(parts)}"


def headline(verdict: str, rows: Sequence[Said], faces: int, least: int) -> str:
    """The judgement in a sentence or two."""
    if verdict == "too few":
        return f"Too few faces to judge: {faces}, and {least} are needed. That is no sign of drift, and none of its absence."
    if verdict == "no drift":
        return "What the service sees looks like what its model was tested on."
    drifted = [row for row in rows if row.drifted]
    parts = [row.words for row in drifted if row.feature != "all together"] or [row.words for row in drifted]
    if len(parts) > 4:
        parts = [*parts[:4], f"and {len(parts) - 4} more"]
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def number(value: float) -> str:
    """Short enough to read: 112, 0.83, 1,240."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:z.2f}"


def _share(value: float | dict[str, float] | None) -> str:
    return f"{100 * value:.0f} %" if isinstance(value, float) else ""

"""Source ``synthetic``: faces drawn by code from a seed, so that everything can be tried without a download.

An expression sets a few facial action units (``synthetic.yaml``), scaled by an intensity; valence and
arousal follow from both. Age, gender and race are attributes of the drawing: wrinkles and proportions,
hair and lashes, a palette. Pose, light, blur, noise, glasses, occlusion and background are nuisance.

The drawings exercise every head and every stage. They are not people: accuracy on them says nothing
about accuracy on people. The module knows nothing of files other than its own table of action units.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.images import encode_png
from ferflow.registry import register
from ferflow.vocabulary import EXPRESSIONS, GENDERS, RACES

ABOUT = About(
    title="drawn faces",
    faces="as many as asked for, RGB of any size, every label",
    terms="Apache-2.0, as this project; they are of nobody",
    homepage="",
    layout="src/ferflow/datasets/synthetic.yaml, the table of facial action units",
    by_hand="nothing to fetch: they are drawn from the seed",
    slow=True,
)
UNITS = ("brow_inner", "brow_outer", "lids", "nose", "corners", "one_side", "stretch", "upper_lip", "jaw")
_CANVAS = 160  # side of the drawing before it is scaled down, pixels
_SHIFT = 4  # OpenCV draws at 1/16 of a pixel
_LINE = cv2.LINE_AA
_STEPS_25 = np.linspace(0, 1, 25)
_BEZIER = np.stack([(1 - (t := np.linspace(0, 1, 13))) ** 2, 2 * t * (1 - t), t**2], axis=1)

# Palettes (BGR): a band of skin tones and the usual hair colours of each drawn group. The bands touch
# and light moves them further, so that the colour is a hint and not the answer.
_SKIN = {
    "white": ((168, 190, 232), (196, 214, 246)),
    "black": ((38, 58, 96), (72, 104, 152)),
    "asian": ((128, 184, 228), (160, 208, 242)),
    "indian": ((76, 118, 172), (108, 152, 204)),
    "others": ((104, 146, 200), (136, 178, 222)),
}
_HAIR = {
    "white": ((40, 70, 110), (90, 150, 200), (30, 40, 60), (60, 80, 160)),
    "black": ((20, 22, 28), (30, 34, 44)),
    "asian": ((22, 24, 30), (34, 44, 60)),
    "indian": ((20, 24, 34), (30, 38, 56)),
    "others": ((26, 32, 44), (40, 60, 90)),
}


@dataclass(frozen=True)
class Person:
    """What does not change with the expression."""

    age: float
    gender: str
    race: str
    skin: np.ndarray
    hair: np.ndarray
    width: float
    eye_size: float
    eye_height: float
    mouth_height: float
    brow_thickness: float
    long_hair: bool
    stubble: float
    lashes: float


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, count: int = 4000, size: int = 64) -> Rows:
    """Draw ``count`` RGB faces of ``size`` x ``size`` pixels; the same seed gives the same bytes.

    Expressions take turns, so that every class has the same number of faces (plus or minus one).
    Raises ``DataError`` when the table of action units at ``path`` is not complete.
    """
    table = read_action_units(path)
    for index in part.of(range(count)):
        yield draw_row(index, EXPRESSIONS[index % len(EXPRESSIONS)], table, size, np.random.default_rng([seed, index]))


def read_action_units(path: Path) -> dict[str, dict[str, float]]:
    """The table expression -> action units, valence and arousal; every value between -1 and 1."""
    table: dict[str, dict[str, float]] = yaml.safe_load(Path(path).read_text())
    for name in EXPRESSIONS:
        if name not in table:
            raise DataError(f"{path}: no row for the expression {name!r}")
        for key, value in table[name].items():
            if key not in (*UNITS, "valence", "arousal") or not -1 <= value <= 1:
                raise DataError(f"{path}: {name}.{key} = {value}; known are {', '.join(UNITS)}, from -1 to 1")
    return table


def draw_row(index: int, expression: str, table: dict[str, dict[str, float]], size: int, rng: np.random.Generator) -> Row:
    """One row of the manifest: a new person with ``expression`` at a random intensity, as PNG bytes."""
    person = random_person(rng)
    intensity = float(rng.uniform(0.6, 1.0))
    recipe = table[expression]
    units = {unit: recipe.get(unit, 0.0) * intensity + float(rng.normal(0, 0.06)) for unit in UNITS}
    pixels = draw_face(person, units, size, rng)
    return {
        "id": f"synthetic-{index:06d}",
        "image": encode_png(pixels[:, :, ::-1]),
        "source": "synthetic",
        "expression": expression,
        "valence": float(np.clip(recipe["valence"] * intensity + rng.normal(0, 0.04), -1, 1)),
        "arousal": float(np.clip(recipe["arousal"] * intensity + rng.normal(0, 0.04), -1, 1)),
        "age": round(person.age, 1),
        "gender": person.gender,
        "race": person.race,
    }


def random_person(rng: np.random.Generator) -> Person:
    """Draw age, gender and race evenly, and everything else from what they make likely."""
    age = float(rng.uniform(0, 99))
    gender, race = str(rng.choice(GENDERS)), str(rng.choice(RACES))
    childlike = max(0.0, 1 - age / 18)
    low, high = (np.array(colour, float) for colour in _SKIN[race])
    hair = np.array(_HAIR[race][rng.integers(len(_HAIR[race]))], float)
    grey = np.clip((age - rng.uniform(35, 60)) / 30, 0, 1)
    female = gender == "female"
    return Person(
        age=age,
        gender=gender,
        race=race,
        skin=low + (high - low) * rng.uniform(0, 1) + rng.normal(0, 5, 3),
        hair=hair + (np.array((205, 205, 210.0)) - hair) * grey,
        width=float(rng.uniform(0.72, 0.8) + 0.06 * childlike),
        eye_size=float(rng.uniform(0.9, 1.12) + 0.25 * childlike),
        eye_height=float(-0.16 + 0.12 * childlike + rng.normal(0, 0.015)),
        mouth_height=float(0.48 + 0.04 * childlike + rng.normal(0, 0.015)),
        brow_thickness=float(rng.uniform(0.035, 0.05) * (0.7 if female else 1.0)),
        long_hair=bool(rng.random() < (0.85 if female else 0.12)),
        stubble=0.0 if female or age < 16 else float(rng.uniform(0, 0.5) * (rng.random() < 0.7)),
        lashes=float(rng.uniform(0.5, 1)) if female else 0.0,
    )


class _Pen:
    """Draws in face coordinates: the face is about 2 high, x to the right and y down, 0 at its centre."""

    def __init__(self, canvas: np.ndarray, matrix: np.ndarray, turn: float) -> None:
        self.canvas, self.turn = canvas, turn
        self.to_pixels, self.origin = matrix[:, :2].T * 2**_SHIFT, matrix[:, 2] * 2**_SHIFT
        self.unit = float(np.hypot(matrix[0, 0], matrix[1, 0]))  # pixels a unit of length

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Face coordinates (N x 2) to fixed-point pixels; a turned head moves its inner parts sideways."""
        turned = xy.copy()
        turned[:, 0] += self.turn * np.maximum(1 - (xy * xy) @ np.ones(2), 0)
        return np.asarray(np.rint(turned @ self.to_pixels + self.origin), np.int32)

    def fill(self, xy: np.ndarray, colour: np.ndarray) -> None:
        cv2.fillPoly(self.canvas, [self.points(xy)], tuple(map(float, colour)), _LINE, _SHIFT)

    def line(self, xy: np.ndarray, colour: np.ndarray, width: float) -> None:
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.canvas, [self.points(xy)], False, tuple(map(float, colour)), thickness, _LINE, _SHIFT)

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float], colour: np.ndarray) -> None:
        self.fill(_arc(centre, radii, 0, 2 * np.pi), colour)


def _arc(centre: tuple[float, float], radii: tuple[float, float], start: float, stop: float) -> np.ndarray:
    angles = start + (stop - start) * _STEPS_25
    return np.stack([centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)], axis=1)


def _curve(start: tuple[float, float], control: tuple[float, float], stop: tuple[float, float]) -> np.ndarray:
    """A quadratic Bézier curve as 13 points."""
    return np.asarray(_BEZIER @ np.array((start, control, stop)))


def draw_face(person: Person, units: dict[str, float], size: int, rng: np.random.Generator) -> np.ndarray:
    """A BGR picture (``size`` x ``size`` x 3, uint8) of the person with these action units."""
    canvas = _background(person, rng)
    angle, scale = rng.normal(0, 7), rng.uniform(0.9, 1.1) * _CANVAS * 0.42
    cos, sin = scale * np.cos(np.deg2rad(angle)), scale * np.sin(np.deg2rad(angle))
    centre = _CANVAS / 2 + rng.uniform(-0.07, 0.07, 2) * _CANVAS
    matrix = np.array([[cos, -sin, centre[0]], [sin, cos, centre[1]]])
    if rng.random() < 0.5:  # a mirrored face is as likely as the face
        matrix[:, 0] *= -1
    pen = _Pen(canvas, matrix, float(rng.normal(0, 0.09)))
    _draw_head(pen, person)
    _draw_wrinkles(pen, person, units)
    _draw_eyes(pen, person, units, rng)
    _draw_brows(pen, person, units)
    _draw_nose(pen, person, units)
    _draw_mouth(pen, person, units)
    _draw_obstacles(pen, rng)
    return _photograph(canvas, size, rng)


def _background(person: Person, rng: np.random.Generator) -> np.ndarray:
    first, second = rng.uniform(20, 230, 3), rng.uniform(20, 230, 3)
    ramp = np.linspace(0, 1, _CANVAS)[:, None, None]
    ramp = ramp if rng.random() < 0.5 else ramp.transpose(1, 0, 2)
    canvas = np.ascontiguousarray(np.broadcast_to(first + (second - first) * ramp, (_CANVAS, _CANVAS, 3)))
    canvas = canvas.astype(np.uint8)
    for _ in range(rng.integers(0, 5)):
        colour, corner = tuple(rng.uniform(0, 255, 3)), rng.integers(0, _CANVAS, 2)
        if rng.random() < 0.5:
            cv2.circle(canvas, tuple(map(int, corner)), int(rng.integers(5, 40)), colour, -1, _LINE)
        else:
            far = corner + rng.integers(8, 70, 2)
            cv2.rectangle(canvas, tuple(map(int, corner)), tuple(map(int, far)), colour, -1)
    return canvas


def _draw_head(pen: _Pen, person: Person) -> None:
    shade = person.skin * 0.8
    if person.long_hair:
        pen.ellipse((0, 0.1), (person.width * 1.22, 1.12), person.hair)
    pen.ellipse((0, -0.3), (person.width * 1.1, 0.86), person.hair)
    for side in (-1, 1):
        pen.ellipse((side * person.width, 0.0), (0.1, 0.18), shade)
    pen.ellipse((0, 0.05), (person.width, 0.98), person.skin)
    if person.stubble:
        beard = person.skin + (person.hair - person.skin) * person.stubble
        pen.fill(np.vstack([_arc((0, 0.05), (person.width * 0.98, 0.96), 0.35, np.pi - 0.35)]), beard)
    fringe = _arc((0, -0.3), (person.width * 1.02, 0.72), np.pi, 2 * np.pi)
    pen.fill(np.vstack([fringe, _curve((person.width, -0.4), (0, -0.75), (-person.width, -0.4))]), person.hair)


def _draw_wrinkles(pen: _Pen, person: Person, units: dict[str, float]) -> None:
    depth = np.clip((person.age - 30) / 60, 0, 1)
    colour = person.skin * (1 - 0.45 * depth)
    if depth <= 0:
        return
    for row in range(1 + round(2 * depth)):
        y = -0.52 + 0.09 * row
        pen.line(_curve((-0.34, y), (0, y - 0.05 - 0.03 * units["brow_inner"]), (0.34, y)), colour, 0.018)
    for side in (-1, 1):
        pen.line(_curve((side * 0.2, 0.2), (side * 0.38, 0.3), (side * 0.4, 0.5)), colour, 0.02)
        for lift in (-0.06, 0.0, 0.06):
            start = (side * 0.56, person.eye_height + lift / 2)
            pen.line(
                _curve(start, (side * 0.6, person.eye_height + lift), (side * 0.66, person.eye_height + 1.6 * lift)),
                colour,
                0.014,
            )


def _draw_eyes(pen: _Pen, person: Person, units: dict[str, float], rng: np.random.Generator) -> None:
    gaze = float(rng.normal(0, 0.03))
    height = 0.095 * person.eye_size * (1 + 0.75 * units["lids"])
    height = max(height, 0.02)
    width = 0.155 * person.eye_size**0.5
    white, iris = np.array((235, 238, 240.0)), np.array((40, 45, 60.0)) + rng.uniform(0, 60, 3)
    for side in (-1, 1):
        x, y = side * 0.34, person.eye_height
        pen.ellipse((x, y), (width, height), white)
        radius = 0.075 * person.eye_size
        pen.ellipse((x + gaze, y), (radius, min(radius, height)), iris)
        pen.ellipse((x + gaze, y), (radius / 2, min(radius / 2, height)), np.zeros(3))
        lid = _arc((x, y), (width, height), np.pi, 2 * np.pi)
        pen.line(lid, person.skin * 0.4, 0.022 + 0.02 * person.lashes)
        if person.lashes:
            pen.line(np.array([(x + side * width, y), (x + side * (width + 0.06), y - 0.05)]), np.zeros(3), 0.025)


def _draw_brows(pen: _Pen, person: Person, units: dict[str, float]) -> None:
    inner, outer = units["brow_inner"], units["brow_outer"]
    base = person.eye_height - 0.22
    colour = np.minimum(person.hair * 0.8, person.skin * 0.75)
    for side in (-1, 1):
        start = (side * (0.17 - 0.05 * max(-inner, 0)), base - 0.11 * inner + 0.04 * abs(min(inner, 0)))
        middle = (side * 0.36, base - 0.05 - 0.06 * (inner + outer))
        end = (side * 0.55, base + 0.02 - 0.1 * outer)
        pen.line(_curve(start, middle, end), colour, person.brow_thickness * 1.5)
    if inner < -0.3:  # the furrow between drawn-down brows
        for side in (-1, 1):
            pen.line(np.array([(side * 0.05, base + 0.02), (side * 0.04, base + 0.14)]), person.skin * 0.65, 0.018)


def _draw_nose(pen: _Pen, person: Person, units: dict[str, float]) -> None:
    lift = 0.05 * units["nose"]
    shade = person.skin * 0.72
    pen.line(np.array([(0.05, -0.1), (0.09, 0.18 - lift)]), shade, 0.02)
    pen.line(_curve((-0.12, 0.2 - lift), (0, 0.28 - lift), (0.12, 0.2 - lift)), shade, 0.028)
    if units["nose"] > 0.25:
        for row in range(3):
            y = -0.08 + 0.07 * row
            pen.line(_curve((-0.1, y), (0, y - 0.05), (0.1, y)), person.skin * 0.6, 0.018)
        for side in (-1, 1):
            pen.line(_curve((side * 0.15, 0.14), (side * 0.3, 0.22), (side * 0.33, 0.42)), person.skin * 0.65, 0.02)


def _draw_mouth(pen: _Pen, person: Person, units: dict[str, float]) -> None:
    half = 0.27 * (1 + 0.3 * units["stretch"])
    y = person.mouth_height + 0.02 * units["jaw"]
    up = 0.13 * units["corners"]
    one = 0.15 * units["one_side"]
    left, right = (-half, y - up), (half + 0.03 * units["one_side"], y - up - one)
    opening = max(0.0, units["jaw"]) * 0.34
    upper = _curve(left, (0, y + 0.35 * up - 0.16 * max(units["upper_lip"], 0) - 0.2 * opening), right)
    lower = _curve(right, (0, y + 1.1 * up + 0.05 + 1.5 * opening), left)
    lips = person.skin * np.array((0.62, 0.55, 0.78))
    inside = np.array((30, 25, 70.0))
    gape = opening > 0.05 or units["upper_lip"] > 0.4
    pen.fill(np.vstack([upper, lower]), inside if gape else lips)
    if gape:
        teeth = _curve(right, (0, y + 0.5 * up + 0.02 + 0.25 * opening), left)
        pen.fill(np.vstack([upper, teeth]), np.array((225, 230, 232.0)))
        pen.line(np.vstack([upper, lower]), lips, 0.04)
    pen.line(upper, lips * 0.75, 0.035)
    if units["one_side"] > 0.3:
        pen.line(
            _curve((right[0] + 0.03, right[1] - 0.05), (right[0] + 0.08, right[1]), (right[0] + 0.04, right[1] + 0.06)),
            person.skin * 0.6,
            0.02,
        )


def _draw_obstacles(pen: _Pen, rng: np.random.Generator) -> None:
    if rng.random() < 0.2:  # glasses
        colour = rng.uniform(0, 120, 3)
        for side in (-1, 1):
            pen.line(_arc((side * 0.34, -0.14), (0.22, 0.17), 0, 2 * np.pi), colour, 0.03)
        pen.line(np.array([(-0.12, -0.14), (0.12, -0.14)]), colour, 0.03)
    if rng.random() < 0.1:  # something in front of the face
        x, y = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9)
        w, h = rng.uniform(0.15, 0.35, 2)
        corners = np.array([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)])
        pen.fill(corners, rng.uniform(0, 255, 3))


def _photograph(canvas: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, exposure, blur and noise, at the final size."""
    picture = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + strength * (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None])
    picture *= (light * rng.uniform(0.6, 1.2))[:, :, None]
    picture *= rng.normal(1, 0.05, 3)  # the camera's white balance
    blur = rng.uniform(0, 0.9) * size / 64
    if blur > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    picture += rng.normal(0, rng.uniform(0, 9), picture.shape)
    return np.asarray(np.clip(picture, 0, 255).astype(np.uint8))

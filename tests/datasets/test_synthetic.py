import numpy as np
import pytest
import yaml
from conftest import ACTION_UNITS

from ferflow.datasets import DataError, Part, synthetic
from ferflow.images import decode
from ferflow.vocabulary import EXPRESSIONS, GENDERS, RACES


def draw(seed: int, count: int = 8, **options) -> list[dict]:
    return list(synthetic.load(ACTION_UNITS, seed=seed, count=count, size=64, **options))


def test_the_same_seed_draws_the_same_bytes_and_another_seed_does_not():
    first, again, other = draw(1), draw(1), draw(2)
    assert first == again
    assert all(a["image"] != b["image"] for a, b in zip(first, other, strict=True))


def test_shares_draw_what_the_whole_draws():
    alone = draw(5, count=40)
    assert [row for index in range(3) for row in draw(5, count=40, part=Part(index, 3))] == alone


def test_every_face_has_every_label_and_expressions_take_turns(drawn_rows):
    assert {row["expression"] for row in drawn_rows} == set(EXPRESSIONS)
    counts = [sum(row["expression"] == name for row in drawn_rows) for name in EXPRESSIONS]
    assert set(counts) == {len(drawn_rows) // len(EXPRESSIONS)}
    assert {row["gender"] for row in drawn_rows} == set(GENDERS)
    assert {row["race"] for row in drawn_rows} == set(RACES)
    assert all(-1 <= row["valence"] <= 1 and -1 <= row["arousal"] <= 1 and 0 <= row["age"] < 99 for row in drawn_rows)
    assert len({row["id"] for row in drawn_rows}) == len(drawn_rows)


def test_valence_follows_the_expression(drawn_rows):
    mean = {name: np.mean([row["valence"] for row in drawn_rows if row["expression"] == name]) for name in EXPRESSIONS}
    assert mean["happy"] > 0.4 > abs(mean["neutral"]) > -0.4 > mean["sad"]


def test_pictures_have_the_size_asked_for(drawn_rows):
    assert decode(drawn_rows[0]["image"]).shape == (32, 32, 3)


@pytest.mark.parametrize("change", [lambda t: t.pop("sad"), lambda t: t["sad"].update(jaw=2), lambda t: t["sad"].update(ears=1)])
def test_a_wrong_table_of_action_units_is_an_error(change, tmp_path):
    table = yaml.safe_load(ACTION_UNITS.read_text())
    change(table)
    path = tmp_path / "units.yaml"
    path.write_text(yaml.safe_dump(table))
    with pytest.raises(DataError, match="sad"):
        next(synthetic.load(path, seed=1))

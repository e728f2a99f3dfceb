import numpy as np
import pytest

from ferflow.vocabulary import AGE_GROUPS, EMOJI, EXPRESSIONS, age_group, entropy


def test_every_expression_has_its_own_emoji():
    assert set(EMOJI) == set(EXPRESSIONS)
    assert len(set(EMOJI.values())) == len(EXPRESSIONS)


@pytest.mark.parametrize(
    ("years", "group"), [(0, "0-9"), (9.9, "0-9"), (10, "10-19"), (89.5, "80-89"), (90, "90+"), (116, "90+")]
)
def test_an_age_belongs_to_its_decade_and_the_last_is_open(years, group):
    assert age_group(years) == group
    assert group in AGE_GROUPS


@pytest.mark.parametrize("years", [-1, 130, float("nan")])
def test_an_impossible_age_is_an_error(years):
    with pytest.raises(ValueError, match="years"):
        age_group(years)


def test_entropy_is_zero_for_certainty_and_log_k_for_doubt():
    values = entropy(np.array([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]))
    assert values == pytest.approx([0, np.log(4)], abs=1e-9)

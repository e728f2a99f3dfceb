"""The short form of ``make drill``: the whole story, with fewer faces."""

import pytest

from flows.drill import SHORT, perform

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3000)]


def test_the_whole_loop(tmp_path, capfd):
    good = perform(SHORT, tmp_path)
    shown = capfd.readouterr().out
    assert good, shown
    assert "verdict: all" in shown

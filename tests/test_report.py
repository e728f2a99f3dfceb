"""The page: self-contained, sortable, looked at by a real browser; and what its tables say."""

import re
import subprocess
from html import unescape

import browser
import numpy as np
import pandas as pd
import pytest

from ferflow import limits
from ferflow.images import encode_png
from ferflow.report import Section, counted, in_percent, joined, model_card, page, picture, table, with_interval

SORTED = """
<script>
const heads = document.querySelectorAll("th button");
const column = index => [...document.querySelectorAll("tbody tr")].map(row => row.children[index].textContent).join(",");
const seen = [];
for (const index of [1, 1, 0, 2]) { heads[index].click(); seen.push(column(index)); }
seen.push([...document.images].map(image => image.complete && image.naturalWidth).join(","));
seen.push(document.querySelectorAll("th")[2].getAttribute("aria-sort"));
document.body.innerHTML = "<pre id=found></pre>";
document.getElementById("found").textContent = seen.join("|");
</script>
"""


@pytest.fixture
def html(tmp_path):
    (tmp_path / "one.png").write_bytes(encode_png(np.full((9, 7, 3), 200, np.uint8)))
    frame = pd.DataFrame(
        {
            "network": ["b", "a", "<i>c</i>", "d"],
            "accuracy": ["91.5 [90.1, 92.0]", "9.5 [8.0, 10.0]", "", np.inf],
            "n": [2, 1000, np.nan, 30],
        }
    )
    inner = Section("Folded", words=["inside"])
    section = Section(
        "Networks & more", ["words"], [table("caption", frame)], [picture("a picture", tmp_path / "one.png")], [inner]
    )
    return page("Report", [("accuracy", "91.5 %", "of 10")], drawn=True, sections=[section])


def test_the_page_stands_alone_and_escapes_what_it_is_given(html):
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "http" not in html.split("</style>")[1].replace("https://www.w3.org", "")
    assert "<i>c</i>" not in html
    assert "&lt;i&gt;c&lt;/i&gt;" in html
    assert limits.DRAWN in html
    assert all(line in unescape(html) for line in limits.LIMITS + limits.LAW)
    assert "Article 5(1)(f)" in html
    assert 'id="networks---more"' in html


def test_a_browser_shows_its_pictures_and_sorts_its_tables(html, tmp_path):
    (tmp_path / "index.html").write_text(html.replace("</body>", SORTED + "</body>"))
    flags = [*browser.flags(tmp_path / "profile"), "--virtual-time-budget=5000"]
    done = subprocess.run(
        [browser.chromium(), *flags, "--dump-dom", f"file://{tmp_path / 'index.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="found">(.*)</pre>', done.stdout)
    assert found, done.stdout[-2000:]
    up, down, names, numbers, images, mark = found[1].split("|")
    assert up == "9.5 [8.0, 10.0],91.5 [90.1, 92.0],inf,", "by the figure, not by its text; what is not there comes last"
    assert down == "inf,91.5 [90.1, 92.0],9.5 [8.0, 10.0],"
    assert names.startswith("&lt;i&gt;c")
    assert numbers == "2,30,1,000,"
    assert (images, mark) == ("7", "ascending")


@pytest.mark.parametrize(
    ("value", "shown", "sort"),
    [
        (0.12345, "0.123", "0.12345"), (0.00001234, "1.2e-05", "1.234e-05"), (0.0, "0", "0.0"), (123456.7, "123,457", "123456.7"),
        (True, "yes", "1"), (np.True_, "yes", "1"), (12345, "12,345", "12345"), (np.int64(7), "7", "7"),
        (None, "", ""), (float("nan"), "", ""), (float("inf"), "inf", "Infinity"), (float("-inf"), "-inf", "-Infinity"),
    ],
)  # fmt: skip
def test_cells_are_rounded_for_reading_and_sorted_exactly(value, shown, sort):
    cell = table("", pd.DataFrame({"x": pd.Series([value], dtype=object)})).rows[0][0]
    assert (cell.text, cell.sort) == (shown, sort)


def test_shares_are_shown_in_percent_and_sorted_by_themselves():
    frame = pd.DataFrame(
        {"metric": ["accuracy", "ccc", "f1"], "value": [0.915, 0.5, np.nan], "low": [0.9, np.nan, 0], "high": [0.93, np.nan, 1]}
    )
    shown = joined(frame)
    assert list(shown.columns) == ["metric", "value"]
    assert [cell.text for cell in shown["value"]] == ["91.5 % [90.0, 93.0]", "0.500", ""]
    assert [cell.sort for cell in shown["value"]] == ["0.915", "0.5", ""]
    assert (shown["value"][0].figure, shown["value"][0].interval) == ("91.5 %", "[90.0, 93.0]")
    points = joined(frame[:2].assign(low=-0.01), unit=" points", sign=True)
    assert [cell.text for cell in points["value"]] == ["+91.5 points [-1.0, +93.0]", "+0.500"]
    assert [cell.text for cell in in_percent(pd.DataFrame({"recall": [0.25, np.nan], "n": [1, 2]}))["recall"]] == ["25.0 %", ""]


def test_a_large_picture_is_packed(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    (tmp_path / "noise.png").write_bytes(encode_png(noise))
    source = picture("noise", tmp_path / "noise.png").source
    assert source.startswith("data:image/webp;base64,")
    assert len(source) < (tmp_path / "noise.png").stat().st_size


def test_one_is_not_plural():
    assert [counted(number, "picture") for number in (0, 1, 1200)] == ["0 pictures", "1 picture", "1,200 pictures"]


def test_a_figure_has_its_interval_where_there_is_one():
    assert with_interval(0.915, 0.9, 0.93) == "91.5 [90.0, 93.0]"
    assert with_interval(0.915, None, None) == "91.5"
    assert with_interval(0.5, float("nan"), 1.0, percent=False) == "0.500"
    assert with_interval(None, 0.1, 0.2) == ""


def test_the_model_card_has_front_matter_limits_and_law():
    facts = {"title": "t", "summary": "s", "drawn": "", "model": {"a": 1}, "data": "d", "figures": "f", "fairness": "g"}
    card = model_card("library_name: onnx", facts)
    assert card.startswith("---\nlibrary_name: onnx\n---\n")
    assert "Article 50(3)" in card
    assert "| a | 1 |" in card

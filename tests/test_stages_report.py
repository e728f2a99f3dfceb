"""The stages ensemble, evaluate and report in this process, on the predictions of a small project; what stands on the page."""

import json
import re
import runpy
import subprocess
from html import unescape

import pandas as pd
import pytest
import yaml
from browser import chromium, flags
from conftest import ROOT

from ferflow import plots
from ferflow.card import task_columns
from ferflow.certainty import certain_answers
from ferflow.stages import (
    COST,
    DATA_REPORTS,
    ENSEMBLE,
    EVALUATION,
    MANIFEST,
    METRICS,
    MODEL_CARD,
    PAGE,
    ensemble,
    evaluate,
    read_json,
    report,
    write_json,
)
from ferflow.stages.explain import whose_map

FACES, NAMES = 80, ["member0", "member1", "member2"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project after its stages, and its page as text."""
    patch = pytest.MonkeyPatch()
    patch.chdir(folder := tmp_path_factory.mktemp("project"))
    patch.setenv("FERFLOW_WORKERS", "1")  # other processes would take longer to start than all there is to do
    runpy.run_path(str(ROOT / "benchmarks/evaluation.py"), run_name="imported")["make_project"](FACES, len(NAMES))
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    settings["evaluate"]["resamples"] = 200
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    for stage in (ensemble, evaluate, report):
        stage.run()
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def html(project) -> str:
    return unescape(PAGE.read_text())


def cells(html: str, caption: str) -> list[list[str]]:
    """What stands in the table with this caption, row by row, its head first."""
    table = next(part for part in html.split("<table>")[1:] if f"<caption>{caption}" in part).split("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[1:]]
    return [[re.sub("<[^>]*>", "", cell).strip() for cell in row] for row in rows]


def test_tiles_say_what_is_released_and_how_good_it_is(html):
    values = read_json(METRICS)["ensemble"]["test"]["expression"]
    tiles = dict(re.findall(r'<div class="tile"><span>(.*?)</span><b>(.*?)</b>', html))
    assert tiles["released"] == "ensemble"
    assert tiles["accuracy of the expression"] == f"{100 * values['accuracy']:.1f} %"
    assert tiles["macro F1"] == f"{100 * values['macro_f1']:.1f} %"
    assert f"95 %: [{100 * values['accuracy_low']:.1f}, {100 * values['accuracy_high']:.1f}], {FACES} test faces" in html


def test_every_network_stands_in_the_first_table_with_its_cost(html):
    head, *rows = cells(html, "All test faces")
    assert [row[0] for row in rows] == [*NAMES, "ensemble"]
    cost = read_json(COST)
    for row in rows:
        shown = dict(zip(head, row, strict=True))
        assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", shown["expression accuracy"])
        assert float(shown["GMAC"]) == pytest.approx(cost[row[0]]["gmac"], abs=5e-4)


def test_pairs_are_compared_in_points(html):
    head, *rows = cells(html, "Accuracy of the expression")
    assert len(rows) == 6
    assert all(re.fullmatch(r"[+-]\d+\.\d points \[[+-]\d+\.\d, [+-]\d+\.\d\]", row[head.index("difference")]) for row in rows)


def test_ways_to_combine_have_figures_and_one_is_chosen(html):
    head, *rows = cells(html, "expression</caption>")
    found = json.loads((ENSEMBLE / "ensemble.json").read_text())
    assert {row[0] for row in rows} == {way["way"] for way in found["ways"]["expression"]}
    assert [row[0] for row in rows if row[head.index("chosen")] == "yes"] == [found["chosen"]["expression"]]
    assert "test expression accuracy" in head


def test_cost_names_what_to_ship(html):
    _, *rows = cells(html, "Every network")
    assert [row[0] for row in rows] == [*NAMES, "ensemble"]
    assert all(re.match(r"\d+\.\d % \[", row[1]) for row in rows)
    head, *rows = cells(html, "Which to ship")
    assert rows[0][head.index("limit on")] == "ms"
    assert {row[head.index("ship")] for row in rows} <= {*NAMES, "ensemble"}
    assert all(row[-1].endswith(" %") for row in rows)


def test_certain_answers_are_counted_on_the_test_faces(html):
    head, *rows = cells(html, "Certain answers")
    assert [row[0] for row in rows] == [*NAMES, "ensemble"]
    card = read_json(ENSEMBLE / "ensemble.json")["card"]
    predictions = pd.read_parquet(ENSEMBLE / "predictions.parquet").query("split == 'test'")
    truth = pd.read_parquet(MANIFEST).set_index("id")["expression"].loc[predictions["id"]]
    classes = card["tasks"]["expression"]
    target = pd.Categorical(truth, categories=classes).codes
    expected = certain_answers(predictions[task_columns("expression", classes)].to_numpy(), target, card["certain_above"])
    shown = dict(zip(head, rows[-1], strict=True))
    assert shown["coverage"] == f"{100 * expected['coverage']:.1f} %"
    assert shown["certain answers"] == str(expected["n"])
    head, *rows = cells(html, "Expected calibration error")
    assert head == ["network", "as trained", "calibrated"]
    assert all(row[1].endswith(" %") for row in rows[:-1]), "members have a temperature"


def test_a_small_group_is_called_too_small(project):
    groups = EVALUATION / "fairness_groups.csv"
    kept = groups.read_text()
    table = pd.read_csv(groups)
    table.loc[table["group"] == "female", ["n", "value", "low", "high"]] = [12, None, None, None]
    table.to_csv(groups, index=False)
    section = report.fairness(project / "reports", "ensemble")
    groups.write_text(kept)
    shown = {row[3].text: row[-1] for row in section.tables[1].rows}
    assert (shown["female"].text, shown["female"].sort) == ("too small (n < 30)", "")
    assert shown["male"].text.partition(" [")[0].endswith(" %")


def test_the_model_card_has_hugging_faces_form(project):
    text = MODEL_CARD.read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "apache-2.0"
    results = front["model-index"][0]["results"]
    assert {metric["type"] for result in results for metric in result["metrics"]} == {"accuracy", "macro_f1"}
    assert "No test image has a twin" in text
    assert "0 test images" not in text
    assert "0.000" not in text


@pytest.mark.parametrize(
    ("leaks", "words"), [(0, "No test image has"), (1, "1 test image has a twin"), (1200, "1,200 test images have a twin")]
)
def test_twins_are_counted_in_words(project, leaks, words):
    split = read_json(DATA_REPORTS / "split.json")
    write_json(split | {"leaks": {"test images identical or nearly identical to one there": leaks}}, DATA_REPORTS / "split.json")
    assert words in report._data_in_words("synthetic")
    write_json(split, DATA_REPORTS / "split.json")


@pytest.mark.parametrize(("above", "words"), [(0.0, "never"), (1.01, "always"), (0.62, "below a confidence of 0.620")])
def test_a_threshold_is_put_in_words(above, words):
    assert report._certainty_in_words(above, 0.9).startswith(words)


def test_a_browser_shows_the_page_without_scrolling_it_sideways(project, html, tmp_path):
    browser = chromium()
    probe = """<script>
    const root = document.documentElement, first = document.querySelector("tbody td");
    const box = first.closest(".scroll"), before = first.getBoundingClientRect().left;
    box.scrollLeft = 60;
    const found = [root.scrollWidth <= root.clientWidth, first.getBoundingClientRect().left === before,
                   [...document.images].every(image => image.src.startsWith("data:")), document.images.length > 4];
    document.body.innerHTML = "<pre id=found>" + found.join() + "</pre>";
    </script></body>"""
    (tmp_path / "page.html").write_text(PAGE.read_text().replace("</body>", probe))
    done = subprocess.run(
        [browser, *flags(tmp_path / "profile"), "--window-size=500,900", "--dump-dom", f"file://{tmp_path / 'page.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<pre id=.found.>(.*?)</pre>", done.stdout)
    assert found, done.stdout[-2000:]
    assert found[1] == "true,true,true,true"


def test_certain_answers():
    shares = [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]]
    found = certain_answers(pd.DataFrame(shares).to_numpy(), pd.Series([0, 0, 0, -1]).to_numpy(), 0.65)
    assert found == {"coverage": pytest.approx(2 / 3), "accuracy": 0.5, "n": 2}
    nothing = certain_answers(pd.DataFrame(shares).to_numpy(), pd.Series([0, 0, 0, -1]).to_numpy(), 1.01)
    assert nothing["coverage"] == 0
    assert nothing["accuracy"] != nothing["accuracy"]


def test_a_tie_is_called_one():
    assert whose_map(["a", "b"], [0.2, 0.8]) == ("b", "the heaviest member")
    assert whose_map(["a", "b", "c"], [0.0, 0.5, 0.5]) == ("b", "the first of 2 members of equal weight")


@pytest.mark.parametrize("target", [[0], [1, 1, 1]])
def test_one_row_or_one_class_is_drawn_without_a_warning(target, tmp_path):
    shares = pd.DataFrame([[0.6, 0.4]] * len(target)).to_numpy()
    numbers = pd.Series(target).to_numpy()
    plots.curves(numbers, shares, ("a", "b"), "t", tmp_path / "curves.png")
    bins = pd.DataFrame({"confidence": [0.6], "accuracy": [1.0], "n": [len(target)]})
    covered = pd.DataFrame({"coverage": [1.0], "accuracy": [1.0], "confidence": [0.6]})
    plots.reliability({"calibrated": bins}, covered, 0.5, "t", tmp_path / "calibration.png")
    row = {"network": "n", "accuracy": 1.0, "low": float("nan"), "high": float("nan"), "gmac": 1.0, "ms": 1.0}
    plots.front(pd.DataFrame([row | {"efficient by gmac": True, "efficient by ms": True}]), tmp_path / "front.png")
    assert all(path.stat().st_size > 1000 for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.glob("*.png"))) == 3

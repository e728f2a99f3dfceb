"""A student learns from the ensemble, stands in the comparison, and can be released in place of the ensemble."""

import json
import runpy
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT

from ferflow import params
from ferflow.images import decode, image_statistics, resize, to_gray
from ferflow.params import ParamsError
from ferflow.released import load_ensemble
from ferflow.stages import MANIFEST, cost, distil, ensemble, evaluate, explain, export, report, robustness, split, train, validate
from ferflow.tables import read_images


@pytest.fixture(scope="module")
def project(manifest, tmp_path_factory):
    """A folder with two members that were trained for an epoch, their ensemble, and a student."""
    folder = tmp_path_factory.mktemp("students")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    small = {"backbone": "cnn", "recipe": "none", "epochs": 1, "batch_size": 16, "options": {"width": 4}}
    raw["dataset"]["image_size"] = 32
    raw["validate"]["checks"] = dict.fromkeys(raw["validate"]["checks"], "off") | {"unreadable": "quarantine"}
    raw["robustness"]["faces"] = 12
    raw["members"] = {name: small | {"modality": name} for name in ("rgb", "gray")}
    raw["students"] = {"small": small | {"modality": "gray", "soft_labels": 0.7, "tta": "flip"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    (folder / "data").mkdir()
    shutil.copy(manifest, folder / "data/manifest.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        validate.run()
        split.run()
        for name in ("rgb", "gray"):
            train.run(name)
        ensemble.run()
        distil.run("small")
        cost.run()
        evaluate.run()
        robustness.run()
        explain.run()
    return folder


@pytest.fixture(autouse=True)
def in_project(project, monkeypatch):
    monkeypatch.chdir(project)


def test_a_student_is_compared_with_its_teacher():
    table = pd.read_csv("reports/ablation.csv")
    assert table["member"].tolist() == ["gray", "rgb", "ensemble", "small"]
    assert {"val", "test"} == set(pd.read_parquet("models/students/small/predictions.parquet")["split"])
    assert not list((params.Path("models") / "checkpoints").glob("*.pt")), "what is finished leaves no checkpoint"


def test_everything_is_in_the_reports():
    metrics = json.loads(params.Path("reports/metrics.json").read_text())
    assert set(metrics) == {"gray", "rgb", "ensemble", "small"}
    assert metrics["gray"]["test"]["expression"]["accuracy_low"] <= metrics["gray"]["test"]["expression"]["accuracy"]
    figures = pd.read_csv("reports/evaluation/figures.csv")
    assert {"kappa", "roc_auc", "pearson", "within_one", "score"} <= set(figures["metric"])
    assert set(figures["faces"]) == {"val", "test", "test_leak_free"}
    ways = pd.read_csv("reports/evaluation/ensembles.csv")
    assert ways.groupby("task")["chosen"].sum().eq(1).all()
    assert {"stacking", "greedy", "best"} <= set(ways["way"])
    worse = pd.read_csv("reports/robustness/table.csv")
    assert worse.groupby("network").size().unique().tolist() == [51]
    assert worse["n"].unique().tolist() == [12]
    axis = pd.read_csv("reports/ablation/modality.csv")
    assert axis.columns.tolist()[:3] == ["Setting", "Modality", "Expr Acc"]
    assert axis["Member"].tolist() == ["gray", "rgb"]
    for picture in ("evaluation/front", "evaluation/training", "evaluation/ensemble/calibration", "evaluation/rgb/curves",
                    "robustness/robustness", "explanations/small", "explanations/doubts"):  # fmt: skip
        assert params.Path(f"reports/plots/{picture}.png").stat().st_size > 5000, picture
    card = json.loads(params.Path("models/members/gray/card.json").read_text())
    assert 0.05 <= card["temperatures"]["expression"] <= 20


def test_the_report_holds_it_all():
    export.run()
    report.run()
    html = params.Path("reports/index.html").read_text()
    titles = "Networks|Is one better?|Ensembles|Accuracy and cost|Calibration|Fairness|Robustness|Ablations|Network by network"
    for title in [*titles.split("|"), "Where they look", "Data", "Limits and law"]:
        assert f"<h2>{title}</h2>" in html, title
    assert html.count("data:image/") > 20
    card = params.Path("reports/model_card.md").read_text()
    assert card.startswith("---\n")
    assert "model-index" in card


def test_a_student_is_shown_what_its_teacher_answers(monkeypatch):
    asked, shown = [], []

    def answer(teacher, pixels):
        draw = np.random.default_rng(0)
        asked.append({task: draw.random((len(pixels), 3)) for task in teacher.tasks})
        return asked[0]

    monkeypatch.setattr(distil, "ask", answer)
    monkeypatch.setattr(distil, "train_and_write", lambda settings, name, student, tasks, data, folder: shown.append(data) or {})
    distil.run("small")
    (answers,), (data,) = asked, shown
    assert set(data["train"].soft) == {"expression", "age", "gender", "race"}
    assert all(np.array_equal(data["train"].soft[task], answers[task]) for task in data["train"].soft)
    assert len(data["train"].ids) == len(answers["expression"])
    assert not data["val"].soft, "it is judged by labels"


def test_a_teacher_says_the_same_of_a_face_and_its_mirror_image():
    settings = params.load()
    teacher = load_ensemble(
        json.loads(params.Path("models/ensemble/ensemble.json").read_text()), settings.members, distil.MEMBERS
    )
    faces = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    found, mirrored = distil.ask(teacher, faces), distil.ask(teacher, np.ascontiguousarray(faces[:, :, ::-1]))
    assert found["expression"] == pytest.approx(mirrored["expression"], abs=1e-5)
    with torch.no_grad():
        alone = teacher(torch.from_numpy(faces))[0].numpy()
        other = teacher(torch.from_numpy(faces[:, :, ::-1].copy()))[0].numpy()
    assert found["expression"] == pytest.approx((alone + other) / 2, abs=1e-5)
    for member in teacher.members:
        member.tta = "flip"
    asked = []
    teacher.register_forward_hook(lambda *_: asked.append(1))
    found, mirrored = distil.ask(teacher, faces), distil.ask(teacher, np.ascontiguousarray(faces[:, :, ::-1]))
    assert len(asked) == 2, "members that look at the mirror image themselves are asked once"
    assert found["expression"] == pytest.approx(mirrored["expression"], abs=1e-5)


def test_a_student_or_member_can_be_what_is_released():
    raw = yaml.safe_load(params.Path("params.yaml").read_text())
    for name, folder in (("small", "models/students/small"), ("rgb", "models/members/rgb")):
        raw["export"]["model"] = name
        params.Path("params.yaml").write_text(yaml.safe_dump(raw))
        export.run()
        card = json.loads(params.Path("models/release/card.json").read_text())
        assert list(card["members"]) == [name]
        released = pd.read_parquet("models/release/reference.parquet")
        own = pd.read_parquet(f"{folder}/predictions.parquet")
        assert released["confidence"].tolist() == own[own["split"] == "test"]["confidence"].tolist()
        assert _as_the_service_measures(released)


def _as_the_service_measures(released: pd.DataFrame) -> bool:
    """Whether the reference says of its pictures what the service writes into its log of the same crops."""
    card = json.loads(params.Path("models/release/card.json").read_text())
    images = read_images(MANIFEST, set(released["id"]))
    for row in released.head(10).to_dict("records"):
        crop = resize(decode(images[row["id"]]), card["input_size"])
        found = image_statistics(to_gray(crop)[:, :, 0])
        if found != pytest.approx({name: row[name] for name in found}, rel=1e-5):
            return False
    return bool((released["certain"] == (released["confidence"] >= np.float32(card["certain_above"]))).all())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw["students"]["small"].update(soft_labels=0), "soft_labels must be above 0"),
        (lambda raw: raw["students"].update(rgb=raw["students"]["small"]), "names of their own, not rgb"),
        (lambda raw: raw["export"].update(model="large"), "export.model 'large' is none of ensemble, gray, rgb, small"),
    ],
)
def test_what_cannot_be_a_student_is_refused(change, words):
    raw = yaml.safe_load(params.Path("params.yaml").read_text())
    change(raw)
    with pytest.raises(ParamsError, match=words):
        params.parse(raw)


def test_the_table_of_fer2013_keeps_what_is_not_here_and_says_what_was_measured(monkeypatch, capsys):
    found = runpy.run_path(str(ROOT / "benchmarks/fer2013.py"), run_name="imported")
    raw = yaml.safe_load(params.Path("params.yaml").read_text())
    raw["ensemble"]["fixed"] = {"pair": {"rgb": 0.5, "gray": 0.5}}
    monkeypatch.setattr(params, "load", lambda: params.parse(raw))
    found["main"]()
    table = pd.read_csv("reports/benchmarks/fer2013.csv").set_index("member")
    assert set(table.index) == {"rgb", "gray", "small", "ensemble", "pair"}
    metrics = json.loads(params.Path("reports/metrics.json").read_text())
    for name in ("rgb", "gray", "small", "ensemble"):
        truth = metrics[name]["test"]["expression"]
        assert table.loc[name, "test"] == pytest.approx(100 * truth["accuracy"], abs=0.01)
        assert table.loc[name, "low"] <= table.loc[name, "test"] <= table.loc[name, "high"]
    assert table.loc["pair", "gmac"] == pytest.approx(table.loc[["rgb", "gray"], "gmac"].sum(), rel=1e-3)
    assert table.loc["small", "views"] == "flip"
    before = table.reset_index()
    before.loc[before["member"] == "gray", ["weights", "test"]] = ["of another day", 1.0]
    before.loc[before["member"] == "rgb", "commit"] = "older"
    elsewhere = before[before["member"] == "small"].assign(member="vit_tiny", test=12.5)
    pd.concat([before, elsewhere]).to_csv("reports/benchmarks/fer2013.csv", index=False)
    found["main"]()
    again = pd.read_csv("reports/benchmarks/fer2013.csv").set_index("member")
    assert again.loc["gray", "test"] == table.loc["gray", "test"], "other weights, another row"
    assert again.loc["rgb", "commit"] == "older", "the same weights, the same row"
    text = params.Path("reports/benchmarks/fer2013.md").read_text()
    assert "| vit_tiny | 69.85 validation |" in " ".join(text.split())
    columns = "validation|leak-free|macro F1|M parameters|GMAC|accuracy/GMAC|faces/s|minutes|epochs|pretrained|seed|machine"
    head = [cell.strip() for cell in next(line for line in text.splitlines() if line.startswith("| member")).split("|")]
    assert set(columns.split("|")) <= set(head)
    assert "test [95 %]" in head
    assert "custom_cnn (64.4 test)" in text.partition("Not trained here yet:")[2]


def test_the_table_of_several_tasks_sets_members_side_by_side():
    runpy.run_path(str(ROOT / "benchmarks/multitask.py"), run_name="imported")["main"]()
    text = params.Path("reports/benchmarks/multitask.md").read_text()
    metrics = json.loads(params.Path("reports/metrics.json").read_text())
    for name in ("rgb", "gray"):
        for task in ("expression", "gender"):
            assert f"{100 * metrics[name]['test'][task]['accuracy']:.1f} [" in text
    assert "rgb - gray" in text


def test_students_that_params_no_longer_name_are_forgotten():
    raw = yaml.safe_load(params.Path("params.yaml").read_text())
    raw["export"]["model"] = "ensemble"
    raw["students"] = {}
    params.Path("params.yaml").write_text(yaml.safe_dump(raw))
    ensemble.run()
    assert list(params.Path("models/students").iterdir()) == []
    with pytest.raises(distil.StageError, match="no student is called 'small'"):
        distil.run("small")

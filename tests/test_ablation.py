"""Members from axes: names, entries, and what becomes of params.yaml."""

import pytest
import torch
import yaml
from conftest import ROOT
from typer.testing import CliRunner

from ferflow import params
from ferflow.ablation import MARK, combinations
from ferflow.cli import app
from ferflow.model import build
from ferflow.params import Ablation

BLOCK = """
ablation:
  base: {recipe: crp, epochs: 2}
  axes:
    network: {vit: {backbone: vit}, xxs: {backbone: mobilevit, variant: xxs, options: {kernel_size: 5}}}
    modality: [rgb, gray]
    task_weights.age: [0, 0.2]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text() + BLOCK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_combination_is_a_member_with_a_telling_name():
    found = combinations(Ablation.model_validate(yaml.safe_load(BLOCK)["ablation"]))
    assert list(found)[:3] == ["vit-rgb-age0", "vit-rgb-age0_2", "vit-gray-age0"]
    assert len(found) == 8
    assert found["xxs-gray-age0_2"] == {
        "recipe": "crp", "epochs": 2, "backbone": "mobilevit", "variant": "xxs", "options": {"kernel_size": 5},
        "modality": "gray", "task_weights": {"age": 0.2},
    }  # fmt: skip


def test_combinations_share_nothing():
    axes = {"x": {"a": {"backbone": "mobilevit", "options": {"kernel_size": 5}}}, "options.patch_size": [1, 2], "recipe": ["crp"]}
    found = combinations(Ablation(base={"options": {"width": 24}, "task_weights": "equal"}, axes=axes))
    assert [entry["options"] for entry in found.values()] == [
        {"width": 24, "kernel_size": 5, "patch_size": 1},
        {"width": 24, "kernel_size": 5, "patch_size": 2},
    ]
    assert found == combinations(Ablation(base={"options": {"width": 24}, "task_weights": "equal"}, axes=axes))
    weights = combinations(Ablation(base={"task_weights": "expression"}, axes={"task_weights.age": [0.5, 1]}))
    assert [entry["task_weights"]["age"] for entry in weights.values()] == [0.5, 1]
    assert weights["age1"]["task_weights"]["expression"] == 1, "a weighting's name is spelt out"
    with pytest.raises(params.ParamsError, match=r"task_weights\.age reaches into task_weights, which is 'all'"):
        combinations(Ablation(base={"task_weights": "all"}, axes={"task_weights.age": [1]}))


def test_every_axis_that_a_comparison_needs_makes_members_that_can_be_built(project):
    raw = yaml.safe_load((project / "params.yaml").read_text())
    raw["ablation"] = {
        "base": {"backbone": "mobilevit", "variant": "xxs", "epochs": 1},
        "axes": {
            "modality": ["gray"],
            "recipe": ["crp", "mix"],
            "image_size": [64, 96],
            "options.patch_size": [1, 2],
            "options.kernel_size": [3, 5],
            "pretrained": [True, False],
            "task_weights.age": [0, 0.5],
        },
    }
    settings = params.parse(raw | {"members": combinations(Ablation.model_validate(raw["ablation"]))})
    assert len(settings.members) == 64
    member = settings.member("gray-mix-image_size96-patch_size1-kernel_size5-no_pretrained-age0_5")
    assert (member.recipe, member.image_size, member.pretrained) == ("mix", 96, False)
    assert (member.options, member.task_weights["age"]) == ({"patch_size": 1, "kernel_size": 5}, 0.5)
    assert settings.member("gray-crp-image_size64-patch_size2-kernel_size3-pretrained-age0").pretrained is True
    network = build(member, {"expression": ("a", "b")}, 48).eval()
    assert network(torch.zeros(1, 48, 48, 1, dtype=torch.uint8))["expression"].shape == (1, 2)


def test_dvc_knows_every_member_that_is_written(project):
    from dvc.repo import Repo

    assert CliRunner().invoke(app, ["ablation", "--write"]).exit_code == 0
    (project / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    with Repo.init(str(project), no_scm=True) as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        for name in params.load().members:
            (wanted,) = stages[f"train@{name}"].params
            assert f"members.{name}" in wanted.params
            assert set(wanted.params) <= set(wanted.read_params()), "a name with a dot would be read as a key inside a key"


def test_names_that_are_taken_or_that_dvc_misreads_are_refused(project):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  gray-cnn:", "  vit-rgb-age0:", 1))
    result = CliRunner().invoke(app, ["ablation", "--write"])
    assert result.exit_code == 1
    assert "members of its own called vit-rgb-age0" in result.output
    (project / "params.yaml").write_text(text.replace("  gray-cnn:", "  gray.cnn:", 1))
    with pytest.raises(params.ParamsError, match=r"letters, digits, - and _ only .*gray\.cnn"):
        params.load()


def test_values_that_make_the_same_name_are_refused():
    with pytest.raises(params.ParamsError, match="two combinations are called a"):
        combinations(Ablation(axes={"x": {"a": {}}, "recipe": ["crp", "crp"]}))


def test_they_are_written_below_the_others_and_replaced_by_the_next_call(project):
    runner = CliRunner()
    listed = runner.invoke(app, ["ablation"])
    assert "8 members; --write" in listed.output
    assert MARK not in (project / "params.yaml").read_text()
    before = list(params.load().members)
    for _ in range(2):
        assert runner.invoke(app, ["ablation", "--write"]).exit_code == 0
        settings = params.load()
        assert list(settings.members)[: len(before)] == before
        assert len(settings.members) == len(before) + 8
    member = settings.members["xxs-gray-age0_2"]
    assert (member.options, member.task_weights["age"], member.task_weights["expression"]) == ({"kernel_size": 5}, 0.2, 1.0)
    assert "# Every tunable value" in (project / "params.yaml").read_text(), "comments survive"
    text = (project / "params.yaml").read_text().replace("[rgb, gray]", "[rgb]")
    (project / "params.yaml").write_text(text)
    assert runner.invoke(app, ["ablation", "--write"]).exit_code == 0
    assert len(params.load().members) == len(before) + 4
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    assert "no block 'ablation'" in runner.invoke(app, ["ablation"]).output


def test_a_combination_that_is_no_member_leaves_the_file_as_it_was(project):
    text = (project / "params.yaml").read_text().replace("[rgb, gray]", "[rgb, infrared]")
    (project / "params.yaml").write_text(text)
    result = CliRunner().invoke(app, ["ablation", "--write"])
    assert result.exit_code == 1
    assert "members.vit-infrared-age0.modality" in result.output
    assert (project / "params.yaml").read_text() == text

import pytest
import yaml
from conftest import ROOT

from ferflow import params
from ferflow.registry import names


def raw() -> dict:
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def known(kind: str) -> str:
    return f"known: {', '.join(names(kind))}"


def test_a_member_takes_from_training_what_it_leaves_out_and_keeps_its_own():
    content = raw()
    content["members"]["rgb-cnn"]["lr"] = 0.123
    settings = params.parse(content)
    assert settings.member("rgb-cnn").lr == 0.123
    assert settings.member("gray-cnn").lr == content["training"]["lr"]
    assert settings.member("rgb-cnn").epochs == content["training"]["epochs"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(sed=1), "sed"),
        (lambda c: c["training"].update(learning_rate=1), "training.learning_rate"),
        (lambda c: c["members"]["rgb-cnn"].update(lr=-1), r"members.rgb-cnn.lr"),
        (lambda c: c["members"]["rgb-cnn"].update(backbone="resnet18"), "variant: NAME"),
        (lambda c: c["members"]["rgb-cnn"].update(recipe="magic"), known("transforms")),
        (lambda c: c["members"]["rgb-cnn"].pop("modality"), "members.rgb-cnn.modality"),
        (lambda c: c["dataset"].update(source="imagenet"), known("datasets")),
        (lambda c: c["serve"].update(detector="magic"), known("detectors")),
        (lambda c: c["export"].update(formats=["magic"]), known("exporters")),
        (lambda c: c["training"].update(heads={"age": "magic"}), known("heads")),
        (lambda c: c["split"].update(val=0.6, test=0.5), "something to train on"),
        (lambda c: c["monitor"].update(min_rows=10), "monitor.min_rows"),
        (lambda c: c["training"]["task_weights"].update(mood=1), "mood"),
        (lambda c: c.update(members={}), "members"),
        (lambda c: c.update(members=3), "not a mapping"),
        (lambda c: c["members"].update(NA=c["members"]["rgb-cnn"]), "'NA' cannot be the name.*m_NA"),
        (lambda c: c["members"].update(null=c["members"]["rgb-cnn"]), "'null' cannot be the name"),
        (lambda c: c["members"].update({"1e3": c["members"]["rgb-cnn"]}), "'1e3' cannot be the name"),
        (lambda c: c["ensemble"].update(fixed={"nan": {"rgb-cnn": 1}}), "'nan' cannot be the name"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_its_name(change, words):
    content = raw()
    change(content)
    with pytest.raises(params.ParamsError, match=words):
        params.parse(content)


def test_values_are_frozen(settings):
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3


def test_an_unknown_member_lists_the_known_ones(settings):
    with pytest.raises(params.ParamsError, match="gray-resnet"):
        settings.member("vgg")


def test_a_missing_or_broken_file_says_so(tmp_path):
    with pytest.raises(params.ParamsError, match="project's root"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: [")
    with pytest.raises(params.ParamsError, match="not valid YAML"):
        params.load(tmp_path / "params.yaml")


def test_a_member_merges_mappings_and_learns_only_what_has_a_weight():
    content = raw()
    content["members"]["gray-cnn"]["task_weights"] = {"age": 0, "expression": 2.0}
    member = params.parse(content).members["gray-cnn"]
    assert member.task_weights == {**content["training"]["task_weights"], "age": 0, "expression": 2.0}
    tasks = {"expression": ("happy", "sad"), "age": ("0-9", "10-19")}
    assert member.learns(tasks) == {"expression": ("happy", "sad")}
    assert member.head("affect") == "affect"


def test_a_member_changes_one_weight_of_a_named_weighting_or_takes_another_whole():
    content = raw()
    content["training"]["task_weights"] = "expression-affect"
    content["members"]["gray-cnn"]["task_weights"] = {"age": 0.2}
    weights = params.parse(content).member("gray-cnn").task_weights
    assert weights == {"expression": 1.0, "affect": 0.5, "age": 0.2, "gender": 0.0, "race": 0.0}
    content["training"]["task_weights"] = {"expression": 1.0, "crowd": 1.0}
    content["members"]["gray-cnn"]["task_weights"] = "expression"
    assert "crowd" not in params.parse(content).member("gray-cnn").task_weights

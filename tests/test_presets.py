import shutil

import pytest
import yaml
from conftest import ROOT

from ferflow import params, presets


@pytest.fixture
def params_file(tmp_path):
    return shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_gives_valid_params_and_leaves_the_other_blocks(name, params_file):
    before = yaml.safe_load(params_file.read_text())
    blocks = presets.apply(name, params_file=params_file)
    params.load(params_file)
    after = yaml.safe_load(params_file.read_text())
    assert {"dataset", "members", "students"} <= set(blocks), "students of other faces would be trained on these"
    assert after["members"] != before["members"]
    assert {key: value for key, value in after.items() if key not in blocks} == {
        key: value for key, value in before.items() if key not in blocks
    }
    assert "# Every tunable value" in params_file.read_text()


def test_the_place_of_the_data_can_be_given(params_file, tmp_path):
    before = params_file.read_text()
    presets.apply("fer2013", tmp_path / "my #1: faces.zip", params_file)
    assert params.load(params_file).dataset.path == tmp_path / "my #1: faces.zip"
    assert (params_file.parent / presets.BACKUP).read_text() == before
    assert params.load(params_file).dataset.source == "fer2013"


def test_an_unknown_preset_or_a_broken_file_changes_nothing(params_file, tmp_path):
    with pytest.raises(params.ParamsError, match="known: fer2013"):
        presets.apply("imagenet", params_file=params_file)
    params_file.write_text(params_file.read_text().replace("seed: 20", "seed: x"))
    before = params_file.read_text()
    with pytest.raises(params.ParamsError, match="seed"):
        presets.apply("fer2013", params_file=params_file)
    assert params_file.read_text() == before
    with pytest.raises(params.ParamsError, match="root"):
        presets.apply("fer2013", params_file=tmp_path / "none.yaml")

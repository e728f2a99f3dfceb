"""The tables of docs/reference are those of the code, and say something of everything."""

import re

import pytest
from conftest import ROOT

from ferflow import params, reference, registry


@pytest.fixture(scope="module")
def pages():
    return reference.pages()


def test_the_committed_tables_are_those_of_the_code(pages):
    folder = ROOT / reference.FOLDER
    assert {path.name for path in folder.iterdir()} == set(pages)
    old = [name for name, text in pages.items() if (folder / name).read_text() != text]
    assert not old, f"{', '.join(old)}: not what the code has. Run make reference, and commit docs/reference"


def test_every_parameter_is_explained(pages):
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.*?) \| (.*?) \|$", pages["params.md"], re.MULTILINE)
    assert {"seed", "dataset.path", "validate.checks.no_face", "members.NAME.backbone", "monitor.draws"} <= {
        row[0] for row in rows
    }
    assert [key for key, _, _, meaning in rows if not meaning.strip()] == [], "a Field without description in params.py"
    assert ("training.lr", "number, > 0", "*needed*") in {row[:3] for row in rows}
    assert ("training.optimizer", "adamw or adam or sgd", "`adamw`") in {row[:3] for row in rows}


def test_every_block_of_params_yaml_is_a_heading(pages):
    headings = set(re.findall(r"^## (\w+)", pages["params.md"], re.MULTILINE))
    blocks = {field.alias or name for name, field in params.Params.model_fields.items()}
    assert blocks - headings == {"seed"}


def test_every_entry_is_named_with_what_it_is(pages):
    for kind in registry.KINDS:
        section = pages["registry.md"].split(f"## {kind}\n")[1].split("\n## ")[0]
        said = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))
        assert sorted(said) == registry.names(kind)
        assert all(len(words) > 9 for words in said.values())


def test_options_of_an_entry_are_those_that_it_takes(pages):
    row = next(line for line in pages["registry.md"].splitlines() if line.startswith("| `ferplus`"))
    assert '`votes: ""`, `labels: "majority"`' in row


def test_every_command_is_there_with_its_options(pages):
    text = pages["cli.md"]
    assert {"## ferflow predict", "## ferflow data import", "## ferflow keys add"} <= set(text.splitlines())
    predict = text.split("## ferflow predict\n")[1].split("\n## ")[0]
    assert "| `--draw <path>` | A folder for the pictures" in predict
    assert "(default: auto)" in predict
    assert "ferflow predict photo.jpg" in predict

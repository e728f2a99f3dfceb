"""Commands and programs in the documentation: each is parsed by the program it asks, those that cost little are run."""

import ast
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clips
import cv2
import liverows
import numpy as np
import pytest
from commands import PAGES, Command, blocks, commands, fault
from conftest import ROOT

from ferflow import starter
from ferflow.livelog import PredictionLog

RUN = {  # a page's command, as it stands there -> what it prints
    "README.md": {
        "ferflow list": "backbones: attention, ",
        "ferflow data list": "fer2013 +FER-2013: ",
        "ferflow predict photo.jpg": r"photo.jpg: 1 face\n  .+%",
        "ferflow keys add NAME --scopes predict,feedback": r"[\w-]{40,}",
        "ferflow video clip.mp4": "clip",
        "ferflow doctor": r"ok +python: 3\.11",
        "ferflow evaluate starter folder test": r"expression +accuracy +\d+\.\d \[\d+\.\d, \d+\.\d\] +8",
    },
    "docs/inference.md": {
        "ferflow predict photo.jpg --json": r'"expression": "\w+"',
        "ferflow predict ~/photos '~/more/**/*.png' --csv faces.csv --draw boxed": "2 pictures",
    },
    "docs/security.md": {
        "ferflow keys add labelling-team --scopes predict,feedback": r"[\w-]{40,}",
        "ferflow keys list": "labelling-team",
        "ferflow keys remove labelling-team": "labelling-team",
    },
    "docs/detectors.md": {"ferflow assets list": "yunet"},
    "docs/prediction-log.md": {
        "ferflow log --last 5": "3 rows from [^$]+The last 3",
        "ferflow forget --expired": "0 crops older than 90 days",
    },
    "docs/tutorial.md": {
        "ferflow predict photos/001-happy.jpg --model starter": r"1 face\n  \[\d+, ",
        "ferflow preset own_faces": "are now those of own_faces",
        "ferflow data import folder faces --use": "faces: 8 rows can be read[^$]+dataset is now folder at data/raw/faces",
    },
}
ORDER = [(page, line) for page, found in RUN.items() for line in found]
NEEDED = {  # what a program of the documentation takes for granted
    "docs/inference.md": "import numpy as np; crops = frames = list(np.load('frames.npy'))",
    "docs/video.md": "import numpy as np; frames = list(np.load('frames.npy'))",
    "docs/exports.md": "",
    "docs/prediction-log.md": "",
    "docs/tutorial.md": "",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_documentation_exist(page):
    wrong = [f"{command}: {why}" for command in commands(page) if (why := fault(command))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_commands_say_that_they_are(page):
    for line, _, text in blocks(page, ""):
        shell = re.match(r"(\$ )?(ferflow|make|dvc|bentoml|python|curl) ", text)
        assert not shell, f"{page}:{line}: begin the block with ```bash"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ferflow predikt photo.jpg", "no command 'predikt'"),
        ("ferflow predict photo.jpg --colour", "No such option"),
        ("ferflow predict", "Missing argument"),
        ("ferflow data", "needs a command"),
        ("ferflow log --last many", "'--last'"),
        ("make everything", "no target 'everything'"),
        ("python benchmarks/none.py", "there is no benchmarks/none.py"),
        ("python benchmarks/training.py --colour", "no option --colour"),
        ("python benchmarks/training.py sideways", "none of epoch, layout"),
        ("python -m ferflow.nothing", "no module"),
        ("dvc repro --colour", "dvc does not take this"),
        ("dvc remote modify store", "dvc does not take this"),
        ("bentoml sevre", "no command 'sevre'"),
        ("bentoml serve --colour", "No such option"),
        ("git pusch", "no command 'pusch'"),
        ("pip install 'ferflow[trian]'", "no extra 'trian'"),
        ("curl -F picture=@photo.jpg http://127.0.0.1:3000/predict", "no field picture"),
        ("curl http://127.0.0.1:3000/predict", "answers to POST"),
        ("curl http://127.0.0.1:3000/predictions", "no address /predictions"),
        ("curl --jason {} http://127.0.0.1:3000/forget", "no option --jason"),
        ("frobnicate", "not known to tests/commands.py"),
    ],
)
def test_a_bad_command_is_found(tmp_path, text, why):
    page = tmp_path / "page.md"
    page.write_text(f"words\n\n```bash\nferflow list   # fine\nexport KEY=$({text}) && ferflow list > file\n```\n")
    assert [(command.line, bool(fault(command))) for command in commands(page)] == [(4, False), (5, True), (5, False)]
    assert why in next(filter(None, map(fault, commands(page))))


def test_a_bad_command_is_named_with_file_and_line():
    assert str(Command(ROOT / "README.md", 7, ("ferflow", "x y"), True)) == "README.md:7: ferflow 'x y'"


def test_consoles_sentences_and_long_lines_are_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Run `ferflow predict` or `A=1 make repro`, not `ferflow`.\n```console\n$ ferflow list\nferflow nothing\n```\n"
        "```sh\nferflow \\\n  list\n```\n```yaml\nferflow: no\n```\n"
    )
    assert [(one.line, *one.words) for one in commands(page)] == [
        (3, "ferflow", "list"),
        (7, "ferflow", "list"),
        (1, "ferflow", "predict"),
        (1, "make", "repro"),
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A small project with a model, pictures, a video and a log, and a home folder with more of them."""
    folder = tmp_path_factory.mktemp("project")
    home = folder / "home"
    for place in (home / "photos", home / "more/deep", folder / "photos", folder / "faces/happy", folder / "models/release"):
        place.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copy(starter.MODEL, folder / "models/release/model.onnx")
    pictures = list(clips.frames(8))
    for path in ("photo.jpg", "a.jpg", "b.jpg", "home/photos/one.jpg", "home/more/deep/two.png", "photos/001-happy.jpg"):
        cv2.imwrite(str(folder / path), pictures[0])
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"faces/happy/{number}.png"), picture)
    np.save(folder / "frames.npy", np.stack(pictures[:5])[..., ::-1])
    shutil.copytree(folder / "faces", folder / "test")
    clips.write(folder / "clip.mp4", pictures)
    (folder / ".ferflow").mkdir()
    log = PredictionLog(f"sqlite:///{folder}/.ferflow/live.db", spill=folder / ".ferflow/spill")
    log.add([liverows.row(number, time=datetime.now(UTC) - timedelta(minutes=number)) for number in range(3)])
    log.close()
    (folder / "bin").mkdir()
    (folder / "bin/ferflow").write_text(f'#!/bin/sh\nexec {sys.executable} -m ferflow.cli "$@"\n')
    (folder / "bin/ferflow").chmod(0o755)
    return folder


def run(project: Path, *command: str) -> subprocess.CompletedProcess:
    places = {"HOME": str(project / "home"), "PATH": f"{project / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FERFLOW_")}
    return subprocess.run(command, cwd=project, env=kept | places, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("page", "line"), ORDER, ids=lambda text: text[:40])
def test_commands_that_cost_little_do_what_the_page_says(project, page, line):
    assert line in (ROOT / page).read_text(), f"{page} has it no more: take it out of RUN"
    done = run(project, "bash", "-c", line)
    assert done.returncode == 0, done.stderr
    assert re.search(RUN[page][line], done.stdout), done.stdout


PROGRAMS = [(page, line, text) for page in PAGES for line, _, text in blocks(page, "python")]


@pytest.mark.parametrize(("page", "line", "text"), PROGRAMS, ids=[f"{page.name}:{line}" for page, line, _ in PROGRAMS])
def test_programs_of_the_documentation(project, page, line, text):
    """All are valid Python whose modules of ours have what they import; those that need nothing but a release are run."""
    tree = ast.parse(text, filename=f"{page}:{line}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("ferflow", "flows"):
            module = __import__(str(node.module), fromlist=[one.name for one in node.names])
            assert all(hasattr(module, one.name) for one in node.names), f"{page}:{line}"
    name = str(page.relative_to(ROOT))
    if name in NEEDED and re.search(r"^import ferflow|livelog", text, re.MULTILINE):
        done = run(project, sys.executable, "-c", f"{NEEDED[name]}\n{text}")
        assert done.returncode == 0, f"{page}:{line}: {done.stderr}"

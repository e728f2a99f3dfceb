"""The documentation becomes a site: every page, every link, the Python API, and nothing from another host."""

import importlib.util
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import yaml
from conftest import ROOT

API = {
    "predictions": ("ferflow.api.load", "ferflow.inference.Predictor.predict", "ferflow.inference.FacePrediction"),
    "data": ("ferflow.vocabulary.EXPRESSIONS", "ferflow.vocabulary.TASKS", "ferflow.params.load"),
    "entries": ("ferflow.registry.register", "ferflow.datasets.DataError", "ferflow.detectors.Detection"),
    "service": ("ferflow.livelog.read", "ferflow.monitoring.compare", "ferflow.keys.Keys.add"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    for name in ("mkdocs", "material", "mkdocstrings_handlers"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"the documentation's packages are not installed ({name}): pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def pages_of(nav) -> list[str]:
    if isinstance(nav, str):
        return sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob(nav)) if "*" in nav else [nav]
    return [page for inner in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(inner)]


@pytest.fixture(scope="module")
def navigation() -> list[str]:
    return pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])


def test_every_page_of_the_navigation_exists(site, navigation):
    for page in navigation:
        html = site / re.sub(r"README\.md$", "index.md", page).replace(".md", ".html")
        assert html.is_file(), page
        assert "<h1" in html.read_text(), page


def test_every_guide_is_in_the_navigation(navigation):
    guides = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert not (missing := guides - set(navigation)), f"not in the navigation of mkdocs.yml: {', '.join(sorted(missing))}"


def test_the_first_page_is_the_readme_with_its_links(site):
    html = (site / "index.html").read_text()
    assert "Two commands" in html
    assert 'href="repository/CHANGELOG.html"' in html  # lies outside docs/
    assert 'href="training.html"' in html  # docs/training.md in the README
    assert 'src="images/gallery.png"' in html


def test_links_and_pictures_lead_somewhere(site):
    broken = []
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in re.findall(r'(?:href|src)="([^"#]+)', page.read_text()):
            target = unquote(unescape(target)).split("?")[0]
            if target and not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(site)}: {target}")
    assert not broken, "\n".join(broken[:20])


def test_nothing_is_loaded_from_another_host(site):
    pattern = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*(?:src|href)=\"?(https?:)?//[^\">]+")
    for page in site.rglob("*.html"):
        assert not (found := pattern.search(page.read_text())), f"{page.relative_to(site)}: {found[0]}"
        assert 'class="mermaid"' not in page.read_text(), "Material loads Mermaid from another host: take a picture"


@pytest.mark.parametrize("page", API)
def test_the_python_api_is_there_with_its_docstrings(site, page):
    html = (site / "api" / f"{page}.html").read_text()
    for name in API[page]:
        assert f'id="{name}"' in html, name


def test_a_docstring_stands_on_its_page(site):
    assert "A release, ready to be asked." in (site / "api/predictions.html").read_text()
    assert "lr" in (site / "reference/params.html").read_text()


def test_words_can_be_looked_up(site):
    index = (site / "search/search_index.json").read_text()
    assert "bootstrap" in index
    assert "ferflow data import" in index


def test_the_readmes_example_of_an_entry_works():
    """The recipe as it stands there, as the module that its file would be."""
    [code] = re.findall(r"```python\n(\"\"\"Recipe.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    module = {"__name__": "ferflow.transforms.tilt"}
    exec(compile(code, "tilt.py", "exec"), module)
    face = np.arange(48 * 48, dtype=np.uint8).reshape(48, 48, 1)
    changed = module["build"](48, seed=1).face(face)
    assert (changed.shape, changed.dtype) == (face.shape, face.dtype)
    assert not np.array_equal(changed, face)

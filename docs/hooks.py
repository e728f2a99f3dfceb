"""What MkDocs does not do by itself: README.md is the first page, and links to files outside docs/ are followed.

A file of the repository that a page links to, or that the navigation names, becomes a part of the site under ``repository/``,
so each text stands in one place and its links work in the repository and in the site. It knows no page by its content.
"""

import re
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

OUTSIDE = "repository/"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A pattern in the navigation stands for the pages that it finds, in their order."""
    config.nav = _listed(config.nav, Path(config.docs_dir))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md as index.md, what the navigation names under ``repository/``, and what pages link to."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    waiting = list(docs.rglob("*.md"))
    for path in [root / "README.md", *(root / name.removeprefix(OUTSIDE) for name in _named(config.nav))]:
        files.append(File.generated(config, _place(path, root, docs), abs_src_path=str(path)))
        waiting.append(path)
    for page in waiting:  # grows while it is read: what is added may link on
        for link in _LINK.finditer(_FENCE.sub("", page.read_text())):
            path = (page.parent / link[1]).resolve()
            place = _place(path, root, docs)
            if path.is_file() and path.is_relative_to(root) and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(path)))
                if path.suffix == ".md":
                    waiting.append(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that are right in the repository become links that are right in the site."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    source, here = Path(page.file.abs_src_path or ""), Path(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        path = (source.parent / link[1]).resolve()
        if not path.is_relative_to(root):
            return link[0]
        return Path(relpath(_place(path, root, docs), here)).as_posix() + (link[2] or "")

    return _LINK.sub(moved, markdown)


def _listed(nav: Any, docs: Path) -> Any:
    if isinstance(nav, str) and "*" in nav:
        return [path.relative_to(docs).as_posix() for path in sorted(docs.glob(nav))]
    if isinstance(nav, dict):
        return {title: _listed(inner, docs) for title, inner in nav.items()}
    return [_listed(inner, docs) for inner in nav] if isinstance(nav, list) else nav


def _named(nav: object) -> Iterator[str]:
    """The pages under ``repository/`` that the navigation names."""
    if isinstance(nav, str):
        if nav.startswith(OUTSIDE):
            yield nav
    elif isinstance(nav, dict | list):
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(inner)


def _place(path: Path, root: Path, docs: Path) -> str:
    """Where a file of the repository lies in the site's sources."""
    if path == root / "README.md":
        return "index.md"
    return path.relative_to(docs).as_posix() if path.is_relative_to(docs) else f"{OUTSIDE}{relpath(path, root)}"

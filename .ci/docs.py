"""Writes the reference into a folder: every public name from its docstring, the lessons, and the project's pages. No network.

pdoc (MIT-0) reads the docstrings; what else was weighed stands in CONTRIBUTING.md.

    python .ci/docs.py build/docs                    # all of it
    python .ci/docs.py build/docs acestep_lab.prompt # some of it, while writing
"""

from __future__ import annotations

import html
import importlib
import pkgutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "What it is",
    "CONTRIBUTING.md": "How to work on it",
    "CHANGELOG.md": "What changed",
    "acestep_lab/engines/ace15/REFERENCE.md": "Where its numbers are the reference's",
    "acestep_lab/engines/ace_v1/REFERENCE.md": "ACE-Step v1 beside the original",
    "acestep_lab/train/README.md": "How the pocket checkpoint was made",
}
NO_NETWORK = ("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url")
"""What nbconvert would have a page fetch."""


def main(arguments: Sequence[str]) -> int:
    """Write the reference; returns the exit status."""
    folder, modules = Path(arguments[0] if arguments else "build/docs"), arguments[1:]
    reference(modules or every_module(), folder)
    lessons = notebooks(sorted((ROOT / "notebooks").glob("*.ipynb")), folder / "notebooks")
    pages = [page(ROOT / name, folder) for name in PAGES]
    (folder / "index.html").write_text(contents(lessons, pages), encoding="utf-8")
    print(f"{folder}/index.html: {len(list((folder).rglob('*.html')))} pages")
    return 0


def every_module() -> list[str]:
    """The package and all its modules, but those that run when they are loaded."""
    import acestep_lab

    found = [found.name for found in pkgutil.walk_packages(acestep_lab.__path__, "acestep_lab.")]
    return ["acestep_lab", *(name for name in found if not any(part.startswith("_") for part in name.split(".")))]


def reference(modules: Sequence[str], folder: Path) -> None:
    """A page for each module."""
    import pdoc
    import pdoc.render

    import acestep_lab

    for module in map(importlib.import_module, modules):
        for name in getattr(module, "__all__", ()):  # some are looked up when they are first used; pdoc does not use them
            setattr(module, name, getattr(module, name))
    pdoc.render.configure(docformat="markdown", search=True, show_source=False, footer_text=f"acestep_lab {acestep_lab.__version__}")
    with warnings.catch_warnings():  # names that are there for type checkers only are shown as they are written
        warnings.filterwarnings("ignore", "Error parsing type annotation|Error running TYPE_CHECKING|Failed to run TYPE_CHECKING|The module specification")
        pdoc.pdoc(*modules, output_directory=folder)


def notebooks(files: Sequence[Path], folder: Path) -> list[Path]:
    """A page for each lesson, as it stands in the repository: without outputs."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(**dict.fromkeys(NO_NETWORK, ""))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file in files:
        body, _ = exporter.from_filename(str(file))
        written.append(folder / f"{file.stem}.html")
        written[-1].write_text(body, encoding="utf-8")
    return written


def page(file: Path, folder: Path) -> Path:
    """One of the project's own pages."""
    from nbconvert.filters import markdown2html

    name = "_".join(file.relative_to(ROOT).with_suffix(".html").parts)
    (folder / name).write_text(_wrapped(markdown2html(file.read_text(encoding="utf-8"))), encoding="utf-8")
    return folder / name


def contents(lessons: Sequence[Path], pages: Sequence[Path]) -> str:
    """The first page: where everything is."""
    rows = [f'<li><a href="{file.name}">{html.escape(words)}</a></li>' for file, words in zip(pages, PAGES.values())]
    rows += ['<li><a href="acestep_lab.html">Every public name</a></li>']
    rows += [f'<li><a href="notebooks/{file.name}">{html.escape(file.stem.replace("_", " "))}</a></li>' for file in lessons]
    return _wrapped(f"<h1>acestep_lab</h1><ul>{''.join(rows)}</ul>")


def _wrapped(body: str) -> str:
    style = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}td,th{text-align:left;padding:.2em .6em}"
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>acestep_lab</title><style>{style}</style>{body}</html>'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Writes the reference into a folder: every public name from its docstring, the lessons, and the project's pages. No network.

pdoc (MIT-0) reads the docstrings; what else was weighed stands in CONTRIBUTING.md.

    python .ci/docs.py build/docs                    # all of it
    python .ci/docs.py build/docs acestep_lab.prompt # some of it, while writing
"""

from __future__ import annotations

import html
import importlib
import pkgutil
import posixpath
import re
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECTIONS: dict[str, dict[str, str]] = {
    "Begin": {
        "README.md": "What it is",
        "binder/README.md": "On Binder, Colab and Kaggle",
        "acestep_lab/ui/STUDIO.md": "The studio page: your first ten minutes",
        "acestep_lab/lessons/GLOSSARY.md": "Glossary",
    },
    "Coming from": {
        "acestep_lab/ui/COMING_FROM_GRADIO.md": "ACE-Step's Gradio page",
        "acestep_lab/engines/COMING_FROM_COMFYUI.md": "ComfyUI",
        "acestep_lab/pipeline/COMING_FROM_DIFFUSERS.md": "diffusers",
        "acestep_lab/engines/musicgen/COMING_FROM_MUSICGEN.md": "MusicGen",
    },
    "Look up": {
        "acestep_lab/VERBS.md": "What a session can do",
        "acestep_lab/cli/COMMANDS.md": "The command line",
        "acestep_lab/engines/CHECKPOINTS.md": "Checkpoints, and where they compute",
        "acestep_lab/serve/DOORS.md": "Doors for other programs, and the models on another machine",
        "acestep_lab/sweep/MANY_TAKES.md": "Many takes, many machines",
        "acestep_lab/ui/FEATURES.md": "What the studio can do, row by row",
    },
    "Where we differ from the reference, and why": {
        "acestep_lab/engines/ace15/REFERENCE.md": "ACE-Step 1.5",
        "acestep_lab/engines/ace_v1/REFERENCE.md": "ACE-Step v1",
    },
    "Behind it": {
        "CONTRIBUTING.md": "How to work on it, and one sentence through the code",
        "CHANGELOG.md": "What changed",
        "acestep_lab/train/README.md": "How the pocket checkpoint was made",
    },
}
PAGES = {name: title for pages in SECTIONS.values() for name, title in pages.items()}
PICTURES = "notebooks/pictures"
NO_NETWORK = ("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url")
"""What nbconvert would have a page fetch."""
ON_PAPER = "<style>@media print { details::details-content { content-visibility: visible; block-size: auto; } }</style>"
"""Folded answers are printed too."""


def main(arguments: Sequence[str]) -> int:
    """Write the reference; returns the exit status."""
    folder, modules = Path(arguments[0] if arguments else "build/docs"), arguments[1:]
    reference(modules or every_module(), folder)
    shutil.copytree(ROOT / PICTURES, folder / PICTURES, dirs_exist_ok=True)
    lessons = notebooks(sorted((ROOT / "notebooks").glob("*.ipynb")), folder / "notebooks")
    for name in PAGES:
        page(ROOT / name, folder)
    (folder / "index.html").write_text(contents(lessons), encoding="utf-8")
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
    """A page for each lesson as it ran: its music, its figures and what it printed."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(**dict.fromkeys(NO_NETWORK, ""))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file in files:
        body, _ = exporter.from_filename(str(file))
        written.append(folder / f"{file.stem}.html")
        written[-1].write_text(body.replace("</head>", f"{ON_PAPER}</head>", 1), encoding="utf-8")
    return written


def page(file: Path, folder: Path) -> Path:
    """One of the project's own pages."""
    from nbconvert.filters import markdown2html

    name = str(file.relative_to(ROOT))
    body = linked(markdown2html(file.read_text(encoding="utf-8")), name)
    written = folder / called(name)
    written.write_text(_wrapped(body, PAGES.get(name, file.stem)), encoding="utf-8")
    return written


def called(name: str) -> str:
    """What one of the project's pages is called here: they all lie in one folder."""
    return "_".join(Path(name).with_suffix(".html").parts)


def linked(body: str, name: str) -> str:
    """The same with links to other pages, lessons and pictures going where these are here; to other files there is no link."""

    def there(found: re.Match[str]) -> str:
        target, _, place = found[2].partition("#")
        if "://" in target or not target:
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        new = called(path) if path in PAGES else path.replace(".ipynb", ".html") if path.startswith("notebooks/") else ""
        new = "index.html" if path == "notebooks" else new
        return f'{found[1]}="{new}{"#" + place if place else ""}"' if new else f'data-file="{path}"'

    return re.sub(r'\b(href|src|srcset)="([^"]*)"', there, body)


def contents(lessons: Sequence[Path]) -> str:
    """The first page: where everything is."""
    heard = {"Lessons": {f"notebooks/{file.name}": file.stem.replace("_", " ") for file in lessons}}
    own = {head: {called(name): title for name, title in pages.items()} for head, pages in SECTIONS.items()}
    rows = {"Begin": own.pop("Begin"), **heard, **own, "Reference": {"acestep_lab.html": "Every public name"}}
    parts = (f"<h2>{html.escape(head)}</h2><ul>{_list(pages)}</ul>" for head, pages in rows.items())
    return _wrapped(f"<h1>acestep_lab</h1>{''.join(parts)}", "acestep_lab")


def _list(pages: Mapping[str, str]) -> str:
    return "".join(f'<li><a href="{file}">{html.escape(title)}</a></li>' for file, title in pages.items())


def _wrapped(body: str, title: str) -> str:
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}img{max-width:100%;height:auto}"
        ".anchor-link{display:none}code{overflow-wrap:anywhere}td,th{text-align:start;padding:.2em .6em;border-block-end:1px solid #ccc;vertical-align:top}pre{overflow-x:auto}"
        "table{display:block;overflow-x:auto;border-collapse:collapse}@media(prefers-color-scheme:dark){body{background:#15191e;color:#e8e6e1}a{color:#7ab8ff}}"
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    return f'<!doctype html><html lang="en">{head}<style>{style}</style>{body}</html>'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

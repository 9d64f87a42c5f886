"""The first page: its pictures are there, small, made by a script; its commands and its figures are ours; nothing is too long."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.test_contributing import ours

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURES = ROOT / "notebooks" / "pictures"


def test_what_it_shows_is_there_small_and_made_by_the_script() -> None:
    shown = set(re.findall(r"notebooks/pictures/([\w.-]+)", README))
    files = {file.name: file.stat().st_size for file in PICTURES.iterdir()}
    assert shown == set(files)
    assert sum(files.values()) < 2_000_000
    assert files["latent.webp"] < 400_000
    script = (ROOT / ".ci" / "pictures.py").read_text(encoding="utf-8")
    made = {*re.findall(r'FOLDER / "([\w.-]+)"', script), *(f"{name}.svg" for name in ("binder", "colab"))}
    assert made == set(files)


def test_the_moving_picture_moves_and_loops_and_the_sample_lasts_ten_seconds() -> None:
    import soundfile
    from PIL import Image

    with Image.open(PICTURES / "latent.webp") as moving:
        assert moving.n_frames == ours("pictures").STEPS + 1
        assert moving.info["loop"] == 0
    assert abs(soundfile.info(PICTURES / "sample.opus").duration - 10.0) < 0.1


def test_the_memory_table_is_what_a_session_would_plan(tmp_path: Path) -> None:
    pictures = ours("pictures")
    pictures.FOLDER = tmp_path
    list(pictures.memory())
    assert (tmp_path / "memory.svg").read_text() == (PICTURES / "memory.svg").read_text(), "make pictures"


def test_every_picture_says_what_it_shows_and_every_link_leads_somewhere() -> None:
    images = re.findall(r"<img [^>]*>", README)
    assert len(images) >= 2
    assert all(re.search(r'alt="[^"]{40,}"', one) for one in images)
    local = [one for one in re.findall(r"\]\(([^)#]+)[^)]*\)", README) if "://" not in one]
    assert [one for one in local if not (ROOT / one).exists()] == []


def test_the_first_screen_has_all_of_it_and_the_verbs_are_a_sessions() -> None:
    from acestep_lab.session import Session

    first = README.partition("## What it does")[0]
    for wanted in ("studio.png", "latent.webp", "sample.opus", "make demo", "make test", "mybinder.org", "colab."):
        assert wanted in first
    code = README.partition("## The verbs")[2].partition("```python")[2].partition("```")[0]
    asked = [node for node in ast.walk(ast.parse(code.replace("…", "pass"))) if isinstance(node, ast.Attribute)]
    verbs = {node.attr for node in asked if isinstance(node.value, ast.Name) and node.value.id == "lab"}
    assert len(verbs) > 25
    assert [name for name in verbs if not hasattr(Session, name) and name != "jobs"] == []
    assert max(map(len, code.splitlines())) <= 108


def test_every_page_of_the_docs_is_there_and_its_links_lead_to_pages(tmp_path: Path) -> None:
    docs = ours("docs")
    for name in docs.PAGES:
        page = docs.page(ROOT / name, tmp_path).read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src)="([^"#:]+)"', page):
            assert target == "index.html" or target.startswith("notebooks/") or target in map(docs.called, docs.PAGES)
    assert "Glossary" in docs.contents([])

"""What pages for newcomers from elsewhere call ours runs as it stands there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import acestep_lab
from acestep_lab import Audio, CheckpointError, Pipeline, Planning, Recipe, Region, Session, load
from acestep_lab.prompt.examples import example

PACKAGE = Path(acestep_lab.__file__).parent
PAGES = sorted(PACKAGE.rglob("COMING_FROM_*.md"))


def calls(page: Path) -> list[str]:
    """Our side of a page's last table."""
    table = page.read_text(encoding="utf-8").partition("| our call |")[2]
    return re.findall(r"^\| .+ \| `(.+)` \|$", table, re.MULTILINE)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The pocket, opened once for all pages."""
    with Session.open("pocket", library=tmp_path_factory.mktemp("takes")) as opened:
        yield opened


@pytest.fixture
def scope(lab: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a reader of those pages has at hand, in an empty folder: the pocket, and a take of a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACESTEP_LAB_TAKES", str(tmp_path / "takes"))
    take = lab.make(Recipe("dub", seconds=1, seed=7, steps=2))
    for name in ("song.flac", "song.wav"):
        take.export(name)
    Path("song.json").write_text(json.dumps(take.recipe.to_json()), encoding="utf-8")
    there = {"lab": lab, "take": take, "recipe": take.recipe, "pipe": Pipeline(lab), "load": load, "torch": torch}
    names = {"Audio": Audio, "Planning": Planning, "Recipe": Recipe, "Region": Region, "example": example}
    return {**there, **names, "Session": Opens(lab)}


class Opens:
    """`Session` where opening the pocket gives the session at hand; any other checkpoint is looked for, and is not here."""

    def __init__(self, lab: Session) -> None:
        self.lab = lab

    def open(self, checkpoint: str | None = None) -> Any:
        return self.lab if checkpoint is None else Session.open(checkpoint)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_call_runs_or_says_that_its_checkpoint_is_not_here(page: Path, scope: dict[str, Any]) -> None:
    asked = calls(page)
    assert len(asked) >= 8
    for call in asked:
        named = re.fullmatch(r'Session\.open\("([\w-]+)"\)', call)
        if named is None:
            exec(call, scope)
        else:
            with pytest.raises(CheckpointError, match=named.group(1)):
                exec(call, scope)


def test_there_is_a_page_for_each_of_the_four() -> None:
    assert [page.stem.removeprefix("COMING_FROM_") for page in PAGES] == ["COMFYUI", "MUSICGEN", "DIFFUSERS", "GRADIO"]

"""The page offers what the checkpoint's capabilities say; another one is read about, then used, and the form follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from acestep_lab import Recipe
from acestep_lab.engines.offered import OfferedCheckpoint, licence_note, offered
from acestep_lab.errors import LabError, RecipeError
from acestep_lab.prompt.sampling import FlowSampling, TokenSampling
from acestep_lab.prompt.tasks import Cover, Extend
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.checkpoint_switch import CheckpointSwitchWidget, Choice
from acestep_lab.ui.draft import Draft
from acestep_lab.ui.forms import Form
from acestep_lab.ui.studio import Studio
from tests.pretend import FLOW, TOKENS, PretendSession, png, tone

CATALOG = (
    OfferedCheckpoint("pretend", "pretend-flow", "MIT"),
    OfferedCheckpoint("pretend-tokens", "pretend-tokens", "CC-BY-NC-4.0"),
    OfferedCheckpoint("far-away", "pretend-flow", "MIT", "It has not been downloaded yet. Fetch it with `…`."),
)
PACKAGE = Path(__file__).parent.parent / "acestep_lab"


def sent(component: Any) -> list[dict[str, Any]]:
    """Messages a component sends from now on."""
    messages: list[dict[str, Any]] = []
    component.emit = lambda kind, *buffers, **body: messages.append({"kind": kind, **body})
    return messages


def until(ready: Callable[[], Any]) -> None:
    end = monotonic() + 10
    while not ready():
        assert monotonic() < end, "it did not happen"
        sleep(0.01)


def page_of(session: Any, owner: str = "") -> Studio:
    return Studio(backend_of(session), owner, panes=False, picture=png, catalog=lambda: CATALOG)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


def use(page: Studio, name: str) -> None:
    """Choose a checkpoint on a page, read its price, use it."""
    page.switch.do_list()
    until(lambda: page.switch.choices)
    page.switch.do_choose(name)
    until(lambda: page.switch.cost)
    page.switch.do_use()
    until(lambda: page.switch.current == name)


def fields(page: Studio, group: str) -> list[str]:
    return [field["name"] for field in page.prompt.forms[group]]


# -- forms


def test_a_form_has_the_knobs_of_its_kind_of_model_and_no_others() -> None:
    flow, tokens = Form.of(FLOW.capabilities), Form.of(TOKENS.capabilities)
    assert {f.name for f in flow.knobs} == set(FlowSampling.names())
    assert {f.name for f in tokens.knobs} == set(TokenSampling.names())
    assert [f.name for f in flow.metadata] == ["bpm", "keyscale", "timesignature"]
    assert tokens.metadata == (), "it reads free text only"
    assert "before" not in [f.name for f in tokens.task("Extend").fields], "it adds nothing before a sound"
    assert flow.plans
    assert not tokens.plans


def test_a_form_offers_the_stems_keys_tempos_and_lengths_the_checkpoint_knows() -> None:
    words = replace(
        FLOW.capabilities.vocabulary, stems=("bass",), bpm=(60, 90), keyscales=("A minor",), timesignatures=("3",)
    )
    form = Form.of(replace(FLOW.capabilities, vocabulary=words, seconds=(2.0, 9.0)))
    assert form.by_name["keyscale"].options == ("A minor",)
    assert form.by_name["timesignature"].options == ("3",)
    assert [(f.options, f.default) for f in form.task("Complete").fields] == [(("bass",), ("bass",))]
    assert [(f.options, f.default) for f in form.task("Extract").fields] == [(("bass",), "bass")]
    wrong = Draft("dub", {"bpm": "120", "seconds": "12"}).problems(form)
    assert "between 60 and 90" in wrong["bpm"]
    assert "between 2 and 9 seconds" in wrong["seconds"]
    assert Draft("dub", {"bpm": "60", "seconds": "9"}).problems(form) == {}


def test_what_is_not_offered_stays_typed_and_out_of_the_recipe() -> None:
    typed = Draft(
        "dub", {"seed": 5, "bpm": 120, "steps": 8, "temperature": "0,9", "Extend.before": 4, "Extend.after": 2}
    )
    flow, tokens = Form.of(FLOW.capabilities), Form.of(TOKENS.capabilities)
    assert typed.recipe(form=flow) == Recipe("dub", seed=5, bpm=120, steps=8)
    assert typed.recipe(form=tokens) == Recipe("dub", seed=5, temperature=0.9)
    task = typed.put("task", "Extend").recipe(source=tone(2.0), form=tokens).task
    assert isinstance(task, Extend)
    assert (task.before, task.after) == (0.0, 2.0)


def test_a_cover_follows_codes_only_where_there_are_some() -> None:
    for codes in (True, False):
        form = Form.of(replace(FLOW.capabilities, codes=codes))
        task = Draft("w", task="Cover").recipe(source=tone(2.0), form=form).task
        assert isinstance(task, Cover)
        assert task.through_codes is codes


# -- the list


def test_every_catalog_name_is_offered_with_its_licence_and_what_it_lacks() -> None:
    found = {one.name: one for one in offered()}
    assert found["pocket"].missing == ""
    assert found["musicgen-small"].family == "musicgen"
    assert "not for commercial use" in licence_note(found["musicgen-small"].licence)
    assert licence_note(found["pocket"].licence) == ""
    away = [one for one in found.values() if one.missing]
    assert all("acestep-lab download" in one.missing for one in away)


def test_nothing_is_used_whose_price_was_not_read() -> None:
    switch, used = CheckpointSwitchWidget(), []
    switch.on("use", lambda name: used.append(name))
    switch.offer([Choice("one"), Choice("two"), Choice("away", missing="Fetch it first.")])
    for asked, answer in ((switch.do_use, "Choose a checkpoint"), (lambda: switch.do_choose("away"), "Fetch it"),
                          (lambda: switch.do_choose("nobody"), "no checkpoint 'nobody'")):  # fmt: skip
        with pytest.raises(LabError, match=answer):
            asked()
    switch.do_choose("one")
    switch.do_choose("two")
    switch.price("one", "1 GB more")
    with pytest.raises(LabError, match="read what it costs"):
        switch.do_use()
    switch.price("two", "2 GB more")
    switch.do_use()
    assert used == ["two"]


# -- the page


def test_a_switch_changes_the_form_of_every_page_and_leaves_the_words(lab: PretendSession) -> None:
    host, visitor = page_of(lab), page_of(lab, "ada")
    host.prompt.do_edit("caption", "slow dub")
    host.prompt.do_edit("steps", "3")
    host.lyrics.do_text("[Verse]\nla")
    assert host.switch.note == ""
    use(host, "pretend-tokens")
    assert lab.name == "pretend-tokens"
    for page in (host, visitor):
        until(lambda page=page: page.switch.current == "pretend-tokens")
        assert fields(page, "sampling") == ["temperature", "top_k", "top_p", "guidance_scale"]
        assert fields(page, "metadata") == []
        assert "not for commercial use" in page.switch.note
        assert not page.lyrics.sings
        assert not page.prompt.forms["plans"]
        assert not page.preview.hears
        assert page.picker.cannot
        assert page.prompt.limits["top_k"] == 250
    assert host.prompt.value.caption == "slow dub"
    run = host.start(host.prompt.recipe())
    assert run.take().made_with["checkpoint"] == "pretend-tokens"
    assert lab.started[-1].lyrics == ""
    use(host, "pretend")
    assert host.lyrics.value == "[Verse]\nla"
    assert host.prompt.recipe().sampling.given() == {"steps": 3}
    assert host.picker.cannot == ""


def test_the_price_is_told_before_anything_is_opened(lab: PretendSession) -> None:
    page = page_of(lab)
    page.switch.do_list()
    until(lambda: page.switch.choices)
    assert [(c["name"], c["is_open"], bool(c["missing"])) for c in page.switch.choices] == [
        ("pretend", True, False), ("pretend-tokens", False, False), ("far-away", False, True)]  # fmt: skip
    page.switch.do_choose("pretend-tokens")
    until(lambda: page.switch.cost)
    assert "0.0 GB more" in page.switch.cost
    assert lab.checkpoints == ("pretend",)


def test_a_run_under_way_keeps_its_checkpoint(tmp_path: Path) -> None:
    import threading

    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "library", gate=gate)
    page = page_of(session)
    run = page.start(Recipe("dub", seconds=2, seed=3))
    use(page, "pretend-tokens")
    [gate.release() for _ in range(10)]
    assert run.take().made_with["checkpoint"] == "pretend"
    session.close()
    session.library.close()


def test_a_visitor_chooses_among_what_is_open_for_their_own_recipes_and_moves_nobody_elses(lab: PretendSession) -> None:
    ada, bob = page_of(lab, "ada"), page_of(lab, "bob")
    ada.switch.do_list()
    until(lambda: ada.switch.choices)
    assert [choice["name"] for choice in ada.switch.choices] == ["pretend"], "nothing is opened for a visitor"
    with pytest.raises(LabError, match="Only the host"):
        backend_of(lab).use("pretend-tokens", "ada")
    assert lab.name == "pretend"
    host = page_of(lab)
    use(host, "pretend-tokens")
    use(ada, "pretend")
    assert lab.name == "pretend-tokens"
    assert bob.switch.current == "pretend-tokens"
    assert fields(ada, "sampling")[0] == "steps"
    assert ada.start(Recipe("dub", seconds=2, seed=3)).take().made_with["checkpoint"] == "pretend"
    assert bob.start(Recipe("dub", seconds=2, seed=4)).take().made_with["checkpoint"] == "pretend-tokens"
    use(ada, "pretend-tokens")
    assert ada.checkpoint is None, "whichever is in use"


def test_a_checkpoint_changed_in_a_notebook_is_taken_up_with_the_next_run(lab: PretendSession) -> None:
    page = page_of(lab)
    lab.use("pretend-tokens")
    lab.start(Recipe("dub", seconds=2, seed=3)).take()
    until(lambda: page.switch.current == "pretend-tokens")
    assert fields(page, "sampling")[0] == "temperature"


def test_a_sweep_is_over_what_the_checkpoint_has(lab: PretendSession) -> None:
    page = page_of(lab)
    use(page, "pretend-tokens")
    page.prompt.do_edit("caption", "dub")
    with pytest.raises(RecipeError, match="parameter"):
        page.prompt.do_sweep("steps", "1, 2")
    made: list[Any] = []
    page.prompt.on("sweep", lambda x, y, recipes: made.extend(recipes[0]))
    page.prompt.do_sweep("temperature", "0.5, 1")
    assert [recipe.sampling.temperature for recipe in made] == [0.5, 1.0]


# -- the wall


SPEAKS_FOR_OTHERS = re.compile(r"(api|rest|openapi|daemon|backends|track)(_\w+)?\.py")
"""Doors for programs written for ACE-Step's server or lofi.nvim's daemon: they say the names of those contracts."""


@pytest.mark.parametrize("room", ["ui", "serve"])
def test_the_page_knows_no_model_family(room: str) -> None:
    inside = r"turbo|checkpoint\.row|engines\.(ace15|musicgen)"
    family = re.compile(inside + r"|ace-?step(?!_lab|-lab)|musicgen", re.IGNORECASE)
    found = [
        f"{file.name}: {line.strip()}"
        for file in sorted((PACKAGE / room).rglob("*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if (re.compile(inside) if SPEAKS_FOR_OTHERS.fullmatch(file.name) else family).search(line)
    ]
    assert found == []

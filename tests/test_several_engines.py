"""What several engines in one session, and families of other packages, must not do to each other."""

from __future__ import annotations

import json
import shutil
import threading
import types
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from acestep_lab import Recipe, Session
from acestep_lab.engines import registry
from acestep_lab.engines.catalog_entry import CatalogEntry
from acestep_lab.errors import CheckpointError, EngineWarning, MachineError, RecipeError
from acestep_lab.prompt.sampling import FlowSampling, TokenSampling
from acestep_lab.takes.library import Library
from tests.tiny_musicgen import tiny_musicgen

SHORT = Recipe("slow dub", seconds=1, seed=3)


@pytest.fixture(scope="module")
def musicgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_musicgen(tmp_path_factory.mktemp("one") / "tiny-musicgen")


@pytest.fixture(scope="module")
def lab(tiny_turbo: Path, musicgen: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_turbo, library=Library(tmp_path_factory.mktemp("takes"))) as session:
        session.use(musicgen)
        yield session


# --- whose run it is -------------------------------------------------------------------------------------------------


def test_a_run_that_waits_is_made_by_the_engine_it_was_asked_of(lab: Session, tiny_turbo: Path, musicgen: Path) -> None:
    lab.use(tiny_turbo)
    assert lab.has_planner
    runs = [lab.start(SHORT.replace(seed=seed)) for seed in range(2)]  # planned first, and resolved anew once they are
    lab.use(musicgen)
    assert [run.take().made_with["checkpoint"] for run in runs] == ["tiny-turbo"] * 2
    assert lab.make(SHORT).made_with["checkpoint"] == "tiny-musicgen"


def test_a_take_is_verified_and_varied_by_the_engine_that_made_it(
    lab: Session, tiny_turbo: Path, musicgen: Path
) -> None:
    lab.use(musicgen)
    take = lab.make(SHORT)
    lab.use(tiny_turbo)
    assert lab.verify(take).word == "same"
    assert [one.made_with["checkpoint"] for one in lab.vary(take, [5])] == ["tiny-musicgen"]
    with pytest.raises(RecipeError, match="cannot turn a take's noise"):
        lab.vary(take, [5], variance=0.3)
    with pytest.raises(RecipeError, match=r"has no temperature.*sampling='flow' leaves"):
        lab.make(take.recipe)


def test_what_an_engine_can_do_is_asked_of_the_one_that_does_it(lab: Session, tiny_turbo: Path, musicgen: Path) -> None:
    lab.use(tiny_turbo)
    take = lab.make(SHORT.replace(steps=1, thinking=False))
    lab.use(musicgen)
    cover = lab.cover(take, checkpoint="tiny-turbo")
    assert cover.recipe.task.through_codes, "the engine in use has no codes, the one that makes it has"  # type: ignore[union-attr]
    with pytest.raises(RecipeError, match="tiny-musicgen has no profile"):
        lab.profile(SHORT)


def test_a_step_or_take_is_heard_by_the_engine_that_made_it(lab: Session, tiny_turbo: Path, musicgen: Path) -> None:
    lab.use(tiny_turbo)
    run = lab.start(SHORT.replace(steps=1, thinking=False))
    take = run.take()
    here = lab.preview(run.steps[-1], 0.5, 0.2)
    lab.use(musicgen)
    assert lab.preview(run.steps[-1], 0.5, 0.2) == lab.preview(take, 0.5, 0.2) == here
    with pytest.raises(RecipeError, match="tiny-musicgen has nothing to hear"):
        lab.preview(lab.make(SHORT), 0.5)


@pytest.mark.parametrize("odd", ["nope", 3, ["pocket"], {}, None, "../"], ids=repr)
def test_a_checkpoint_that_is_not_open_is_a_sentence(odd: Any, lab: Session) -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint .* is open here.*lab\.use"):
        lab.capabilities_of(odd)


# --- names -----------------------------------------------------------------------------------------------------------


def test_two_folders_of_one_name_are_not_taken_for_each_other(lab: Session, musicgen: Path, tmp_path: Path) -> None:
    other = tiny_musicgen(tmp_path / "tiny-musicgen", seed=9)
    for ask in (lab.use, lab.cost):
        with pytest.raises(CheckpointError, match=r"Another checkpoint called 'tiny-musicgen' is open.*rename"):
            ask(other)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "tiny-musicgen"
    link.symlink_to(musicgen)
    assert lab.use(link).family == "musicgen"
    assert str(lab.cost(link)).startswith("tiny-musicgen: open already")


def test_another_planner_is_not_left_out_in_silence(lab: Session, tiny_turbo: Path, tmp_path: Path) -> None:
    assert lab.use(tiny_turbo, lm=tiny_turbo / "lm").plans
    shutil.copytree(tiny_turbo / "lm", tmp_path / "lm")
    before = lab.engine
    assert "more" in str(lab.cost(tiny_turbo, lm=tmp_path / "lm"))
    assert lab.engine is before, "a price opens nothing"
    assert lab.use(tiny_turbo, lm=tmp_path / "lm").plans
    assert lab.engine is not before
    assert lab.checkpoints.count(before.name) == 1
    assert "open already" in str(lab.cost(tiny_turbo, lm=tmp_path / "lm"))
    assert lab.make(SHORT).made_with["checkpoint"] == before.name
    assert lab.plan(SHORT, codes=False).caption is not None


def test_a_checkpoint_opened_by_many_threads_at_once_is_one(tiny_turbo: Path, musicgen: Path, tmp_path: Path) -> None:
    problems: list[BaseException] = []
    with Session.open(tiny_turbo, library=tmp_path) as lab:

        def use() -> None:
            try:
                lab.use(musicgen)
            except (CheckpointError, MachineError) as problem:
                problems.append(problem)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems
        assert lab.checkpoints == ("tiny-turbo", "tiny-musicgen")


def test_a_folder_of_two_families_is_opened_as_neither(tiny_turbo: Path, musicgen: Path, tmp_path: Path) -> None:
    shutil.copytree(musicgen, tmp_path / "both")
    (tmp_path / "both" / "condition_encoder").mkdir()
    with pytest.raises(CheckpointError, match="claimed by two families"):
        registry.open_engine(tmp_path / "both")
    assert registry.family_of(tiny_turbo) is registry.all_families()["ace-step-1.5"]
    with pytest.raises(CheckpointError, match="did you mean musicgen-small"):
        registry.open_engine("musicgen-smal")


# --- families of other packages --------------------------------------------------------------------------------------


class Point:
    """An entry point."""

    def __init__(self, name: str, loads: Any) -> None:
        self.name, self._loads = name, loads

    def load(self) -> Any:
        if isinstance(self._loads, BaseException):
            raise self._loads
        return self._loads


def told_of(name: str) -> CatalogEntry:
    return CatalogEntry(name, "MIT", frozenset({"Text2Music"}))


def family(**more: Any) -> Any:
    """A family that claims everything, and has names of ours."""

    def opens(name: Any, lm: Any = None, precision: Any = "auto") -> Any:
        raise KeyError("weights")

    usual = {
        "NAMES": ("pocket", "turbo", "theirs"),
        "entry": told_of,
        "claims": lambda name: True,
        "download": lambda name, lm=None: (),
    }
    return types.SimpleNamespace(**({**usual, "open_engine": opens} | more))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Says which other families there are."""

    def install(**families: Any) -> None:
        points = [Point(name, loads) for name, loads in families.items()]
        monkeypatch.setattr(metadata, "entry_points", lambda group: points)
        registry.all_families.cache_clear()

    yield install
    registry.all_families.cache_clear()


def test_a_family_that_claims_everything_gets_nothing_of_ours(installed: Any, musicgen: Path, tiny_turbo: Path) -> None:
    installed(greedy=family())
    assert registry.names().count("pocket") == registry.names().count("turbo") == 1
    assert registry.all_families()["greedy"].NAMES == ("theirs",)
    for ours in ("pocket", "turbo", "POCKET", "musicgen-small", musicgen, tiny_turbo):
        assert registry.family_of(ours) is not registry.all_families()["greedy"], ours
    with pytest.raises(
        CheckpointError, match=r"'greedy' of another package could not open 'theirs': KeyError.*weights"
    ):
        registry.open_engine("theirs")


@pytest.mark.parametrize(
    "broken",
    [
        ImportError("no such thing"),
        SystemExit(1),
        types.SimpleNamespace(),
        None,
        family(NAMES=3),
        family(NAMES=None),
        family(entry=lambda name: name.no_such),
        family(entry=lambda name: "MIT"),
        family(claims=True),
    ],
    ids=["import", "exit", "empty", "nothing", "names", "no names", "entry", "no entry", "claims"],
)
def test_a_family_that_cannot_be_loaded_costs_a_warning_and_no_other_family(installed: Any, broken: Any) -> None:
    installed(broken=broken, sound=family())
    with pytest.warns(EngineWarning, match="'broken' of another package is left out"):
        assert list(registry.all_families()) == ["sound", "musicgen", "ace-step-v1", "ace-step-1.5"]
    assert registry.open_engine("pocket").name == "pocket"


def test_a_family_that_fails_when_asked_is_passed_over(installed: Any) -> None:
    def fails(name: Any) -> bool:
        raise ZeroDivisionError("x" * 1000)

    installed(failing=family(claims=fails))
    with pytest.warns(EngineWarning, match="could not look at a name: ZeroDivisionError") as told:  # noqa: SIM117
        with pytest.raises(CheckpointError, match="No checkpoint is called 'no such name'"):
            registry.open_engine("no such name")
    assert all(len(str(one.message)) < 300 for one in told)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.open_engine("pocket").name == "pocket"


def test_two_families_that_want_one_name_are_named_and_what_is_no_engine_is_refused(installed: Any) -> None:
    installed(one=family(), two=family())
    with pytest.raises(CheckpointError, match="claimed by two families of engines, one and two"):
        registry.open_engine("theirs")
    installed(one=family(open_engine=lambda *_: "an engine"))
    with pytest.raises(CheckpointError, match="it is no engine"):
        registry.open_engine("theirs")


# --- knobs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [
    {"sampling": {"kind": "flow", "steps": 8}, "steps": 9},
    {"sampling": FlowSampling(steps=8), "steps": 9},
    {"planning": {"thinking": True}, "thinking": False},
])  # fmt: skip
def test_a_knob_said_twice_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"is said twice.*say it once"):
        Recipe("dub", **said)
    with pytest.raises(RecipeError, match="is said twice"):
        Recipe("dub").replace(**said)


@pytest.mark.parametrize("said", [
    {"sampling": "flow", "top_k": 3}, {"sampling": "tokens", "steps": 3}, {"sampling": TokenSampling(), "steps": 3},
    {"sampling": {"kind": "tokens"}, "shift": 3}, {"sampling": {"nonsense": 3}},
])  # fmt: skip
def test_a_kind_of_sampling_that_is_named_has_its_own_knobs_only(said: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="has no field"):
        Recipe("dub", **said)


def test_what_is_said_twice_alike_and_what_is_changed_is_well() -> None:
    assert Recipe("dub", sampling={"steps": 8}, steps=8) == Recipe("dub", steps=8)
    assert Recipe("dub", steps=8).replace(steps=9).steps == 9
    assert Recipe("dub", steps=8).replace(steps=None).steps is None
    assert Recipe("dub", thinking=True).replace(thinking=None).thinking is None
    assert Recipe("dub").replace(top_k=3).sampling == TokenSampling(top_k=3)
    assert Recipe("dub", top_k=3).replace(sampling="flow").sampling == FlowSampling()


def test_a_knob_of_another_family_is_a_sentence_to_a_reader_and_missing_to_hasattr() -> None:
    recipe = Recipe("dub", top_k=3)
    assert not hasattr(recipe, "steps")
    with pytest.raises(RecipeError, match="This recipe has no steps: its sampling is a TokenSampling"):
        _ = recipe.steps  # type: ignore[attr-defined]


@pytest.mark.parametrize("recipe", [
    Recipe("dub", top_k=5, temperature=0.5), Recipe("dub", sampling="tokens", guidance_scale=3), Recipe("dub", latent_shift=0.1),
    Recipe("dub", steps=3, checkpoint="base", thinking=False),
])  # fmt: skip
def test_a_recipes_own_json_is_read_from_a_file_as_it_was(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_json()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Recipe.read(tmp_path / "recipe.json") == recipe


# --- damaged MusicGen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", ["decoder.", "text_encoder.", "enc_to_dec_proj.", "audio_encoder.encoder."])
def test_weights_that_are_no_numbers_are_a_sentence_and_never_a_take(
    component: str, musicgen: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(musicgen, tmp_path / "damaged")
    tensors = load_file(folder / "model.safetensors")
    spoilt = {key: one * float("nan") if key.startswith(component) else one for key, one in tensors.items()}
    save_file(spoilt, folder / "model.safetensors")
    with Session.open(folder, library=tmp_path / "takes") as lab, pytest.raises(MachineError, match="not numbers"):
        lab.encode(tone()) if component.startswith("audio") else lab.make(SHORT)


def tone() -> Any:
    from acestep_lab import Audio

    return Audio(0.3 * np.sin(np.arange(48_000, dtype=np.float32) / 20)[None], 48_000)


@pytest.mark.parametrize("told", [{"temperature": -1}, {"temperature": "hot"}, {"top_p": 7}, {"top_k": -5}])
def test_defaults_no_recipe_may_have_are_refused_when_a_checkpoint_is_opened(
    told: dict[str, Any], musicgen: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(musicgen, tmp_path / "odd")
    (folder / "generation_config.json").write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        registry.open_engine(folder)


@pytest.mark.parametrize(
    "odd",
    ["x", None, [["a"] * 4], object(), [[0, 0, 0]], [[0.5] * 4], [[-1] * 4]],
    ids=lambda odd: repr(odd).partition(" at ")[0],
)
def test_what_is_no_latent_is_refused_by_a_token_engine_too(odd: Any, lab: Session, musicgen: Path) -> None:
    lab.use(musicgen)
    with pytest.raises(RecipeError):
        lab.decode(odd)

"""A pipeline is called as those of diffusers are: their names mean what they mean there, and what is not understood is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab import CheckpointError, Pipeline, RecipeError, Result, Session, SourceError, Stopped, load
from acestep_lab.engines import registry
from acestep_lab.engines.offered import offered
from acestep_lab.pipeline.arguments import ALIASES, ELSEWHERE, KNOWN, Model, read
from acestep_lab.prompt.sampling import FlowSampling, TokenSampling
from acestep_lab.takes.library import Library
from tests.pretend import PretendSession

FLOW = Model("pretend", "pretend-flow", FlowSampling.names(), has_planner=True)
TOKENS = Model("pretend-tokens", "pretend-tokens", TokenSampling.names(), has_planner=False)
SHORT = {"duration": 1, "num_inference_steps": 2}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[PretendSession]:
    made = PretendSession(tmp_path / "takes", pause=0.0)
    yield made
    made.close()


@pytest.fixture
def pipe(session: PretendSession) -> Pipeline:
    return Pipeline(session)


# -- the pocket, for real


def test_the_call_of_the_seed_document_makes_a_file_and_a_take_in_the_library(tmp_path: Path) -> None:
    with load("pocket", library=tmp_path / "takes") as pipe:
        result = pipe("slow dub techno", lyrics="", duration=1, num_inference_steps=2, guidance_scale=3.0, seed=42)
        file = result.save(tmp_path / "x.mp3", bitrate=128)
        again = pipe("slow dub techno", duration=1, num_inference_steps=2, guidance_scale=3.0, seed=42)
        assert pipe.session.load(result.take.id).recipe.sampling.guidance_scale == 3.0
    assert file == tmp_path / "x.mp3"
    assert file.stat().st_size > 1000
    assert result.seed == 42
    assert result.take.recipe.sampling.steps == 2
    assert result.audios.shape == (1, pipe.session.capabilities.latent.audio_channels, result.sample_rate)
    assert result.audios.dtype == np.float32
    assert np.array_equal(result.audios, again.audios)


def test_load_opens_in_the_folder_and_type_that_are_asked_for_and_closes_what_it_opened(tmp_path: Path) -> None:
    with load("pocket", library=tmp_path, torch_dtype=torch.float32, device="cpu") as pipe:
        assert isinstance(pipe.session, Session)
        assert pipe.session.library.folder == tmp_path
    with pytest.raises(Exception, match="closed"):
        pipe("dub", **SHORT)


def test_load_takes_takes_into_the_users_library_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACESTEP_LAB_TAKES", str(tmp_path / "mine"))
    with Pipeline.from_pretrained("pocket") as pipe:
        assert pipe.session.library.folder == tmp_path / "mine"


@pytest.mark.parametrize("name", ["ace-step-v1", "ACE-Step/ACE-Step-v1-3.5B", "ACE-Step-v1-3.5b"])
def test_the_first_ace_step_is_known_by_each_of_its_names(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"ace-step-v1 has not been downloaded yet"):
        load(name)


def test_every_checkpoint_of_the_registry_opens_or_says_that_it_is_missing(tmp_path: Path) -> None:
    missing = {one.name for one in offered() if one.missing}
    assert "pocket" not in missing
    for name in registry.names():
        if name in missing:
            with pytest.raises(CheckpointError, match=r"^(?!.*not here yet)"):
                load(name, library=tmp_path)
        else:
            with load(name, library=tmp_path) as pipe:
                assert pipe.session.name == name


def test_an_option_that_load_does_not_have_is_named_with_the_nearest_one() -> None:
    with pytest.raises(RecipeError, match=r"librari.*library"):
        load("pocket", librari="x")
    with pytest.raises(RecipeError, match="said twice"):
        load("pocket", dtype="float32", torch_dtype="float32")


# -- what comes back


def test_a_list_of_prompts_gives_a_result_for_each_and_each_is_what_it_would_be_alone(pipe: Pipeline) -> None:
    both = pipe(["dub", "waltz"], lyrics=["", "la la"], seed=5, **SHORT)
    assert [one.take.recipe.caption for one in both] == ["dub", "waltz"]
    assert both[1].take.recipe.lyrics == "la la"
    alone = pipe("waltz", "la la", seed=5, **SHORT)
    assert isinstance(alone, Result)
    assert np.array_equal(both[1].audios, alone.audios)
    assert isinstance(pipe(["dub"], **SHORT), list)


def test_several_waveforms_have_seeds_that_follow_and_files_beside_each_other(pipe: Pipeline, tmp_path: Path) -> None:
    result = pipe("dub", seed=7, num_waveforms_per_prompt=3, **SHORT)
    assert result.seeds == (7, 8, 9)
    assert len(result) == 3
    assert result.audios.shape == (3, 2, 8000)
    assert np.array_equal(result.audios[0], result.audio.samples)
    assert result.save(tmp_path / "x.wav", bits=16) == tmp_path / "x.wav"
    assert sorted(file.name for file in tmp_path.glob("*.wav")) == ["x-2.wav", "x-3.wav", "x.wav"]
    with pytest.raises(SourceError, match="bitz"):
        result.save(tmp_path / "y.wav", bitz=16)


def test_sounds_of_different_lengths_end_in_silence_in_one_array(pipe: Pipeline) -> None:
    long, short = (pipe("dub", duration=seconds, num_inference_steps=1).take for seconds in (2, 1))
    audios = Result((short, long)).audios
    assert audios.shape == (2, 2, 16000)
    assert not audios[0, :, 8000:].any()
    assert audios[1, :, 8000:].any()


def test_a_session_that_was_handed_in_stays_open(session: PretendSession) -> None:
    with Pipeline(session) as pipe:
        pipe("dub", **SHORT)
    assert session.make(session.started[0]).seconds == 1


def test_the_takes_are_in_the_sessions_library(pipe: Pipeline, session: PretendSession) -> None:
    result = pipe("dub", **SHORT)
    assert isinstance(session.library, Library)
    assert session.sound(result.take.id) is not None


# -- what is understood


def test_other_pipelines_names_mean_the_same() -> None:
    own = read({"prompt": "dub", "duration": 8, "num_inference_steps": 4, "scheduler": "heun", "seed": 3}, FLOW)
    v1 = {"prompt": "dub", "audio_duration": 8, "infer_step": 4, "scheduler_type": "heun", "manual_seeds": [3]}
    assert read(v1, FLOW) == own
    classes = own.recipes[0].replace(solver="euler")
    named = {"caption": "dub", "seconds": 8, "steps": 4, "solver": "FlowMatchEulerDiscreteScheduler", "seed": 3}
    assert read(named, FLOW).recipes == (classes,)


def test_no_alias_hides_another_and_each_leads_to_a_known_name() -> None:
    assert set(ALIASES.values()) <= set(KNOWN) - set(ALIASES)
    assert not set(ELSEWHERE) & set(KNOWN)


def test_pingpong_is_the_solver_that_noises_afresh() -> None:
    assert read({"prompt": "dub", "scheduler": "PingPong"}, FLOW).recipes[0].sampling == FlowSampling(solver="sde")


def test_a_recipes_own_fields_go_by_their_names() -> None:
    (recipe,) = read(
        {"prompt": "dub", "bpm": 118, "shift": 3.0, "thinking": False, "vocal_language": "de"}, FLOW
    ).recipes
    assert (recipe.bpm, recipe.sampling, recipe.planning.thinking) == (118, FlowSampling(shift=3.0), False)
    assert recipe.language == "de"


def test_a_generator_counts_by_the_seed_it_began_with() -> None:
    generator = torch.Generator().manual_seed(42)
    torch.rand(3, generator=generator)
    assert read({"prompt": "dub", "generator": generator}, FLOW).recipes[0].seed == 42
    several = [torch.Generator().manual_seed(seed) for seed in (4, 2)]
    assert [r.seed for r in read({"prompt": ["a", "b"], "generator": several}, FLOW).recipes] == [4, 2]


def test_a_negative_prompt_goes_to_the_planner_and_nothing_said_is_nothing() -> None:
    (recipe,) = read({"prompt": "dub", "negative_prompt": "drums"}, FLOW).recipes
    assert recipe.planning.negative_prompt == "drums"
    assert read({"prompt": "dub", "negative_prompt": ""}, TOKENS) == read({"prompt": "dub"}, TOKENS)


# -- what is refused, before any work


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"num_inference_step": 4}, "num_inference_steps"),
        ({"prompt": 7}, "prompt is text or a list"),
        ({"prompt": []}, "empty"),
        ({"prompt": ["dub", 7]}, "text"),
        ({"prompt": ""}, "no words"),
        ({"prompt": None}, "no words"),
        ({"lyrics": ["la"]}, "one text"),
        ({"prompt": ["a", "b"], "lyrics": ["la"]}, "one for each of the 2"),
        ({"duration": "long"}, "number of seconds"),
        ({"duration": True}, "number of seconds"),
        ({"duration": float("nan")}, "number of seconds"),
        ({"num_inference_steps": 2.5}, "whole number"),
        ({"num_inference_steps": 0}, "between 1"),
        ({"guidance_scale": "high"}, "number"),
        ({"seed": "42"}, "whole number"),
        ({"seed": -1}, "between 0"),
        ({"seed": [1, 2]}, "one for each of the 1"),
        ({"seed": 1, "generator": torch.Generator()}, "leave one out"),
        ({"generator": np.random.default_rng(1)}, "torch.Generator"),
        ({"generator": 42}, "torch.Generator"),
        ({"num_waveforms_per_prompt": 0}, "between 1"),
        ({"duration": 3, "audio_duration": 4}, "said twice"),
        ({"scheduler": "ddim"}, "no scheduler.*euler"),
        ({"scheduler": object()}, "no scheduler.*euler"),
        ({"negative_prompt": ["drums"]}, "negative_prompt is text"),
        ({"negative_prompt": "drums", "thinking": False}, "thinking=False"),
        ({"latents": np.zeros(3)}, "noise of its seed"),
        ({"output_type": "pt"}, "numpy"),
        ({"checkpoint": "base"}, "load"),
        ({"callback_on_step_end": 3}, "function"),
        ({"callback_on_step_end": print, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, "latents"),
        ({"callback": print, "callback_steps": 0}, "between 1"),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence_before_any_work(
    asked: dict[str, Any], words: str, pipe: Pipeline, session: PretendSession
) -> None:
    with pytest.raises(RecipeError, match=words) as raised:
        pipe(**{"prompt": "dub", **asked})
    assert len(str(raised.value)) < 300
    assert not session.started


def test_a_third_word_without_its_name_is_refused(pipe: Pipeline) -> None:
    with pytest.raises(RecipeError, match="goes by name"):
        pipe("dub", "la", 30)  # type: ignore[call-overload]


@pytest.mark.parametrize("asked", [{"num_inference_steps": 4}, {"scheduler": "euler"}, {"shift": 3.0}])
def test_a_token_model_says_which_argument_it_does_not_have(asked: dict[str, Any], pipe: Pipeline) -> None:
    pipe.session.use("pretend-tokens")
    with pytest.raises(RecipeError, match=f"pretend-tokens has no {next(iter(asked))}.*temperature.*Leave"):
        pipe("dub", duration=1, **asked)
    with pytest.raises(RecipeError, match="no planner"):
        pipe("dub", duration=1, negative_prompt="drums")
    assert pipe("dub", duration=1, guidance_scale=2.0, temperature=0.5).take.recipe.sampling.temperature == 0.5


# -- callbacks


def test_callbacks_hear_every_step_in_order_with_its_tensors(pipe: Pipeline) -> None:
    heard: list[Any] = []
    pipe(
        "dub", duration=1, num_inference_steps=4,
        callback_on_step_end=lambda *of: heard.append(of), callback_on_step_end_tensor_inputs=["latents", "estimate"],
    )  # fmt: skip
    assert [index for _, index, _, _ in heard] == [0, 1, 2, 3]
    assert all(who is pipe for who, *_ in heard)
    assert [t for _, _, t, _ in heard] == sorted((t for _, _, t, _ in heard), reverse=True)
    assert all(set(tensors) == {"latents", "estimate"} and tensors["latents"] is not None for *_, tensors in heard)


def test_the_older_callback_hears_every_so_many_steps(pipe: Pipeline) -> None:
    heard: list[int] = []
    pipe("dub", duration=1, num_inference_steps=5, callback=lambda index, t, x: heard.append(index), callback_steps=2)
    assert heard == [0, 2, 4]


def test_a_callback_may_hand_back_what_it_was_given_and_nothing_else(session: PretendSession) -> None:
    pipe = Pipeline(session)
    assert pipe("dub", callback_on_step_end=lambda p, i, t, tensors: tensors, **SHORT).take.seconds == 1
    with pytest.raises(RecipeError, match=r"watches.*latents"):
        pipe("dub", callback_on_step_end=lambda *_: {"latents": np.zeros(3)}, **SHORT)


def test_an_interrupt_and_an_error_in_a_callback_stop_the_run(tmp_path: Path) -> None:
    with Pipeline(PretendSession(tmp_path, pause=0.05), owned=True) as pipe:
        with pytest.raises(Stopped):
            pipe("dub", duration=1, num_inference_steps=60, callback=lambda *_: pipe.interrupt())
        with pytest.raises(ZeroDivisionError):
            pipe("dub", duration=1, num_inference_steps=60, callback=lambda *_: 1 / 0)
        assert pipe("dub", **SHORT).take.seconds == 1


def test_importing_the_package_and_reading_arguments_load_no_torch() -> None:
    script = (
        "import sys, acestep_lab, acestep_lab.pipeline.arguments, acestep_lab.pipeline.pipeline\n"
        "print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"

"""Settings saved by other tools become a recipe; what is not understood is named, and nothing but a sentence is raised."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from acestep_lab import (
    Audio,
    Complete,
    Cover,
    Extract,
    FlowEdit,
    Lego,
    Library,
    Plan,
    Planning,
    Recipe,
    RecipeError,
    Region,
    Repaint,
    Take,
    Text2Music,
)
from acestep_lab.prompt import settings
from acestep_lab.prompt.settings import SettingsWarning, understand
from tests.values import judge

GRADIO = {
    "task_type": "text2music", "caption": "dub techno", "lyrics": "[Verse]\nla", "vocal_language": "unknown", "bpm": "N/A",
    "keyscale": "", "timesignature": "", "duration": -1, "batch_size": 2, "inference_steps": 8, "guidance_scale": 7.0,
    "seed": "123", "random_seed": True, "use_adg": False, "cfg_interval_start": 0.0, "cfg_interval_end": 1.0,
    "audio_format": "mp3", "mp3_bitrate": "128k", "mp3_sample_rate": 48000, "lm_temperature": 0.7, "lm_cfg_scale": 2.5,
    "lm_top_k": 0, "lm_top_p": 0.9, "lm_negative_prompt": "NO USER INPUT", "use_cot_metas": True, "use_cot_caption": True,
    "use_cot_language": True, "audio_cover_strength": 1.0, "cover_noise_strength": 0.0, "thinking": True, "audio_codes": "",
    "repainting_start": 0.0, "repainting_end": -1, "track_name": None, "complete_track_classes": [], "shift": 3.0,
    "infer_method": "ode", "timesteps": "", "instrumental": False,
    "instruction": "Fill the audio semantic mask based on the given conditions:",
}  # fmt: skip
"""Every key the reference's page saves and loads again."""

EXAMPLE = {
    "think": True, "caption": "A song", "lyrics": "[Intro]", "bpm": 130, "duration": "220", "keyscale": "C Major", "language": "en",
    "timesignature": "4",
}  # fmt: skip
REQUEST = {
    "prompt": "pop", "lyrics": "", "audioDuration": 60, "keyScale": "Am", "timeSignature": "4/4", "vocalLanguage": "pt-BR",
    "useRandomSeed": False, "seed": "1,2,3", "inferMethod": "sde", "param_obj": json.dumps({"bpm": 0, "duration": 30}),
    "audio_code_string": "<|audio_code_1|><|audio_code_2|>", "batch_size": 2, "thinking": True,
}  # fmt: skip
UI = {
    "customMode": True, "prompt": "", "style": "rock, male voice", "lyrics": "x", "title": "T", "instrumental": False,
    "vocalLanguage": "en", "duration": -1, "bpm": 0, "keyScale": "", "timeSignature": "", "inferenceSteps": 12,
    "guidanceScale": 9, "batchSize": 1, "randomSeed": True, "seed": -1, "thinking": False, "audioFormat": "mp3",
    "inferMethod": "ode", "shift": 3, "lmTemperature": 0.85, "lmCfgScale": 2.0, "lmTopK": 0, "lmTopP": 0.9,
    "lmNegativePrompt": "NO USER INPUT", "useAdg": True, "cfgIntervalStart": 0.1, "cfgIntervalEnd": 0.9,
    "customTimesteps": "0.97,0.76,0.5", "taskType": "text2music", "audioCodes": "1, 2, 3", "getLrc": False,
}  # fmt: skip

TABLE: list[tuple[dict[str, Any], Recipe]] = [
    (
        GRADIO,
        Recipe("dub techno", "[Verse]\nla", seed=123, steps=8, shift=3, solver="euler", guidance_scale=7, thinking=True,
               planning=Planning(temperature=0.7, cfg_scale=2.5, rewrite_caption=True)),
    ),
    (EXAMPLE, Recipe("A song", "[Intro]", 220, bpm=130, keyscale="C major", language="en", timesignature="4", thinking=True)),
    (
        REQUEST,
        Recipe("pop", seconds=60, keyscale="A minor", timesignature="4", language="pt", seed=1, solver="sde",
               task=Text2Music(codes=(1, 2))),
    ),
    (
        UI,
        Recipe("rock, male voice", "x", language="en", steps=12, shift=3, solver="euler", guidance="adg", guidance_scale=9,
               guidance_interval=(0.1, 0.9), timesteps=(0.97, 0.76, 0.5), task=Text2Music(codes=(1, 2, 3))),
    ),
    (
        {"prompt": "x", "metas": {"bpm": "N/A", "duration": 30.0, "keyscale": "N/A"}, "seed_value": "5", "file": "/v1/audio?path=a"},
        Recipe("x", seconds=30, seed=5),
    ),
    (
        {"task": "text2music", "tags": "jazz", "audio_duration": 30, "infer_step": 27, "cfg_type": "apg", "manual_seeds": "7"},
        Recipe("jazz", seconds=30, steps=27, guidance="apg", seed=7),
    ),
    (
        {"caption": "x", "dcw_enabled": True, "dcw_mode": "low", "dcw_scaler": 0.1, "dcw_high_scaler": 0.03, "latent_shift": 0.1,
         "latent_rescale": 0.9, "fade_in_duration": 1, "fade_out_duration": 2, "enable_normalization": True,
         "normalization_db": -3, "velocity_norm_threshold": 2, "velocity_ema_factor": 0.1, "sampler_mode": "heun",
         "infer_method": "ode", "global_caption": "all", "instruction": "Play it again:"},
        Recipe("x", dcw="low", dcw_low=0.1, dcw_high=0.03, latent_shift=0.1, latent_rescale=0.9, fade_in=1, fade_out=2,
               normalize=True, peak_db=-3, velocity_clamp=2, velocity_ema=0.1, solver="heun", global_caption="all",
               instruction="Play it again:"),
    ),
    ({"caption": "x", "dcw_enabled": False, "dcw_mode": "double", "velocity_norm_threshold": 0}, Recipe("x", dcw="off")),
    ({"caption": "x", "instrumental": True, "bpm": None, "language": "N/A", "seed": [4, -1]}, Recipe("x", "[Instrumental]", seed=4)),
    (
        {"task_type": "repaint", "prompt": "x", "src_audio_path": "a.wav", "repainting_start": 3, "repainting_end": -1,
         "repaint_mode": "conservative", "repaint_latent_crossfade_frames": 25, "chunk_mask_mode": "auto"},
        Recipe("x", task=Repaint("a.wav", Region(3, 600), "conservative", latent_crossfade=1.0, mask="auto")),
    ),
    (
        {"task_type": "cover", "prompt": "x", "src_audio": "a.wav", "cover_strength": 0.5, "cover_noise_strength": 0.1},
        Recipe("x", task=Cover("a.wav", 0.5, 0.1)),
    ),
    ({"task_type": "cover-nofsq", "prompt": "x", "src_audio": "a.wav"}, Recipe("x", task=Cover("a.wav", through_codes=False))),
    ({"task_type": "cover", "prompt": "x", "audio_codes": [5, 6]}, Recipe("x", task=Cover(codes=(5, 6)))),
    ({"task_type": "extract", "prompt": "", "src_audio": "a.wav", "track_name": "vocals"}, Recipe("", task=Extract("a.wav", "vocals"))),
    (
        {"task_type": "lego", "prompt": "x", "src_audio": "a.wav", "trackName": "drums", "repainting_start": 1, "repainting_end": 4},
        Recipe("x", task=Lego("a.wav", "drums", Region(1, 4))),
    ),
    (
        {"task_type": "complete", "prompt": "x", "src_audio": "a.wav", "track_classes": "drums | backing vocals"},
        Recipe("x", task=Complete("a.wav", ("drums", "backing_vocals"))),
    ),
    (
        {"caption": "x", "flow_edit_morph": True, "src_audio": "a.wav", "flow_edit_source_caption": "old", "flow_edit_n_avg": 2},
        Recipe("x", task=FlowEdit("a.wav", "old", n_avg=2)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "recipe"), TABLE, ids=range(len(TABLE)))
def test_settings_of_other_tools_become_the_recipe_they_mean(
    data: dict[str, Any], recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "song.json").write_text(json.dumps(data), encoding="utf-8-sig")
    found = settings.read(tmp_path / "song.json")
    assert found.recipe == recipe
    assert found.ignored == ()


@pytest.mark.parametrize("auto", [None, "", "N/A", "auto", -1, 0, "-1", "0"])
def test_auto_is_understood_in_every_spelling(auto: Any) -> None:
    data = {"caption": "x", "bpm": auto, "duration": auto, "timesignature": auto}
    assert understand(data).recipe == Recipe("x")
    if not isinstance(auto, int) and auto not in ("-1", "0"):
        assert understand(
            {**data, "keyscale": auto, "language": auto, "thinking": auto, "seed": auto}
        ).recipe == Recipe("x")


def test_a_command_lines_toml_is_read_with_its_dates(tmp_path: Path) -> None:
    text = 'caption = "dub"\nduration = 20\nseed = 7\nsaved_at = 2026-01-01T00:00:00Z\nproject_root = "/x"\nuse_cot_caption = false\n'
    (tmp_path / "song.toml").write_text(text)
    assert Recipe.read(tmp_path / "song.toml") == Recipe(
        "dub", seconds=20, seed=7, planning=Planning(writes_caption=False)
    )
    (tmp_path / "bad.toml").write_text("caption = ")
    with pytest.raises(RecipeError, match="not TOML"):
        Recipe.read(tmp_path / "bad.toml")


def test_what_is_not_understood_is_named_to_whoever_reads(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({"caption": "x", "warpScale": 10, "seed": "1,2", "dit_model": "turbo", "fresh": False})
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert Recipe.read(tmp_path / "a.json").seed == 1
    said = " ".join(str(one.message) for one in warned)
    assert {one.category for one in warned} == {SettingsWarning}
    assert {Path(one.filename).name for one in warned} == {"test_settings_files.py"}
    assert "warpScale" in said
    assert "lab.vary(recipe, (1, 2))" in said
    assert "'turbo'" in said
    assert "fresh" not in said
    assert settings.read(tmp_path / "a.json").seeds == (1, 2)


def test_a_seed_that_was_not_used_is_left_out_and_said() -> None:
    for switch in ("use_random_seed", "randomSeed"):
        found = understand({"caption": "x", "seed": 7, switch: True})
        assert found.recipe.seed is None
        assert "random seed" in found.remarks[0]
    assert (
        understand({"caption": "x", "seed": 7, "random_seed": True}).recipe.seed == 7
    )  # the page saves the one it drew


RECIPE = Recipe(
    "dub", "la", seconds=2, seed=7, planning=Planning(top_p=0.5), task=Repaint("take-1", [(0, 1)]), dcw="off"
)


def test_our_own_takes_and_recipes_are_read_back(tmp_path: Path) -> None:
    sound = Audio(np.sin(np.arange(8000) / 9, dtype=np.float32), 8000)
    take = Take(RECIPE, sound, np.zeros((25, 8), np.float32), plan=Plan(bpm=120))
    kept = Library(tmp_path / "takes").keep(take)
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE.to_json()))
    exported = take.export(tmp_path / "out.wav")
    for place in (kept, kept.with_suffix(".json"), tmp_path / "recipe.json", exported):
        assert Recipe.read(place) == RECIPE


def test_a_sound_can_be_handed_over_and_paths_of_strangers_are_dropped() -> None:
    data = {"task_type": "cover", "prompt": "x", "src_audio": "/home/somebody/a.wav", "reference_audio": "/etc/passwd"}
    assert understand(data, "take-2").recipe.task.sources()["source"] == "take-2"
    with pytest.raises(RecipeError, match="name no sound"):
        understand(data, paths=False)
    found = understand(data, "take-2", paths=False)
    assert found.recipe.task.sources() == {"source": "take-2"}
    assert "reference" in found.remarks[0]
    ours = {"recipe": Recipe("x", task=Cover("/etc/passwd", reference="take-0123456789ab")).to_json()}
    with pytest.raises(RecipeError, match="path"):
        understand(ours, paths=False)


CODES = [
    "<|audio_code_5|><|audio_code_17|>",
    "<|audio_code_5|> <|audio_code_17|>\n",
    "5, 17",
    "5 17",
    "5\n17",
    "[5, 17]",
    [5, 17],
    np.array([5, 17]),
]


@pytest.mark.parametrize("codes", CODES, ids=range(len(CODES)))
def test_codes_are_accepted_as_text_and_numbers_wherever_there_are_codes(codes: Any) -> None:
    assert (
        Text2Music(codes=codes).codes
        == Cover(codes=codes).codes
        == Plan(codes=codes).codes
        == Plan().replace(codes=codes).codes
        == (5, 17)
    )


@pytest.mark.parametrize("codes", ["five", "5, x", "<|audio_code_5|>x", "-5", "1.5", [1.5], [-1], 5, "9" * 400, {1, 2}])
def test_what_are_no_codes_is_a_sentence(codes: Any) -> None:
    for make in (lambda: Text2Music(codes=codes), lambda: Plan(codes=codes)):
        with pytest.raises(RecipeError, match=r"[Aa]udio code"):
            make()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "no settings"), ({"foo": 1}, "no settings"), ([1], "maps names"), ("x", "maps names"), ({"caption": "x", "bpm": "fast"}, "minute"),
        ({"caption": "x", "duration": "long"}, "seconds is a number"), ({"caption": "x", "thinking": "maybe"}, "true or false"),
        ({"task_type": "cover", "caption": "x"}, "source=take"), ({"task_type": "covr", "caption": "x"}, "Did you mean 'cover'"),
        ({"caption": "x", "seed": "seven"}, "such as 7"), ({"caption": "x", "metas": "{"}, "not JSON"), ({"lyrics": ""}, "no words"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_a_sentence(data: Any, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(RecipeError, match=says):
        Recipe.read(tmp_path / "a.json")


@pytest.mark.parametrize(
    "name", ["none.json", ".", "a\0b", "x" * 5000, "~nobody/a.json", "noise.flac", "noise.json", "noise.toml"]
)
def test_a_file_that_cannot_be_read_is_a_sentence(name: str, tmp_path: Path) -> None:
    for ending in ("flac", "json", "toml"):
        (tmp_path / f"noise.{ending}").write_bytes(b"\xff\x00noise" * 9)
    with pytest.raises(RecipeError):
        Recipe.read(name if name.startswith("~") else f"{tmp_path}/{name}")


@profile(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.dictionaries(
    st.sampled_from(sorted({name for names in settings.ALIASES.values() for name in names} | {"metas", "input", "odd"})),
    st.none() | st.booleans() | st.integers(-5, 400) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "N/A", "auto", "x", "1,2", "{}", '{"bpm": 5}', "drums", "cover", "a.wav"]) | st.text(max_size=6)
    | st.lists(st.integers(-1, 9), max_size=3) | st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
    max_size=8,
))  # fmt: skip
def test_any_settings_become_a_recipe_that_survives_or_a_sentence(data: dict[str, Any]) -> None:
    judge(lambda: understand(data))


@pytest.mark.parametrize("name", ["dcw_scaler", "dcwScaler"])
def test_the_high_mode_of_dcw_takes_the_references_first_strength(name: str) -> None:
    base = {"caption": "x", "dcw_enabled": True, "dcw_mode": "high"}
    assert understand({**base, name: 0.3, "dcw_high_scaler": 0.02}).recipe == Recipe("x", dcw="high", dcw_high=0.3)
    assert understand(base).recipe == Recipe("x", dcw="high", dcw_high=0.05)
    assert understand({**base, "dcw_mode": "pix", name: 0.3}).recipe == Recipe("x", dcw="pix", dcw_low=0.3)
    own = Recipe("x", dcw="high", dcw_low=0.1, dcw_high=0.2)
    assert understand(own.to_json()).recipe == own


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("bpm", 0), ("bpm", -1), ("timesignature", 0), ("seconds", -1), ("steps", 0), ("shift", -1), ("keyscale", "-1"),
     ("language", 0)],
)  # fmt: skip
def test_nothing_said_in_numbers_is_open_also_where_all_names_are_ours(name: str, value: object) -> None:
    assert understand({"caption": "x", name: value}).recipe == Recipe("x")


def test_a_recipe_of_ours_with_a_seed_of_nothing_stays_what_it_is() -> None:
    recipe = Recipe("x", seed=0, language="unknown")
    assert understand(recipe.to_json()).recipe == recipe


def test_codes_as_a_list_of_texts_are_one_song_or_the_first_of_several() -> None:
    one = understand({"prompt": "x", "audio_codes": ["<|audio_code_5|>", "<|audio_code_6|>"]})
    several = understand({"prompt": "x", "audio_codes": ["<|audio_code_5|><|audio_code_6|>", "<|audio_code_7|>"]})
    assert one.recipe == several.recipe == Recipe("x", task=Text2Music(codes=(5, 6)))
    assert not one.remarks
    assert "2 songs" in several.remarks[0]

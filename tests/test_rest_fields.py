"""What clients of the REST door send is understood as they mean it: the names, the layers, the defaults, the tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.errors import RecipeError
from acestep_lab.prompt.tasks import Complete, Cover, Extract, Lego, Repaint, Text2Music
from acestep_lab.serve.rest_fields import FIELDS, METAS, RenderRequest, read_request, task_ids

FILE = Path("/tmp/silence.wav")


def read(uploads: dict[str, Path] | None = None, **body: Any) -> RenderRequest:
    return read_request({"prompt": "dub"} | body, uploads, models=("acestep-v15-turbo", "other"))


def first(**body: Any) -> Any:
    return read(**body).recipes[0]


def test_an_empty_request_asks_for_two_mp3s_of_text_to_music_with_seeds_to_be_drawn() -> None:
    request = read()
    assert (request.work, request.audio_format, len(request.recipes)) == ("render", "mp3", 2)
    assert request.recipes[0].task == Text2Music()
    assert [one.seed for one in request.recipes] == [None, None]
    assert request.recipes[0].language == "en"
    assert not request.needs_planner


NUMBERS = {"audio_duration": "seconds", "bpm": "bpm", "inference_steps": "steps", "guidance_scale": "guidance_scale"}


@pytest.mark.parametrize(("name", "alias"), [(name, alias) for name in NUMBERS for alias in FIELDS[name]])
def test_every_alias_of_a_number_is_read_also_as_text(name: str, alias: str) -> None:
    assert getattr(first(**{alias: "30"}), NUMBERS[name]) == 30
    assert getattr(first(**{alias: 30}), NUMBERS[name]) == 30


@pytest.mark.parametrize("value", ["fast", "", [], {}, "nan", "1e999", True])
def test_a_bad_number_becomes_the_default(value: object) -> None:
    recipe = first(bpm=value, audio_duration=value, inference_steps=value, lm_temperature=value)
    assert (recipe.bpm, recipe.seconds, recipe.steps, recipe.planning.temperature) == (None, None, None, 0.85)
    assert len(read(batch_size=value).recipes) == 2


def test_camel_case_is_read_only_where_clients_write_it() -> None:
    assert first(audioDuration=12).seconds == 12
    assert first(lmTemperature=0.1).planning.temperature == 0.85
    assert len(read(batchSize=5).recipes) == 2


@pytest.mark.parametrize("metas", METAS)
def test_the_body_comes_before_param_obj_and_that_before_the_metadata(metas: str) -> None:
    layers = {
        "param_obj": json.dumps({"bpm": 90, "key": "A minor"}),
        metas: {"bpm": 70, "keyscale": "C major", "timesignature": "3"},
    }
    recipe = first(bpm=None, **layers)
    assert (recipe.bpm, recipe.keyscale, recipe.timesignature) == (90, "A minor", "3")
    assert first(bpm=120, **layers).bpm == 120


def test_an_empty_text_counts_as_given() -> None:
    assert read(lyrics="", param_obj={"lyrics": "[Verse]"}).lyrics == ""
    assert first(bpm="", metas={"bpm": 70}).bpm is None
    assert first(key_scale="", metas={"key_scale": "C major"}).keyscale is None


def test_only_the_first_metadata_that_is_there_counts() -> None:
    assert first(meta={"bpm": 80}, userMetadata={"bpm": 60, "key": "C major"}).keyscale is None


@pytest.mark.parametrize("value", [0, -1, "0", "-1", "auto", "N/A"])
def test_zero_minus_one_and_auto_are_left_open(value: object) -> None:
    recipe = first(bpm=value, audio_duration=value, time_signature=value, key_scale=value, vocal_language=value)
    assert (recipe.bpm, recipe.seconds, recipe.timesignature, recipe.keyscale, recipe.language) == (None,) * 5


@pytest.mark.parametrize(("meter", "read_as"), [("4/4", "4"), (4, "4"), ("6/8", "6"), ("3", "3")])
def test_meters_are_read_as_clients_write_them(meter: object, read_as: str) -> None:
    assert first(time_signature=meter).timesignature == read_as


def test_seeds_count_only_where_random_ones_are_switched_off() -> None:
    assert [one.seed for one in read(seed="1,2,3", batch_size=3).recipes] == [None] * 3
    fixed = read(seed="1,2,3", batch_size=4, use_random_seed="false")
    assert [one.seed for one in fixed.recipes] == [1, 2, 3, None]
    assert [one.seed for one in read(seed=7, batch_size=1, useRandomSeed=False).recipes] == [7]
    assert [one.seed for one in read(seed=-1, batch_size=1, use_random_seed=False).recipes] == [None]


@pytest.mark.parametrize("yes", ["1", "true", "YES", "y", "on", True, 1])
def test_yes_is_written_in_many_ways(yes: object) -> None:
    assert first(thinking=yes).planning.thinking is True
    assert first(thinking="").planning.thinking is False


def test_an_unknown_model_is_the_one_in_use() -> None:
    assert read(model="acestep-v15-turbo").model == "acestep-v15-turbo"
    assert read(ditModel="acestep/other").recipes[0].checkpoint == "other"
    assert read(model="never-heard-of").model is None


def test_text_to_music_ignores_the_source_that_some_clients_always_send_but_lets_it_be_cleaned_up() -> None:
    request = read({"src_audio": FILE})
    assert request.recipes[0].task == Text2Music()
    assert request.uploads == (FILE,)


TASKS = {
    "cover": (Cover(str(FILE), 0.4, 0.2), {"audio_cover_strength": 0.4, "cover_noise_strength": "0.2"}),
    "repaint": (
        Repaint(str(FILE), ((2, 5),), mode="aggressive", latent_crossfade=1.0),
        {"repainting_start": 2, "repainting_end": "5", "repaint_mode": "aggressive", "repaint_latent_crossfade_frames": 25},
    ),
    "extract": (Extract(str(FILE), "vocals"), {"trackName": "vocals"}),
    "lego": (Lego(str(FILE), "drums"), {"track_name": "drums", "global_caption": "rock"}),
    "complete": (Complete(str(FILE), ("drums", "bass")), {"instruments": "drums, bass"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_read_and_leaves_the_planner_and_the_length_alone(name: str) -> None:
    task, fields = TASKS[name]
    recipe = first(
        task_type=name, src_audio_path=str(FILE), audio_duration=30, thinking=True, use_format=True, **fields
    )
    assert recipe.task == task
    assert (recipe.seconds, recipe.planning.thinking) == (None, None)
    assert not read(task_type=name, src_audio_path=str(FILE), thinking=True, format=True, **fields).needs_planner


@pytest.mark.parametrize("end", [None, -1, "", 0])
def test_a_repaint_without_an_end_goes_to_the_end(end: object) -> None:
    task = first(task_type="repaint", src_audio_path="a.wav", repainting_start=3, repainting_end=end).task
    assert (task.regions[0].start, task.regions[0].end) == (3, 600)


def test_an_upload_wins_over_a_path_and_only_paths_are_looked_up() -> None:
    asked: list[str] = []
    body = {"task_type": "cover", "src_audio_path": "/etc/x", "ref_audio_path": "b.wav"}
    task: Any = (
        read_request(body | {"prompt": "x"}, {"ctx_audio": FILE}, place=lambda path: asked.append(path) or "ok")
        .recipes[0]
        .task
    )  # type: ignore[func-returns-value]
    assert (task.source, task.reference, asked) == (str(FILE), "ok", ["b.wav"])


def test_codes_are_read_in_both_forms_and_need_no_thinking() -> None:
    for codes in ("<|audio_code_5|><|audio_code_6|>", [5, 6], ["<|audio_code_5|><|audio_code_6|>"]):
        recipe = first(audio_code_string=codes, thinking=True)
        assert (recipe.task.codes, recipe.planning.thinking) == ((5, 6), None)


def test_samples_and_formats_are_asked_of_the_planner() -> None:
    assert read_request({"description": "a sad song"}).sketch == "a sad song"
    assert read(sample_mode=True).sketch == "dub"
    assert read(sample_query="").sketch == ""
    assert read(format="true").polish
    assert not read(use_format=True, sample_query="x").polish


def test_analyses_need_a_sound_or_words() -> None:
    assert read(full_analysis_only=True, src_audio_path="a.wav").work == "full_analysis"
    codes = read(extractCodesOnly="true", src_audio_path="a.wav")
    assert (codes.work, codes.source, codes.recipes) == ("codes", "a.wav", ())
    assert len(read(analysis_only=1).recipes) == 1
    with pytest.raises(RecipeError, match="starts from a sound"):
        read(extract_codes_only=True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"task_type": "stem_separation"}, "is no task"),
        ({"task_type": "cover"}, "starts from a sound"),
        ({"task_type": "extract", "src_audio_path": "a.wav"}, "name of a stem"),
        ({"batch_size": 9}, "1 to 8"),
        ({"audio_format": "exe"}, "audio_format is"),
        ({"prompt": ""}, "no words"),
        ({"prompt": ["a"]}, "is text"),
        ({"param_obj": "{broken"}, "param_obj"),
        ({"bpm": 1000}, "bpm|tempo|beats"),
        ({"time_signature": "5/4"}, "meter"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(body: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as refused:
        read(**body)
    assert len(str(refused.value)) < 300


def test_tasks_are_asked_about_by_a_list_or_its_json_text() -> None:
    assert task_ids({"task_id_list": ["a", "b"]}) == ["a", "b"]
    assert task_ids({"task_id_list": '["a"]'}) == ["a"]
    assert task_ids({"task_id_list": []}) == []
    for wrong in (None, {}, 5, [["a"]], '["a"'):
        with pytest.raises(RecipeError):
            task_ids({"task_id_list": wrong})


# -- the clients, as they send


DAW = {
    "task_type": "text2music", "prompt": "lofi", "global_caption": "", "lyrics": "[Verse]\nla", "audio_duration": "30",
    "bpm": "92", "key_scale": "C major", "time_signature": "4", "inference_steps": "8", "guidance_scale": "7", "shift": "3",
    "batch_size": "1", "audio_format": "wav", "thinking": "true", "model": "", "seed": "42", "use_random_seed": "false",
    "use_cot_caption": "false", "vocal_language": "en", "sample_mode": "false", "sample_query": "", "use_format": "false",
    "negative_prompt": "noise", "chunk_mask_mode": "auto", "repainting_start": "0", "repainting_end": "-1",
}  # fmt: skip
VST3 = {
    "prompt": "bass", "lyrics": "", "task_type": "text2music", "audio_duration": 20.0, "batch_size": 1,
    "audio_format": "wav", "thinking": False, "use_random_seed": False, "seed": 5, "inference_steps": 8,
    "guidance_scale": 7.0, "model": "acestep-v15-turbo",
}  # fmt: skip
SKILL = {
    "prompt": "piano", "lyrics": "", "sample_query": "", "thinking": True, "audio_duration": 60, "batch_size": 1,
    "use_format": False, "vocal_language": "en", "audio_format": "mp3",
}  # fmt: skip
WRANGLER = {"prompt": "x", "sample_query": "", "src_audio_path": "/tmp/a.wav", "full_analysis_only": True}
UI = {
    "prompt": "pop", "lyrics": "[Chorus]", "guidance_scale": 10, "use_cot_caption": False, "use_cot_language": False,
    "lm_backend": "pt", "batch_size": 1, "inference_steps": 8, "audio_format": "mp3", "use_random_seed": True, "seed": -1,
    "reference_audio_path": "", "src_audio_path": "", "repainting_end": -1, "vocal_language": "unknown", "bpm": 0,
    "audio_duration": -1, "key_scale": "", "time_signature": "",
}  # fmt: skip


def test_a_daw_that_sends_everything_as_text_with_a_silent_source_gets_its_song() -> None:
    request = read({"src_audio": FILE}, **DAW)
    recipe = request.recipes[0]
    assert (recipe.seed, recipe.bpm, recipe.seconds, recipe.steps, recipe.timesignature) == (42, 92, 30, 8, "4")
    assert (recipe.task, request.audio_format, request.needs_planner) == (Text2Music(), "wav", True)


def test_the_plugin_is_understood() -> None:
    recipe = read(**VST3).recipes[0]
    assert (recipe.seed, recipe.checkpoint, recipe.planning.thinking) == (5, "acestep-v15-turbo", False)


def test_the_agents_script_wrangler_and_the_old_page_are_understood() -> None:
    assert read(**SKILL).sketch == ""
    assert read(**SKILL).recipes[0].planning.thinking is True
    assert read(**WRANGLER).work == "full_analysis"
    recipe = read(**UI).recipes[0]
    assert (recipe.seconds, recipe.bpm, recipe.language, recipe.guidance_scale) == (None, None, None, 10)
    assert recipe.planning.rewrite_caption is False

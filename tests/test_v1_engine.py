"""ACE-Step v1 behind the contract, on a tiny random checkpoint in the published folders: tasks, sampling, damaged files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.ace_v1.checkpoint import Checkpoint
from acestep_lab.engines.ace_v1.engine import AceV1Engine
from acestep_lab.engines.contract import Bench, tone
from acestep_lab.engines.registry import open_engine
from acestep_lab.errors import CheckpointError, MachineError, RecipeError, SourceError
from acestep_lab.models.adapters import Adapter
from acestep_lab.models.precision import Int8Mode
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSamplingV1
from acestep_lab.prompt.tasks import Cover, Extend, FlowEdit, Region, Repaint, Retake, Task, Text2Music
from acestep_lab.takes.take import Take
from tests.test_v1_training import diffusers_file
from tests.tiny_v1 import tiny_v1

WORDS = "[verse]\nhello there\nmy friend"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_v1(tmp_path_factory.mktemp("v1") / "tiny", whole=True)


@pytest.fixture(scope="module")
def bench(folder: Path) -> Bench:
    return Bench(open_engine(folder), 2.0, {"steps": 4})


def made(bench: Bench, task: Task | None = None, **changes: Any) -> Take:
    """A take as a session would keep it, but with its sources in it."""
    recipe = bench.recipe(task=task, **changes)
    request = bench.resolve(recipe)
    (rendered,) = bench.rendered([request.recipe])
    made_with = dict(bench.engine.made_with()) | {"gain": rendered.gain}
    return Take(request.recipe, rendered.audio, rendered.latent.numpy(), made_with=made_with)


def test_what_the_published_file_holds_and_nobody_calls_is_left_on_the_disk(folder: Path, bench: Bench) -> None:
    held = sum(tensor.numel() for tensor in bench.engine.build("dit", torch.float32).state_dict().values())
    assert {one.name: one.bytes for one in bench.engine.component_specs()}["dit"] == 2 * held
    assert held * 4 < (folder / "ace_step_transformer" / "diffusion_pytorch_model.safetensors").stat().st_size


def test_words_and_lyrics_are_heard_and_a_song_without_lyrics_needs_no_vocabulary(bench: Bench, tmp_path: Path) -> None:
    plain, sung = made(bench), made(bench, lyrics=WORDS)
    assert not np.array_equal(plain.latent, sung.latent)
    assert not np.array_equal(plain.latent, made(bench, caption="a piano").latent)
    bare = Bench(open_engine(tiny_v1(tmp_path / "bare", words=False)), 1.0, {"steps": 1})
    assert made(bare, lyrics="[Instrumental]").audio.seconds == 1.0
    with pytest.raises(CheckpointError, match=r"vocab\.json"):
        bare.resolve(bare.recipe(lyrics=WORDS))


def test_a_repaint_keeps_every_sample_outside_and_changes_within(bench: Bench) -> None:
    source = made(bench)
    take = made(bench, Repaint(source, (Region(0.5, 1.0),), mode="aggressive"))
    rate = take.audio.rate
    outside = np.r_[0 : int(0.5 * rate), int(1.0 * rate) : len(source.audio.samples[0])]
    assert np.array_equal(take.audio.samples[:, outside], source.audio.samples[:, outside])
    within = slice(int(0.55 * rate), int(0.95 * rate))
    assert not np.array_equal(take.audio.samples[:, within], source.audio.samples[:, within])
    frames = bench.resolve(take.recipe).root.regions[0].frames(bench.can.latent.frames_per_second)  # type: ignore[union-attr]
    kept = np.r_[0 : frames.start, frames.stop : len(source.latent)]
    assert np.array_equal(take.latent[kept], source.latent[kept])


def test_the_less_a_repaint_may_vary_the_fewer_steps_it_takes(bench: Bench) -> None:
    source = made(bench)
    taken = [
        bench.resolve(bench.recipe(task=Repaint(source, (Region(0.5, 1.0),), strength=strength), steps=20)).steps
        for strength in (0.1, 0.5, 1.0)
    ]
    assert taken == [2, 10, 20]


@pytest.mark.parametrize(("before", "after"), [(0.0, 1.0), (1.0, 0.0), (0.7, 0.4)])
def test_an_extension_keeps_its_source_and_lasts_as_long_as_said(bench: Bench, before: float, after: float) -> None:
    source = made(bench)
    take = made(bench, Extend(source, before, after))
    request = bench.resolve(take.recipe)
    start = round((request.seconds - after - source.audio.seconds) * 48_000)
    seam = round(0.03 * 48_000)
    whole = len(source.audio.samples[0])
    kept = slice(seam if before else 0, whole - (seam if after else 0))
    assert np.array_equal(take.audio.samples[:, start:][:, kept], source.audio.samples[:, kept])
    assert take.audio.seconds == pytest.approx(2.0 + before + after, abs=0.1)
    assert take.audio.samples[:, :start].any() or not before


def test_a_retake_turns_the_noise_and_at_nought_is_the_same_take(bench: Bench) -> None:
    source = made(bench, lyrics=WORDS)
    same, near, far = (made(bench, Retake(source, variance, 7), caption="") for variance in (0.0, 0.2, 1.0))
    assert np.array_equal(same.latent, source.latent)
    assert same.recipe.lyrics == source.recipe.lyrics
    distances = [float(np.square(one.latent - source.latent).mean()) for one in (near, far)]
    assert 0 < distances[0] < distances[1]
    again = made(bench, Retake(near, 0.5, 8))
    assert bench.resolve(again.recipe).turns == ((7, 0.2), (8, 0.5))  # type: ignore[attr-defined]


def test_a_cover_keeps_the_more_of_its_source_the_more_it_is_told_to(bench: Bench) -> None:
    sound = tone(2.0, 48_000, 2)
    source = bench.engine.encode(sound).numpy()
    distances = [
        float(
            np.square(
                made(bench, Cover(sound, noise_strength=kept, through_codes=False), steps=8).latent - source
            ).mean()
        )
        for kept in (0.9, 0.3)
    ]
    assert distances[0] < distances[1]
    assert bench.resolve(bench.recipe(task=Cover(sound))).task.noise_strength == 0.5  # type: ignore[union-attr]


def test_an_edit_to_its_own_description_leaves_the_sound_and_another_moves_it(bench: Bench) -> None:
    source = made(bench, lyrics=WORDS)
    same = made(bench, FlowEdit(source), caption=source.recipe.caption, lyrics=WORDS)
    other = made(bench, FlowEdit(source), caption="a piano", lyrics="[verse]\nbonjour")
    distances = [float(np.abs(one.latent - source.latent).max()) for one in (same, other)]
    assert distances[0] < 1e-4 < distances[1]


@pytest.mark.parametrize(
    "knobs",
    [
        {"solver": "heun"}, {"solver": "pingpong", "guidance": "cfg_star"}, {"guidance": "cfg", "guidance_decay": 1.0},
        {"guidance_scale": 0.0}, {"guidance_scale_text": 5.0, "guidance_scale_lyric": 1.5}, {"own_steps": (2, 9, 16)},
        {"erg_tag": False, "erg_lyric": False, "erg_diffusion": False}, {"guidance_share": 1.0},
    ],
)  # fmt: skip
def test_every_knob_moves_the_music_and_ends_at_the_song(bench: Bench, knobs: dict[str, Any]) -> None:
    recipe = bench.recipe(lyrics=WORDS).replace(sampling=FlowSamplingV1(**{"steps": 4} | knobs))
    usual, (changed,) = made(bench, lyrics=WORDS), bench.rendered([recipe])
    assert np.isfinite(changed.latent.numpy()).all()
    assert not np.array_equal(changed.latent.numpy(), usual.latent)


def test_a_batch_of_different_words_and_lengths_of_lyrics_is_made_as_each_alone(bench: Bench) -> None:
    recipes = [
        bench.recipe(lyrics=WORDS),
        bench.recipe(seed=2, caption="a longer caption than that"),
        bench.recipe(seed=3),
    ]
    for one, alone in zip(bench.rendered(recipes), (bench.rendered([each])[0] for each in recipes), strict=True):
        assert float((one.latent - alone.latent).abs().max()) <= 1e-4 * float(alone.latent.abs().max())


@pytest.mark.parametrize("part", ["ace_step_transformer", "music_dcae_f8c8", "music_vocoder", "umt5-base"])
@pytest.mark.parametrize("damage", ["gone", "no weights", "cut short", "config of another"])
def test_a_folder_with_a_part_missing_or_damaged_is_a_sentence(
    folder: Path, tmp_path: Path, part: str, damage: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = next((copy / part).glob("*.safetensors"))
    {
        "gone": lambda: shutil.rmtree(copy / part),
        "no weights": weights.unlink,
        "cut short": lambda: weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2]),
        "config of another": lambda: (copy / part / "config.json").write_text(
            '{"model_type": "qwen3", "num_layers": 2}'
        ),
    }[damage]()
    with pytest.raises(CheckpointError) as told:
        build_all(copy)
    assert len(str(told.value)) < 300
    assert str(told.value).endswith(".")


def build_all(folder: Path) -> None:
    engine = open_engine(folder)
    for component in engine.capabilities.components:
        engine.build(component, torch.float32)


def test_a_pickle_is_never_read(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for file in (copy / "music_vocoder").glob("*.safetensors"):
        file.rename(file.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="safetensors"):
        open_engine(copy).build("codec", torch.float32)


SOUND = tone(2.0, 48_000, 2)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda bench: bench.recipe(seconds=241), "240 s"),
        (lambda bench: bench.recipe(seconds=0.5), "too short"),
        (lambda bench: bench.recipe(task=Extend(SOUND, before=1, after=239)), "240 s at once"),
        (lambda bench: bench.recipe(task=Text2Music(codes=(1, 2))), "no codes"),
        (lambda bench: bench.recipe(task=Cover(SOUND, strength=0.5)), "no strength"),
        (lambda bench: bench.recipe(task=Repaint(SOUND, (Region(3, 4),))), "begins after"),
        (lambda bench: bench.recipe(caption="", lyrics=""), "no words"),
        (lambda bench: bench.recipe(lyrics="ฉันรักเธอ"), "Thai"),
        (lambda bench: bench.recipe(lyrics="hi", language="vi"), "reads no lyrics"),
        (lambda bench: bench.recipe().replace(thinking=True), "no planner"),
        (lambda bench: bench.recipe().replace(solver="dpmpp2m"), "solver"),
        (lambda bench: bench.recipe(task=Retake(SOUND, 0.5, 1)), "bare sound"),
        (lambda bench: bench.recipe(task=Cover(Audio(np.zeros((2, 48_000), np.float32), 48_000))), "silent"),
    ],
)
def test_what_cannot_be_made_is_said_before_any_work(bench: Bench, asked: Callable[[Bench], Recipe], told: str) -> None:
    before = len(bench.devices.wanted)
    with pytest.raises((RecipeError, SourceError), match=told):
        bench.resolve(asked(bench))
    assert len(bench.devices.wanted) == before


def test_a_preview_is_what_is_heard_in_the_whole(bench: Bench) -> None:
    engine: Any = bench.engine
    take = made(bench)
    heard, whole = engine.preview(take.latent, 0.3, 0.6).samples, engine.decode_latent(take.latent).samples
    inner = slice(0, heard.shape[1] - 2_000)  # resampling hears nothing beyond the preview's end
    assert np.abs(heard[:, inner] - whole[:, inner]).max() < 1e-4 * np.abs(whole).max()


def test_compiled_blocks_give_the_same_music_and_hear_erg_and_adapters_put_on_later(
    folder: Path, bench: Bench, tmp_path: Path
) -> None:
    looked_at: list[object] = []

    def watched(graph: Any, examples: Any) -> Any:
        looked_at.append(graph)
        return graph.forward

    engine = AceV1Engine(Checkpoint.open(folder), compiler=lambda block: block.compile(backend=watched, dynamic=True))
    compiled = Bench(engine, 2.0, {"steps": 2})
    for knobs in ({"erg_diffusion": False}, {}):
        recipe = bench.recipe(lyrics=WORDS).replace(sampling=FlowSamplingV1(steps=2, **knobs))
        mine, plain = compiled.rendered([recipe])[0].latent, bench.rendered([recipe])[0].latent
        assert float((mine - plain).abs().max()) <= 1e-4 * float(plain.abs().max()), knobs
    assert looked_at, "nothing was compiled"
    engines, adapter = (engine, cast("AceV1Engine", bench.engine)), Adapter.open(diffusers_file(tmp_path / "rap"))
    before = bench.rendered([bench.recipe()])[0].latent
    try:
        for one in engines:
            one.attach([(adapter, 1.0)])
        mine, plain = (one.rendered([bench.recipe()])[0].latent for one in (compiled, bench))
    finally:
        for one in engines:
            one.attach([])
    assert float((plain - before).abs().max()) > 1e-2 * float(plain.abs().max()), "the adapter is heard"
    assert float((mine - plain).abs().max()) <= 1e-4 * float(plain.abs().max())
    assert list(engine.build("dit", torch.float32).state_dict()) == list(
        bench.engine.build("dit", torch.float32).state_dict()
    )


def test_whole_numbers_are_measured_on_the_first_song_and_taken_where_close(folder: Path, bench: Bench) -> None:
    mode = Int8Mode(compare_speed=lambda *_: (2.0, 1.0))
    made_so = Bench(AceV1Engine(Checkpoint.open(folder), mode), 2.0, {"steps": 4})
    prepared = made_so.engine.prepare([made_so.resolve(made_so.recipe(lyrics=WORDS))])
    assert mode.decision is not None
    assert str(mode.decision) in prepared[0].remarks
    assert made_so.engine.made_with()["precision"] == mode.chosen
    plain, whole = (one.rendered([bench.recipe(lyrics=WORDS)])[0].latent for one in (bench, made_so))
    distance = float((whole - plain).norm() / plain.norm())
    assert (0 < distance < 0.5) == mode.decision.open, str(mode.decision)
    with pytest.raises(MachineError, match="precision is"):
        Bench(open_engine(folder, precision="int4"), 1.0, {})

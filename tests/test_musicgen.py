"""MusicGen: the same codes as transformers' own loop, the same melody as its feature extractor, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from acestep_lab._libraries import transformers
from acestep_lab.audio.audio import Audio
from acestep_lab.engines import musicgen, registry
from acestep_lab.engines.contract import Bench, PlainDevices, digest, final_states, tone
from acestep_lab.engines.musicgen import catalog
from acestep_lab.engines.musicgen.checkpoint import Checkpoint
from acestep_lab.engines.musicgen.chroma import HOP, loudness_by_pitch_class, melody
from acestep_lab.engines.musicgen.codec import Codec
from acestep_lab.engines.musicgen.engine import RATE, MusicGenEngine
from acestep_lab.engines.musicgen.generation import Conditions, Generation, draw
from acestep_lab.engines.musicgen.request import Rules
from acestep_lab.engines.musicgen.task_rows import TASK_ROWS
from acestep_lab.engines.musicgen.windows import Window, delayed, delays, undelayed, windows
from acestep_lab.errors import CheckpointError, LabError, RecipeError, SourceError, Stopped
from acestep_lab.models.assembly import empty
from acestep_lab.models.download.hub import RemoteFile
from acestep_lab.models.storage import store
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import TokenSampling
from acestep_lab.prompt.tasks import MODEL_TASKS, Cover, Extend, Repaint, Retake, Text2Music
from acestep_lab.session import Session
from tests import tiny_musicgen as tiny
from tests.closeness import assert_near

KINDS = {
    "mono": {},
    "stereo": {"stereo": True},
    "melody": {"melody": True},
    "stereo-melody": {"stereo": True, "melody": True},
}
GREEDY = TokenSampling(temperature=0.0, top_k=0, top_p=1.0, guidance_scale=3.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("musicgen")
    return {name: tiny.tiny_musicgen(root / name, **kind) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    """The same random models as transformers runs them."""
    return {name: tiny.tiny_model(**kind) for name, kind in KINDS.items()}


def engine_of(folder: Path, **how: float) -> MusicGenEngine:
    engine = MusicGenEngine(Checkpoint.open(folder), **how)
    PlainDevices(engine)
    return engine


@pytest.fixture(scope="module")
def engines(folders: dict[str, Path]) -> dict[str, MusicGenEngine]:
    return {name: engine_of(folder) for name, folder in folders.items()}


def codes_of(engine: MusicGenEngine, recipe: Recipe) -> torch.Tensor:
    prepared = engine.prepare([engine.resolve(recipe, None, lambda sound: sound, 600.0)])
    return final_states(engine.sample(prepared, lambda: None))[0].long()


def generated(model: Any, frames: int, **inputs: Any) -> torch.Tensor:
    """The codes `[frames, codebooks]` that transformers' greedy, guided `generate` decodes."""
    handed: list[torch.Tensor] = []
    decode = model.audio_encoder.decode

    def listening(codes: torch.Tensor, *args: Any, **how: Any) -> Any:
        handed.append(codes)
        return decode(codes, *args, **how)

    model.audio_encoder.decode = listening
    try:
        longest = frames + max(delays(model.decoder.num_codebooks, model.decoder.config.audio_channels)) + 1
        model.generate(**inputs, do_sample=False, guidance_scale=3.0, max_length=longest)
    finally:
        del model.audio_encoder.decode
    found = [codes[0, 0].T for codes in handed]
    if len(found) == 1:
        return found[0]
    return torch.stack(found, dim=-1).reshape(len(found[0]), -1)  # left and right take turns


def words(engine: MusicGenEngine, caption: str) -> dict[str, torch.Tensor]:
    ids = torch.tensor([engine.checkpoint.tokenizer().encode(caption).ids])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


# --- the loop --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_codes_are_those_of_generate(
    kind: str, engines: dict[str, MusicGenEngine], theirs: dict[str, Any]
) -> None:
    engine = engines[kind]
    ours = codes_of(engine, Recipe("slow dub techno", seconds=1.2, seed=1, sampling=GREEDY))
    expected = generated(theirs[kind], 30, **words(engine, "slow dub techno"))
    assert torch.equal(ours, expected)
    assert len(torch.unique(ours)) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_a_sound_gives_the_codes_of_generate_with_a_prompt(
    kind: str, engines: dict[str, MusicGenEngine], theirs: dict[str, Any]
) -> None:
    engine = engines[kind]
    source = tone(0.8, tiny.RATE, 2 if "stereo" in kind else 1)  # 20 frames
    ours = codes_of(engine, Recipe("dub", seed=1, sampling=GREEDY, task=Extend(source, after=0.4)))
    heard: dict[str, Any] = {"input_values": torch.from_numpy(source.samples.copy())[None]}
    if "melody" in kind:  # transformers' melody models take codes, and no sound, to go on from
        sound = heard.pop("input_values")
        heard["decoder_input_ids"] = Codec(theirs[kind].audio_encoder, sound.shape[1]).encode(sound[0]).T
    expected = generated(theirs[kind], 30, **words(engine, "dub"), **heard)
    assert torch.equal(ours, expected)


def test_a_melody_gives_the_codes_of_generate_with_its_features(
    engines: dict[str, MusicGenEngine], theirs: dict[str, Any]
) -> None:
    engine, source = engines["melody"], tone(20.0, tiny.RATE, 1)
    ours = codes_of(engine, Recipe("dub", seconds=1.2, seed=1, sampling=GREEDY, task=Cover(source)))
    features = torch.from_numpy(melody(source.samples[0], tiny.RATE))[None]
    assert torch.equal(ours, generated(theirs["melody"], 30, **words(engine, "dub"), input_features=features))
    without = codes_of(engine, Recipe("dub", seconds=1.2, seed=1, sampling=GREEDY))
    assert not torch.equal(ours, without)


def test_guided_logits_are_those_of_transformers(engines: dict[str, MusicGenEngine], theirs: dict[str, Any]) -> None:
    engine, model = engines["mono"], theirs["mono"]
    asked = words(engine, "slow dub")
    start = torch.full((4, 1), tiny.WORDS)
    plain = model(**asked, decoder_input_ids=start).logits[:, -1]
    null = model(
        encoder_outputs=(torch.zeros(1, len(asked["input_ids"][0]), 16),),
        attention_mask=torch.zeros_like(asked["attention_mask"]),
        decoder_input_ids=start,
    ).logits[:, -1]
    expected = transformers.ClassifierFreeGuidanceLogitsProcessor(3.0)(start, torch.cat([plain, null]))
    prepared = engine.prepare([engine.resolve(Recipe("slow dub", seconds=1, sampling=GREEDY), None, lambda s: s, 600)])
    with engine.devices.on("decoder") as decoder:
        found = engine._generation(prepared[0]).logits(decoder, torch.device("cpu"))
    assert_near(found, expected)


def test_memory_that_runs_out_within_a_token_changes_no_code(engines: dict[str, MusicGenEngine]) -> None:
    engine = engines["mono"]
    recipe = Recipe("dub", seconds=1, seed=4, sampling=GREEDY)
    expected = codes_of(engine, recipe)

    class Poor(PlainDevices):
        """Devices whose memory runs out in the middle of every ninth use of the decoder."""

        times = 0

        def run_with_retry(self, component: str, operation: Callable[[Any], Any]) -> Any:
            Poor.times += component == "decoder"
            if component == "decoder" and Poor.times % 9 == 0:
                with self.on(component) as module:
                    layer = module.decoder.model.decoder.layers[1]
                    hook = layer.register_forward_pre_hook(
                        lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory"))
                    )
                    with pytest.raises(RuntimeError, match="out of memory"):
                        operation(module)
                    hook.remove()
            return super().run_with_retry(component, operation)

    poor = MusicGenEngine(engine.checkpoint)
    Poor(poor)
    assert torch.equal(codes_of(poor, recipe), expected)
    assert Poor.times > 9


def test_one_number_is_drawn_for_each_codebook_whatever_the_rules() -> None:
    logits = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    for rules in (Rules(1.0, 0, 1.0, 3.0), Rules(0.7, 5, 0.8, 3.0), Rules(0.0, 0, 1.0, 3.0)):
        generator = torch.Generator().manual_seed(7)
        drawn = draw(logits, rules, generator)
        assert drawn.shape == (4,)
        fresh = torch.Generator().manual_seed(7)
        torch.rand(4, generator=fresh, dtype=torch.float64)
        assert torch.equal(generator.get_state(), fresh.get_state())
    likeliest = logits.argmax(dim=1)
    for rules in (Rules(1.0, 1, 1.0, 3.0), Rules(1.0, 0, 0.01, 3.0)):
        assert torch.equal(draw(logits, rules, torch.Generator().manual_seed(3)), likeliest)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -30.0]])
    generator = torch.Generator().manual_seed(5)
    drawn = torch.cat([draw(logits, Rules(1.0, 0, 1.0, 1.0), generator) for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / 4000
    assert float((shares - logits[0].softmax(0)).abs().max()) < 0.03


# --- windows and the delay pattern -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("known", [0, 3, 9])
def test_the_delay_pattern_is_transformers(channels: int, known: int) -> None:
    codebooks, frames = 4 * channels, 12
    late = delays(codebooks, channels)
    model = transformers.MusicgenForCausalLM(
        transformers.MusicgenDecoderConfig(
            vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, ffn_dim=8, pad_token_id=32,
            num_codebooks=codebooks, audio_channels=channels,
        )
    )  # fmt: skip
    codes = torch.randint(0, 32, (known, codebooks), generator=torch.Generator().manual_seed(known))
    begun = torch.cat([torch.full((codebooks, 1), 32), codes.T], dim=1)
    _, pattern = model.build_delay_pattern_mask(begun, pad_token_id=32, max_length=frames + max(late) + 1)
    grid, is_open = delayed(codes, frames, late, pad=32)
    assert torch.equal(is_open, pattern == -1)
    assert torch.equal(grid[~is_open], pattern[~is_open])
    grid[is_open] = torch.arange(int(is_open.sum())) % 32
    assert torch.equal(undelayed(grid, frames, late)[:known], codes)
    assert int((undelayed(grid, frames, late) == 32).sum()) == 0


def test_windows_write_every_frame_once_and_hear_enough_before_it() -> None:
    for frames in (1, 20, 29, 30, 31, 48, 49, 100, 119):
        for known in range(0, frames, 7):
            found = windows(frames, known, 30, 18)
            written = [frame for window in found for frame in range(window.start, window.end)]
            assert written == list(range(known, frames))
            assert all(window.end - window.begin <= 30 for window in found)
            assert all(window.start - window.begin >= min(12, window.start) for window in found)
    assert windows(66, 0, 30, 18) == (Window(0, 0, 30), Window(18, 30, 48), Window(36, 48, 66))  # audiocraft's stride
    assert windows(40, 36, 30, 18)[0].begin == 10  # what is short hears more of what was before


def test_more_than_a_window_is_stitched_and_says_so(folders: dict[str, Path]) -> None:
    engine = engine_of(folders["mono"], window_seconds=1.0, stride_seconds=0.6)
    bench = Bench(engine, 2.5, {})
    request = bench.resolve(bench.recipe())
    assert any(remark.startswith("Stitched:") for remark in request.remarks)
    assert not bench.resolve(bench.recipe(seconds=1.0)).remarks
    made = bench.rendered([bench.recipe()])[0]
    assert made.latent.shape == (63, 4)
    assert made.audio.seconds == 2.5
    long = Extend(tone(3.0, RATE, 1), after=0.3)
    assert bench.resolve(bench.recipe(task=long)).remarks == (
        "mono hears the last 0.68 s of the source and goes on from there.",
    )
    short = bench.rendered([bench.recipe(seconds=1.0)])[0]
    assert torch.equal(made.latent[:25], short.latent)  # the first window is a song of its own
    assert bench.engine.made_with()["window_seconds"] == 1.0


def test_a_stitched_window_goes_on_from_the_codes_before_it(engines: dict[str, MusicGenEngine]) -> None:
    late, text = delays(4, 1), Conditions(torch.zeros(1, 16), False)
    rules = Rules(0.0, 0, 1.0, 1.0)
    with engines["mono"].devices.on("decoder") as decoder:

        def written(known: torch.Tensor, found: tuple[Window, ...]) -> torch.Tensor:
            song = Generation(found, known, late, tiny.WORDS, text, rules, 1)
            for _ in range(song.steps):
                song.advance(lambda work: work(decoder), lambda: torch.device("cpu"))
            return song.codes

        whole = written(torch.zeros(0, 4, dtype=torch.long), windows(34, 0, 20, 12))
        second = written(whole[12:20], windows(20, 8, 20, 12))
    assert torch.equal(whole[20:32], second[8:])


def test_the_longest_song_is_two_minutes_and_more_is_refused(engines: dict[str, MusicGenEngine]) -> None:
    engine = engines["mono"]
    assert engine.capabilities.seconds == (0.5, 120.0)
    request = engine.resolve(Recipe("dub", seconds=120), None, lambda sound: sound, 600.0)
    assert "6 windows" in request.remarks[0]
    with pytest.raises(RecipeError, match="up to 120 s"):
        engine.resolve(Recipe("dub", seconds=121), None, lambda sound: sound, 600.0)
    with pytest.raises(RecipeError, match="up to 45 s"):
        engine.resolve(Recipe("dub", seconds=60), None, lambda sound: sound, 45.0)


# --- EnCodec ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [tiny.RATE * 2, tiny.RATE * 2 - 37, 64])
def test_sound_coded_in_pieces_is_sound_coded_at_once(length: int, theirs: dict[str, Any]) -> None:
    model = theirs["mono"].audio_encoder
    samples = torch.from_numpy(tone(2.0, tiny.RATE, 1).samples[:, :length].copy())
    expected = model.encode(samples[None]).audio_codes[0, 0].T
    codes = Codec(model, 1, tile=9).encode(samples)
    assert torch.equal(codes, expected)
    assert_near(Codec(model, 1, tile=9).decode(codes), model.decode(codes.T[None, None], [None]).audio_values[0], 1e-4)


def test_left_and_right_are_coded_apart(theirs: dict[str, Any]) -> None:
    model = theirs["stereo"].audio_encoder
    left, right = tone(1.0, tiny.RATE, 1).samples[0], tone(1.0, tiny.RATE, 1).samples[0, ::-1]
    both = torch.from_numpy(np.stack([left, right]))
    codes = Codec(model, 2).encode(both)
    assert torch.equal(codes[:, ::2], Codec(model, 1).encode(both[:1]))
    assert torch.equal(codes[:, 1::2], Codec(model, 1).encode(both[1:]))
    assert_near(Codec(model, 2).decode(codes)[1], Codec(model, 1).decode(codes[:, 1::2])[0], 1e-4)


def test_only_what_is_needed_is_decoded(theirs: dict[str, Any]) -> None:
    codec = Codec(theirs["mono"].audio_encoder, 1, tile=10)
    codes = torch.randint(0, tiny.WORDS, (45, 4), generator=torch.Generator().manual_seed(1))
    heard: list[float] = []
    part, whole = codec.decode(codes, progress=heard.append, first=25), codec.decode(codes)
    assert float(part[:, : 25 * 64].abs().max()) == 0.0
    assert torch.equal(part[:, 25 * 64 :], whole[:, 25 * 64 :])
    assert heard == [30 / 45, 40 / 45, 1.0]


# --- melody ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.2, 1.0, 5.3])
def test_a_melody_is_that_of_transformers_feature_extractor(seconds: float) -> None:
    pytest.importorskip("torchaudio")

    noise = np.random.default_rng(1).normal(0, 0.02, round(seconds * 32000)).astype(np.float32)
    sound = tone(seconds, 32000, 1).samples[0] + noise
    extract = transformers.MusicgenMelodyFeatureExtractor()
    theirs = extract(sound, sampling_rate=32000, return_tensors="pt")["input_features"][0].numpy()
    ours = melody(sound, 32000)
    assert ours.shape == theirs.shape
    assert float((ours == theirs).all(axis=1).mean()) >= 0.98  # two equally loud classes may be told apart by rounding
    padded = sound if len(sound) >= 16384 else np.pad(sound, ((16384 - len(sound)) // 2, -(-(16384 - len(sound)) // 2)))
    spectrum = extract.spectrogram(torch.from_numpy(padded)[None])
    classes = torch.einsum("cf,...ft->...ct", extract.chroma_filters, spectrum)
    loudest = torch.nn.functional.normalize(classes, p=float("inf"), dim=-2, eps=1e-6)[0].T
    assert_near(loudness_by_pitch_class(sound, 32000), loudest, 1e-4)


def test_a_melody_is_one_pitch_class_a_moment() -> None:
    at = np.arange(32000 * 2) / 32000
    sound = np.where(at < 1, np.sin(2 * np.pi * 440 * at), np.sin(2 * np.pi * 261.63 * at)).astype(np.float32)
    found = melody(sound, 32000)
    assert found.shape == (1 + len(sound) // HOP, 12)
    assert (found.sum(axis=1) == 1).all()
    assert found[2].argmax() == 9  # A
    assert found[-3].argmax() == 0  # C
    assert (melody(np.zeros(40000, np.float32), 32000).argmax(axis=1) == 0).all()


def test_each_window_of_a_long_cover_follows_the_melody_from_its_own_begin(folders: dict[str, Path]) -> None:
    engine = engine_of(folders["melody"], window_seconds=12.0, stride_seconds=8.0)
    source = tone(24.0, tiny.RATE, 1)
    request = engine.resolve(Recipe("dub", task=Cover(source)), None, lambda sound: sound, 600.0)
    melodies = engine.prepare([request])[0].conditions.melodies  # type: ignore[union-attr]
    assert melodies is not None
    assert len(melodies) == 3
    later = torch.from_numpy(melody(source.samples[0, 8 * tiny.RATE : 20 * tiny.RATE], tiny.RATE))
    assert torch.equal(melodies[1][: len(later)], later[: len(melodies[1])])
    assert any("whole mix" in remark for remark in request.remarks)


# --- going on from a sound -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mono", "stereo"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_source_of_an_extension_stays_sample_for_sample(
    kind: str, channels: int, engines: dict[str, MusicGenEngine]
) -> None:
    bench = Bench(engines[kind], 1.0, {})
    source = tone(1.013, RATE, channels)
    made = bench.rendered([bench.recipe(task=Extend(source, after=0.7, wave_crossfade=0.1))])[0]
    assert made.audio.channels == max(channels, 2 if kind == "stereo" else 1)
    kept = source.samples.shape[1] - round(0.1 * RATE)
    assert np.array_equal(made.audio.samples[:, :kept], source.with_channels(made.audio.channels).samples[:, :kept])
    assert made.audio.samples.shape[1] == round(1.713 * RATE)
    assert np.abs(made.audio.samples[:, source.samples.shape[1] :]).max() > 0


def test_a_take_of_this_family_goes_on_from_its_own_codes_at_its_own_level(engines: dict[str, MusicGenEngine]) -> None:
    bench = Bench(engines["mono"], 1.0, {})
    first = bench.rendered([bench.recipe(peak_db=-20.0)])[0]
    take = bench.take(bench.recipe(peak_db=-20.0), first)
    more = bench.rendered([bench.recipe(task=Extend(take, after=0.6))])[0]
    assert torch.equal(more.latent[:25], first.latent)
    assert more.gain == first.gain
    assert np.array_equal(more.audio.samples[:, :46_700], first.audio.samples[:, :46_700])


def test_kept_codes_give_the_same_bytes_again(engines: dict[str, MusicGenEngine]) -> None:
    engine = engines["stereo"]
    bench = Bench(engine, 0.6, {})
    recipe = bench.recipe()
    made = bench.rendered([recipe])[0]
    prepared = engine.prepare([bench.resolve(recipe)])[0].after_sampling()
    again = engine.decode(prepared, torch.from_numpy(bench.take(recipe, made).latent.copy()))
    assert digest(again) == digest(made)
    bare = engine.decode_latent(made.latent.numpy())
    assert (bare.rate, bare.channels) == (RATE, 2)


# --- refusing and remarking ------------------------------------------------------------------------------------------


def refusal(engine: MusicGenEngine, recipe: Recipe, plan: Plan | None = None) -> str:
    before = len(engine.devices.wanted)  # type: ignore[attr-defined]
    with pytest.raises((RecipeError, SourceError)) as said:
        engine.resolve(recipe, plan, lambda sound: sound, 600.0)
    assert len(engine.devices.wanted) == before  # type: ignore[attr-defined]
    return str(said.value)


def test_what_it_cannot_do_is_refused_by_a_sentence_that_names_who_can(engines: dict[str, MusicGenEngine]) -> None:
    mono, follows, sound = engines["mono"], engines["melody"], tone(1.0, RATE, 1)
    assert "ACE-Step" in refusal(mono, Recipe("dub", task=Repaint(sound, (0.2, 0.5))))
    assert "musicgen-melody" in refusal(mono, Recipe("dub", task=Cover(sound)))
    assert "another seed" in refusal(mono, Recipe("dub", task=Retake("a take", 0.5, 2)))
    assert "before=1" in refusal(mono, Recipe("dub", task=Extend(sound, before=1, after=1)))
    assert "does not sing" in refusal(mono, Recipe("dub", lyrics="[Verse]\nla la la"))
    assert "no planner" in refusal(mono, Recipe("dub", thinking=True))
    assert "no planner" in refusal(mono, Recipe("dub"), Plan(bpm=120))
    assert "has no steps" in refusal(mono, Recipe("dub", steps=8))
    assert "timbre" in refusal(mono, Recipe("dub", task=Text2Music(reference=sound)))
    assert "codes" in refusal(mono, Recipe("dub", task=Text2Music(codes=(1, 2))))
    assert "strength" in refusal(follows, Recipe("dub", task=Cover(sound, strength=0.5)))
    assert "codes" in refusal(follows, Recipe("dub", task=Cover(codes=(1, 2))))
    assert "silent" in refusal(follows, Recipe("dub", task=Cover(Audio(np.zeros((1, 48000)), 48000))))
    assert "no words" in refusal(mono, Recipe("", lyrics="[Instrumental]"))


def test_every_task_has_a_row_that_says_who_does_it(engines: dict[str, MusicGenEngine]) -> None:
    assert set(TASK_ROWS) == set(MODEL_TASKS.values())
    for name, engine in engines.items():
        bench = Bench(engine, 0.6, {})
        for task, given in bench.tasks().items():
            if task in engine.capabilities.tasks:
                assert bench.resolve(bench.recipe(task=given)).task == given
            else:
                said = refusal(engine, bench.recipe(task=given))
                assert said.startswith(f"{name} cannot ")
                assert "ACE-Step" in said  # who can


def test_tempo_key_and_meter_are_read_as_words_and_a_remark_says_so(engines: dict[str, MusicGenEngine]) -> None:
    engine = engines["mono"]
    plain = engine.resolve(Recipe("dub", seconds=1, seed=1, sampling=GREEDY), None, lambda sound: sound, 600.0)
    told = engine.resolve(
        Recipe("dub", seconds=1, seed=1, bpm=123, keyscale="A minor", sampling=GREEDY), None, lambda sound: sound, 600.0
    )
    assert plain.remarks == ()
    assert "'dub, 123 bpm, A minor'" in told.remarks[0]
    assert told.recipe.caption == "dub"
    states = [one.conditions.text for one in engine.prepare([plain, told])]  # type: ignore[union-attr]
    assert len(states[1]) > len(states[0])


def test_a_caption_beyond_what_t5_reads_is_cut_with_a_remark(engines: dict[str, MusicGenEngine]) -> None:
    engine = engines["mono"]
    request = engine.resolve(Recipe("a b c d e f " * 120, seconds=1), None, lambda sound: sound, 600.0)
    prepared = engine.prepare([request])[0]
    assert "the first 512" in prepared.remarks[0]
    assert len(prepared.conditions.text) == 512  # type: ignore[union-attr]


def test_choices_that_do_nothing_are_named(engines: dict[str, MusicGenEngine]) -> None:
    said = " ".join(
        engines["mono"].lint(
            Recipe(
                "dub",
                language="en",
                lyrics="[Instrumental]",
                sampling=TokenSampling(temperature=0, top_k=3, guidance_scale=1),
            ),
            None,
        )
    )
    for word in ("round in circles", "top_k", "guided", "language", "tags"):
        assert word in said
    assert list(engines["mono"].lint(Recipe("dub"), None)) == []


def test_defaults_are_the_checkpoints_and_else_audiocrafts(folders: dict[str, Path], tmp_path: Path) -> None:
    engine = engine_of(folders["mono"])
    assert engine.defaults(Text2Music()) == TokenSampling(temperature=1.0, top_k=250, top_p=1.0, guidance_scale=3.0)
    own = tiny.tiny_musicgen(tmp_path / "own")
    (own / "generation_config.json").write_text('{"top_k": 50, "temperature": 0.9, "guidance_scale": 4.5}')
    assert engine_of(own).defaults(Text2Music()) == TokenSampling(
        temperature=0.9, top_k=50, top_p=1.0, guidance_scale=4.5
    )
    request = engine_of(own).resolve(Recipe("dub", temperature=0.5), None, lambda sound: sound, 600.0)
    assert request.recipe.sampling == TokenSampling(temperature=0.5, top_k=50, top_p=1.0, guidance_scale=4.5)


# --- in a session ----------------------------------------------------------------------------------------------------


def test_a_session_makes_verifies_extends_and_covers(folders: dict[str, Path], tmp_path: Path) -> None:
    lab = Session.open(folders["melody"], library=tmp_path / "library")
    try:
        take = lab.make(Recipe("slow dub", seconds=1, bpm=90, seed=4))
        assert take.recipe.sampling == TokenSampling(temperature=1.0, top_k=250, top_p=1.0, guidance_scale=3.0)
        assert take.made_with["licence"] == "CC-BY-NC-4.0"
        assert "every sample is equal" in str(take.verify(lab))
        longer = lab.extend(take.id, after=0.5)
        assert np.array_equal(longer.latent[:25], take.latent)
        assert longer.parents == (take.id,)
        cover = lab.cover(take, caption="techno")
        assert cover.seconds == take.seconds
        assert cover.made_with["vae"] == take.made_with["vae"]
        with pytest.raises(RecipeError, match="does not sing"):
            lab.make(take.recipe.replace(lyrics="la la"))
        with pytest.raises(RecipeError, match="cannot repaint"):
            lab.repaint(take, (0.2, 0.5))
    finally:
        lab.close()


def test_a_render_in_a_session_can_be_stopped_between_two_tokens(folders: dict[str, Path], tmp_path: Path) -> None:
    lab = Session.open(folders["mono"], library=tmp_path / "library")
    try:
        run = lab.start(Recipe("dub", seconds=100, seed=1))
        next(iter(run))
        run.stop()
        with pytest.raises(Stopped):
            run.take()
        assert 0 < run.fraction < 0.5
    finally:
        lab.close()


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_known_by_its_name_or_its_config(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in ("musicgen-small", "facebook/musicgen-stereo-melody", folders["mono"], str(folders["melody"])):
        assert musicgen.claims(name)
    (tmp_path / "config.json").write_text("{")
    for name in ("pocket", "turbo", tmp_path, tmp_path / "nowhere", "facebook/encodec_32khz", "\0", ""):
        assert not musicgen.claims(name)
    assert registry.family_of(folders["mono"]) is musicgen
    assert "musicgen-small" in registry.names()
    assert registry.open_engine(folders["stereo"]).capabilities.latent.audio_channels == 2


def test_nothing_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"musicgen-large has not been .*fetched unasked") as said:
        registry.open_engine("musicgen-large")
    assert "`acestep-lab download musicgen-large`" in str(said.value)
    selected = registry.download("facebook/musicgen-large")
    assert [one.repo for one in selected] == ["facebook/musicgen-large"]
    assert selected[0].includes(RemoteFile("model.safetensors", 1, ""))
    assert not selected[0].includes(RemoteFile("pytorch_model.bin", 1, ""))
    with pytest.raises(CheckpointError, match="no planner"):
        musicgen.open_engine("musicgen-small", lm="1.7B")


def test_the_licence_is_told_in_a_word_and_in_a_sentence(engines: dict[str, MusicGenEngine]) -> None:
    assert engines["mono"].capabilities.licence == "CC-BY-NC-4.0"
    assert engines["mono"].made_with()["licence"] == "CC-BY-NC-4.0"
    assert "not for commercial purposes" in catalog.LICENCE_MEANING
    assert all(row.licence == "CC-BY-NC-4.0" for row in catalog.ROWS.values())


def rewritten(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    target.mkdir()
    for file in source.glob("*.json"):
        (target / file.name).write_bytes(file.read_bytes())
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors")
    return target


def test_files_of_older_versions_are_read_alike(folders: dict[str, Path], tmp_path: Path) -> None:
    def older(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            if "parametrizations" in name:
                half = "weight_g" if name.endswith("original0") else "weight_v"
                tensors[name.split("parametrizations")[0] + half] = tensors.pop(name)
        tensors["decoder.model.decoder.embed_positions.weights"] = torch.zeros(2048, 24)
        name = next(
            name for name in tensors if name.endswith(("shared.weight", "embed_tokens.weight")) and "text" in name
        )
        tensors["text_encoder.encoder.embed_tokens.weight"] = tensors.pop(name)

    old = Bench(engine_of(rewritten(folders["mono"], tmp_path / "old", older)), 0.5, {})
    new = Bench(engine_of(folders["mono"]), 0.5, {})
    assert digest(old.rendered([old.recipe()])[0]) == digest(new.rendered([new.recipe()])[0])
    sizes = [[one.bytes for one in bench.engine.component_specs()] for bench in (old, new)]
    assert sizes[0] == sizes[1]


def test_weights_that_are_missing_or_over_are_an_error(folders: dict[str, Path], tmp_path: Path) -> None:
    short = rewritten(folders["mono"], tmp_path / "short", lambda t: t.__delitem__("decoder.lm_heads.1.weight"))
    with pytest.raises(CheckpointError, match=r"lacks the weights decoder\.lm_heads\.1\.weight"):
        engine_of(short).build("decoder", torch.float32)
    over = rewritten(folders["mono"], tmp_path / "over", lambda t: t.update({"decoder.odd.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="no place for"):
        engine_of(over).build("decoder", torch.float32)
    stray = rewritten(folders["mono"], tmp_path / "stray", lambda t: t.update({"vocoder.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="no component of MusicGen"):
        engine_of(stray).component_specs()


def test_pickles_and_strange_configs_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = rewritten(folders["mono"], tmp_path / "odd", lambda tensors: None)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle"):
        engine_of(folder).build("text", torch.float32)
    config = json.loads((folder / "config.json").read_text())
    for change in (
        {"model_type": "bert"},
        {"text_encoder": None},
        {"decoder": config["decoder"] | {"num_codebooks": 3}},
        {"decoder": config["decoder"] | {"pad_token_id": 5}},
        {"audio_encoder": config["audio_encoder"] | {"upsampling_ratios": "no"}},
        {"audio_encoder": config["audio_encoder"] | {"normalize": True}},
        {"audio_encoder": config["audio_encoder"] | {"target_bandwidths": []}},
        {"audio_encoder": config["audio_encoder"] | {"num_lstm_layers": 10**6}},
        {"decoder": config["decoder"] | {"hidden_size": 10**12}},
        {"decoder": config["decoder"] | {"max_position_embeddings": 10**7}},
        {"decoder": config["decoder"] | {"model_type": "gpt2"}},
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError):
            Checkpoint.open(folder)


def test_codes_are_computed_in_float32_and_the_rest_as_asked(folders: dict[str, Path]) -> None:
    engine = MusicGenEngine(Checkpoint.open(folders["melody"]))

    class Halved(PlainDevices):
        @contextmanager
        def on(self, component: str) -> Iterator[Any]:
            self.wanted.append(component)
            if component not in self._built:
                self._built[component] = self.engine.build(component, torch.bfloat16)
            yield self._built[component]

    halved = Halved(engine)
    codes = codes_of(engine, Recipe("dub", seconds=1, seed=1))
    assert codes.shape == (25, 4)
    with halved.on("codec") as codec, halved.on("decoder") as decoder:
        assert {weight.dtype for weight in codec.parameters()} == {torch.float32}
        assert {weight.dtype for weight in decoder.parameters()} == {torch.bfloat16}


def test_a_decoder_kept_in_eight_bits_hears_nearly_the_same(folders: dict[str, Path]) -> None:
    found = []
    for kept in ("full", "int8"):
        engine = engine_of(folders["mono"])
        with engine.devices.on("text") as text, engine.devices.on("decoder") as decoder:
            store(text, kept)
            store(decoder, kept)
            request = engine.resolve(Recipe("slow dub", seconds=1, seed=1), None, lambda sound: sound, 600.0)
            found.append(engine._generation(engine.prepare([request])[0]).logits(decoder, torch.device("cpu")))
    assert_near(found[1], found[0], 0.1)
    assert not torch.equal(found[0], found[1])


def test_a_plan_for_memory_counts_every_component(folders: dict[str, Path]) -> None:
    engine = engine_of(folders["stereo"])
    specs = {one.name: one for one in engine.component_specs()}
    assert [specs[name].role for name in ("text", "codec", "decoder")] == ["encoder", "decoder", "loop"]
    assert engine.passes == 2
    tensors = load_file(folders["stereo"] / "model.safetensors")
    codec = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("audio_encoder."))
    decoder = sum(t.numel() for name, t in tensors.items() if name.startswith(("decoder.", "enc_to_dec_proj.")))
    assert (specs["codec"].bytes, specs["decoder"].bytes) == (4 * codec, 2 * decoder)
    again = engine_of(folders["stereo"]).component_specs()
    assert all(one.content is not None for one in again)
    assert all(one.content.is_same_as(specs[one.name].content) for one in again)  # type: ignore[union-attr, arg-type]


def test_codes_that_do_not_exist_are_refused(engines: dict[str, MusicGenEngine]) -> None:
    engine = engines["mono"]
    for latent in (
        np.full((5, 4), 32.0),
        np.full((5, 4), -1.0),
        np.full((5, 4), 0.5),
        np.full((5, 4), np.nan),
        np.zeros((0, 4)),
    ):
        with pytest.raises(LabError, match=r"mono"):
            engine.decode_latent(latent)


def test_published_sizes_are_those_of_the_modules() -> None:
    def numbers(make: Callable[[], Any]) -> int:
        return sum(weight.numel() for weight in empty(make).state_dict().values())

    codec = transformers.EncodecConfig(
        sampling_rate=32000, num_filters=64, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048, codebook_dim=128,
        target_bandwidths=[2.2], use_causal_conv=False, use_conv_shortcut=False,
    )  # fmt: skip
    assert numbers(lambda: transformers.EncodecModel(codec)) == catalog.CODEC_NUMBERS
    text = transformers.T5Config(vocab_size=90, d_model=24, d_kv=8, d_ff=48, num_layers=3, num_heads=3)
    counted = numbers(lambda: transformers.T5EncoderModel(text)) - 90 * 24  # the table of words has two names
    assert counted == catalog.t5_numbers(90, 24, 24, 48, 3, 3, 32)
    decoder: dict[str, Any] = {
        "vocab_size": 60, "hidden_size": 32, "ffn_dim": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    }  # fmt: skip
    plain = numbers(lambda: transformers.MusicgenForCausalLM(transformers.MusicgenDecoderConfig(**decoder)))
    follows = numbers(
        lambda: transformers.MusicgenMelodyForCausalLM(transformers.MusicgenMelodyDecoderConfig(**decoder))
    )
    assert plain == catalog.decoder_numbers(32, 128, 3, 4, 60, True)
    assert follows == catalog.decoder_numbers(32, 128, 3, 4, 60, False)
    sizes = catalog.ROWS["musicgen-small"].sizes
    assert {name: size // 10**6 for name, size in sizes.items()} == {"text": 219, "decoder": 840, "codec": 235}


def test_a_tiny_checkpoint_is_tiny(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000


def test_resolving_leaves_a_recipes_words_alone(engines: dict[str, MusicGenEngine]) -> None:
    asked = Recipe("dub", seconds=1, seed=3)
    found = engines["mono"].resolve(asked, None, lambda sound: sound, 600.0).recipe
    assert replace(found, sampling=asked.sampling) == asked

"""The pieces of the pocket trainer: what is trained is what is exported, and lessons are what the pipeline would hand over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AceStepPipeline
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

import acestep_lab
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train import synthetic_music
from acestep_lab.train.pocket import export
from acestep_lab.train.pocket.bench import Average, Stage, quick
from acestep_lab.train.pocket.clips import Clip, ClipPool, lesson_song, make_clip, snapped
from acestep_lab.train.pocket.codes import Codec5, Rounding, hints, train_codes
from acestep_lab.train.pocket.dit import CodeSource, fill_in, moments, times, velocity_loss
from acestep_lab.train.pocket.gist import Gist, meaning, train_gist
from acestep_lab.train.pocket.heard import note_sheet
from acestep_lab.train.pocket.lm import Library
from acestep_lab.train.pocket.parts import Parts, timbre_row
from acestep_lab.train.pocket.reading import WEIGHTS, Reader, players
from acestep_lab.train.pocket.shapes import Shapes
from acestep_lab.train.pocket.silence import time_code, timed_silence
from acestep_lab.train.pocket.tasks import SHARES, collate, lesson
from acestep_lab.train.pocket.vae import PocketVae, standardise, use_fast_snake
from acestep_lab.train.pocket.vae import export as export_vae
from acestep_lab.train.pocket.words import TEMPI, for_lm, for_text, instruction, prompt_and_lyrics, train_tokenizer
from acestep_lab.train.tagger import pictures_of
from tests.closeness import assert_near

SHAPES = Shapes(text=32, condition=32, dit=160, dit_layers=2, code_width=32)


@pytest.fixture(scope="module")
def tokens():
    return train_tokenizer(synthetic_music.compose(seed, 10.0) for seed in range(40))


@pytest.fixture(scope="module")
def vae() -> PocketVae:
    torch.manual_seed(0)
    return use_fast_snake(PocketVae(SHAPES)).eval()


@pytest.fixture(scope="module")
def parts(tokens, vae) -> Parts:
    torch.manual_seed(0)
    return Parts(SHAPES, len(for_text(tokens)), timed_silence(vae, SHAPES))


def clip(seed: int = 3) -> Clip:
    song = synthetic_music.compose(seed, 4.0)
    make = torch.Generator().manual_seed(seed)
    latents = torch.randn(3, 400, 32, generator=make).half()
    return Clip(song, 4, latents[0], song.instruments[0], latents[1], latents[2])


def test_the_exported_class_computes_what_was_trained(vae: PocketVae) -> None:
    real, sound = export_vae(vae, SHAPES), 0.1 * torch.randn(1, 1, 4800)
    with torch.no_grad():
        mean, std = vae.moments(sound)
        heard = real.encode(sound).latent_dist
        assert_near(heard.mean, mean)
        assert_near(heard.std, std)
        assert_near(real.decode(mean).sample, vae.decode(mean))


def test_the_autoencoder_starts_with_the_low_bands_already_passing_through() -> None:
    torch.manual_seed(0)
    vae, time = PocketVae(Shapes()), torch.arange(9600) / 24_000
    sound = 0.1 * torch.sin(2 * torch.pi * 220 * time)[None, None]
    with torch.no_grad():
        made = vae.decode(vae.moments(sound)[0])
    assert torch.nn.functional.cosine_similarity(made[0, 0, 960:-960], sound[0, 0, 960:-960], dim=0) > 0.5


def test_standardised_latents_have_spread_one_and_sound_the_same() -> None:
    torch.manual_seed(1)
    vae, sound = PocketVae(SHAPES).eval(), 0.2 * torch.randn(2, 1, 24_000)
    with torch.no_grad():
        before = vae.decode(vae.moments(sound)[0])
        standardise(vae, iter([sound]))
        latents = vae.moments(sound)[0]
        after = vae.decode(latents)
    assert_near(latents.std((0, 2)), torch.ones(32), 0.01)
    assert torch.allclose(before[..., 2400:-2400], after[..., 2400:-2400], atol=1e-3)  # the ends see padding


def test_every_tempo_is_one_token_and_every_key_two(tokens) -> None:
    text = for_text(tokens)
    bare = len(text.encode("- bpm:\n"))
    assert {len(text.encode(f"- bpm: {bpm}\n")) - bare for bpm in TEMPI} == {1}
    assert {len(text.tokenize(f"keyscale: {key}")) for key in ("C major", "F# minor", "Bb major")} == {4}


def test_the_planner_reads_the_same_words_and_a_thousand_codes_more(tokens) -> None:
    text, lm = for_text(tokens), for_lm(tokens, 1000)
    assert len(lm) == len(text) + 1000
    assert lm.encode("bpm: 120") == text.encode("bpm: 120")
    assert len(lm.encode("<|audio_code_0|><|audio_code_999|>")) == 2


def test_prompts_are_the_pipelines_own_and_left_out_facts_are_not_said() -> None:
    song = synthetic_music.compose(5, 10.0)
    text, lyrics = prompt_and_lyrics(song, 10, instruction("extract", ["drums"]), frozenset({"bpm"}))
    assert "Extract the DRUMS track from the audio:" in text
    assert f"- bpm: {song.bpm}" in text
    assert "- keyscale: N/A" in text
    assert "- duration: 10 seconds" in text
    assert lyrics == f"# Languages\nen\n\n# Lyric\n{song.lyrics}<|endoftext|>"


def test_the_short_cut_for_timbre_is_what_the_class_says(parts: Parts) -> None:
    latents, encoder = torch.randn(2, 300, 32), parts.condition.timbre_encoder
    with torch.no_grad():
        assert_near(encoder(latents, torch.arange(2))[0][:, 0], timbre_row(encoder, latents))


def test_conditions_are_the_pipelines(parts: Parts, tokens) -> None:
    tokenizer, song = for_text(tokens), synthetic_music.compose(5, 10.0)
    text, lyrics = (tokenizer([t], return_tensors="pt") for t in prompt_and_lyrics(song, 10, instruction("text2music")))
    with torch.no_grad():
        ours = parts.conditions(text, lyrics, {})
        theirs, _ = parts.condition(
            parts.text(input_ids=text["input_ids"]).last_hidden_state, text["attention_mask"].bool(),
            parts.text.get_input_embeddings()(lyrics["input_ids"]), lyrics["attention_mask"].bool(),
            parts.silence(SHAPES.timbre_frames)[None], torch.arange(1),
        )  # fmt: skip
    assert_near(ours, theirs, 0.0001)


@pytest.mark.parametrize("task", SHARES)
def test_a_lesson_of_every_task_can_be_learnt_from(task: str, parts: Parts, tokens) -> None:
    random, silence = np.random.default_rng(1), parts.condition.silence_latent[0]
    batch = collate([lesson(clip(seed), task, silence, random, SHAPES.pool) for seed in (3, 4)], for_text(tokens))
    fill_in(batch, CodeSource(Codec5(SHAPES)))
    losses = velocity_loss(
        parts, batch, torch.tensor([0.5, 1.0]), torch.randn_like(batch.goal), torch.tensor([False, True])
    )
    assert losses.shape == (2,)
    assert torch.isfinite(losses).all()
    losses.mean().backward()
    assert parts.condition.null_condition_emb.grad is not None
    parts.zero_grad()


@pytest.mark.parametrize("task", SHARES)
def test_the_score_of_a_lesson_is_that_of_its_goal(task: str, parts: Parts) -> None:
    one, silence = clip(), parts.condition.silence_latent[0]
    made = lesson(one, task, silence, np.random.default_rng(5), SHAPES.pool)
    alone, inside = STEMS.index(one.stem), made.mask > 0.5
    others = [stem for stem in range(len(STEMS)) if stem != alone]
    whole = players(one.song, 400, 100)
    assert whole.sum(0)[[STEMS.index(stem) for stem in one.song.instruments]].min() > 0
    if task in ("extract", "lego"):
        assert torch.equal(made.playing[inside][:, alone], whole[inside][:, alone])
        assert made.playing[inside][:, others].sum() == 0
        assert torch.equal(made.playing[~inside][:, others], whole[~inside][:, others])
    else:
        assert torch.equal(made.playing, whole)
        assert torch.equal(made.sheet, one.sheet())


def test_a_reader_asks_the_lower_layers_only_and_can_learn_alone(parts: Parts, tokens) -> None:
    random, silence = np.random.default_rng(1), parts.condition.silence_latent[0]
    batch = collate([lesson(clip(s), "text2music", silence, random, SHAPES.pool) for s in (3, 4)], for_text(tokens))
    reader, told = Reader(SHAPES.dit), torch.tensor([False, False])

    def asked(alone: bool) -> dict[str, bool]:
        parts.zero_grad(), reader.zero_grad()
        with reader.listening_to(parts.dit):
            velocity_loss(parts, batch, torch.tensor([0.9, 1.0]), torch.randn_like(batch.goal), told)
        losses = reader.losses(batch.playing, batch.sheets, alone=alone)
        assert set(losses) == set(WEIGHTS)
        sum(losses.values()).backward()
        lower, upper = parts.dit.layers[0], parts.dit.layers[1]
        modules = {"reader": reader, "words": parts.text, "lower": lower, "upper": upper}
        return {name: any(p.grad is not None for p in module.parameters()) for name, module in modules.items()}

    assert asked(alone=True) == {"reader": True, "words": False, "lower": False, "upper": False}
    assert asked(alone=False) == {"reader": True, "words": True, "lower": True, "upper": False}
    parts.zero_grad()


@pytest.mark.parametrize("short_rows", [True, False])
def test_quick_arithmetic_gives_what_plain_floats_give(short_rows: bool) -> None:
    torch.manual_seed(0)
    width, queries, keys = nn.Linear(64, 64), torch.randn(2, 4, 50, 64), torch.randn(2, 2, 50, 64)
    mask = torch.ones(50, 50, dtype=torch.bool).tril()

    def answer() -> torch.Tensor:
        heard = functional.scaled_dot_product_attention(
            queries.to(width(queries).dtype), keys.to(width(queries).dtype), keys.to(width(queries).dtype), attn_mask=mask, enable_gqa=True
        )  # fmt: skip
        return width(heard).float()

    plain = answer()
    with quick("cpu", short_rows=short_rows):
        assert torch.is_autocast_enabled("cpu") == bool(torch.cpu.get_capabilities().get("amx_bf16"))
        assert_near(answer(), plain, 0.02)
    assert not torch.is_autocast_enabled("cpu")


def test_what_is_made_in_one_step_is_learnt_where_that_step_stands_and_always_told() -> None:
    t, untold = moments(["extract"] * 400 + ["text2music"] * 400, torch.Generator().manual_seed(0))
    assert (t[:400] == 1).float().mean() > 0.7
    assert (t[400:] == 1).float().mean() < 0.15
    assert not untold[:400].any()
    assert 0.05 < untold[400:].float().mean() < 0.15


def test_a_repaint_shows_the_outside_and_hides_the_inside(parts: Parts) -> None:
    one, silence = clip(), parts.condition.silence_latent[0]
    made = lesson(one, "repaint", silence, np.random.default_rng(2), SHAPES.pool)
    inside = made.mask > 0.5
    assert torch.equal(made.source[~inside], one.mix.float()[~inside])
    assert torch.equal(made.source[inside], silence[:400][inside])
    assert 0 < inside.sum() < 400


def test_rounding_lets_gradients_through() -> None:
    codec = Codec5(SHAPES)
    Rounding(codec.tokenizer.quantizer)
    sheet = torch.randn(1, 40, 32)
    codec(sheet)[0].square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in codec.scribe.parameters())


def test_the_note_sheet_shows_where_notes_are() -> None:
    song = synthetic_music.compose(8, 6.0)
    sheet, note = note_sheet(song, 600, 100).float(), next(n for n in song.notes if n.stem == "bass")
    middle = int((note.start + 0.05) * 100)
    assert sheet[middle, 12 + note.pitch % 12] > sheet[:, 12 + note.pitch % 12].min() + 0.5


def test_snapped_notes_stand_on_the_latent_grid() -> None:
    song = snapped(synthetic_music.compose(8, 6.0), 0.01)
    assert all(abs(note.start * 100 - round(note.start * 100)) < 1e-6 for note in song.notes)


def test_half_of_the_lessons_have_players_that_their_style_did_not_choose() -> None:
    songs = [lesson_song(seed, 5) for seed in range(300)]
    chosen = [song for song in songs if song.instruments != synthetic_music.compose(song.seed, 5).instruments]
    assert 0.40 < len(chosen) / len(songs) < 0.60
    assert lesson_song(7, 5, chosen=0.0) == synthetic_music.compose(7, 5)
    assert {stem for song in chosen for stem in song.instruments} == set(STEMS)
    assert 0.2 < np.mean([len(song.instruments) == 1 for song in chosen]) < 0.5
    assert lesson_song(7, 5) == lesson_song(7, 5)


def test_what_an_ear_has_heard_is_kept_and_stems_and_rests_have_rows_of_their_own(
    vae: PocketVae, tmp_path: Path
) -> None:
    Stage("vae", 1, tmp_path).save(vae=vae.state_dict())
    random, shard = np.random.default_rng(0), tmp_path / "clips" / "000000006.pt"
    shard.parent.mkdir()
    clips = [make_clip(seed, 4, vae, SHAPES, random) for seed in range(4)]
    torch.save(clips, shard)
    pictures, stems = pictures_of(tmp_path)
    there = [{stem for stem, plays in zip(STEMS, row, strict=True) if plays} for row in stems]
    asked: list[set[str]] = []
    for one in clips:
        everybody = set(one.song.instruments)
        asked += [everybody, {one.stem}, everybody - {one.stem}] if one.stem else [everybody]
    assert len(asked) > len(clips)
    assert there == asked
    shard.write_bytes(b"never read again")
    again, _ = pictures_of(tmp_path)
    assert all(np.array_equal(old, new) for old, new in zip(pictures, again, strict=True))


def test_silence_tells_the_time(vae: PocketVae) -> None:
    silence = timed_silence(vae, SHAPES)
    assert silence.shape == (1, 15_000, 32)
    code = time_code(15_000, 32, 100)
    assert torch.pdist(code[::500]).min() > 0.1  # no two moments look alike


def test_the_transformer_starts_by_letting_the_noise_through(parts: Parts) -> None:
    noise, heard = torch.randn(1, 80, 32), torch.randn(1, 5, 32)
    context = torch.cat([parts.silence(80)[None], torch.ones(1, 80, 32)], dim=-1)
    with torch.no_grad():
        answer = parts.velocity(noise, torch.ones(1), heard, context)
    assert torch.nn.functional.cosine_similarity(answer.flatten(), noise.flatten(), dim=0) > 0.8


def test_the_mean_of_a_prompt_can_be_taught_what_it_means(parts: Parts, tokens, tmp_path) -> None:
    gist, stage = Gist(SHAPES.condition), Stage("gist", 2.0, tmp_path)
    songs = [synthetic_music.compose(seed, 10.0) for seed in range(8)]
    tokenized = for_text(tokens)(
        [prompt_and_lyrics(s, 10, instruction("text2music"))[0] for s in songs], padding=True, return_tensors="pt"
    )
    meanings = [meaning(song) for song in songs]

    def missed() -> float:
        with torch.no_grad():
            return float(sum(gist.losses(parts.tell(tokenized), tokenized["attention_mask"], meanings).values()))

    before = missed()
    train_gist(stage, parts, gist, for_text(tokens), songs=60)
    assert missed() < before
    assert stage.file.exists()


def test_half_of_the_times_are_high_noise() -> None:
    found = times(4000, torch.Generator().manual_seed(0))
    assert 0.5 < (found > 0.6).float().mean() < 0.75
    assert found.max() == 1.0
    assert found.min() > 0


def test_a_stage_continues_where_it_stopped(tmp_path) -> None:
    stage = Stage("demo", 100.0, tmp_path)
    stage.step, stage.spent = 7, 40.0
    stage.save(weight=torch.ones(2))
    later = Stage("demo", 100.0, tmp_path)
    assert torch.equal(later.load()["weight"], torch.ones(2))
    assert (later.step, later.fraction) == (7, 0.4)
    assert Stage("other", 1.0, tmp_path).load() is None


def test_an_average_follows_slowly() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = Average(model, 0.9)
    before = average.weights["weight"].clone()
    with torch.no_grad():
        model.weight += 1
    for _ in range(200):
        average.follow(model)
    assert_near(average.weights["weight"], before + 1, 0.001)


def test_the_pipeline_class_is_still_the_one_we_write_prompts_for() -> None:
    assert (
        AceStepPipeline._build_metadata_string(120, "C major", "4", 10.0).splitlines()[-1] == "- duration: 10 seconds"
    )


def test_a_sheets_true_code_is_the_one_whose_own_sheet_is_nearest() -> None:
    torch.manual_seed(0)
    codec = Codec5(SHAPES)
    with torch.no_grad():
        codec.detokenizer.proj_out.weight.mul_(20)  # far enough apart to be told from each other
    asked = torch.tensor([[0, 999, 123, 500, 77]])
    sheet = hints(codec.tokenizer, codec.detokenizer, asked)
    assert torch.equal(codec.true_codes(sheet), asked)
    assert torch.equal(codec.true_codes(sheet + 1e-4 * torch.randn_like(sheet)), asked)


def test_codes_of_a_finished_checkpoint_are_not_trained_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = Codec5(SHAPES)
    Stage("codes", 60, tmp_path).save(codec=codec.state_dict(), final=True)
    stage = Stage("codes", 60, tmp_path)
    kept = train_codes(stage, SHAPES, ClipPool(tmp_path / "no clips", seed=0)).state_dict()
    assert stage.step == 0
    assert all(torch.equal(kept[name], weight) for name, weight in codec.state_dict().items())


def test_the_planners_songs_are_composed_from_their_numbers_and_the_oldest_are_forgotten() -> None:
    torch.manual_seed(0)
    codec = Codec5(SHAPES)
    one, other = Library(codec, SHAPES, 40_000_000, most=4), Library(codec, SHAPES, 40_000_000)
    one.compose(3), other.compose(1), other.compose(2)
    assert [song.codes for song in one.songs] == [song.codes for song in other.songs]
    assert all(len(song.codes) == 5 * song.seconds for song in one.songs)
    before = one.songs[1:]
    one.compose(2)
    assert len(one.songs) == 4
    assert one.songs[:2] == before


def test_training_can_go_on_from_the_shipped_checkpoint_in_all_its_parts() -> None:
    shapes, folder = Shapes(), Path(acestep_lab.__file__).parent / "models/pocket"
    vocabulary = len(Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json")).get_vocab())
    silence = torch.zeros(1, shapes.silence_frames, shapes.latent_channels)
    parts = export.parts_of(folder, Parts(shapes, vocabulary, silence))
    codec, lm = export.codec_of(folder, shapes), export.lm_of(folder)
    for model, place in (
        (parts.dit, "transformer/diffusion_pytorch_model"), (parts.condition, "condition_encoder/diffusion_pytorch_model"),
        (parts.text, "text_encoder/model"), (codec.detokenizer, "audio_token_detokenizer/diffusion_pytorch_model"),
        (lm, "lm/model"),
    ):  # fmt: skip
        kept = load_file(folder / f"{place}.safetensors")
        weights = model.state_dict()
        assert set(kept) <= set(weights)
        assert all(torch.equal(weights[name], tensor.float()) for name, tensor in kept.items())

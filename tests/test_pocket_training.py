"""The pocket trainer: what is trained is what is exported, and training examples are what the pipeline would hand over."""

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
from acestep_lab.train.pocket.attribute_pretraining import AttributeHeads, attributes_of, pretrain_attributes
from acestep_lab.train.pocket.auxiliary_head import LOSS_WEIGHTS, ScoreHead, instrument_activity
from acestep_lab.train.pocket.clips import Clip, ClipPool, make_clip, snap_to_grid, training_song
from acestep_lab.train.pocket.codes import AudioCodeModel, StraightThroughRounding, decode_codes, train_codes
from acestep_lab.train.pocket.components import Components, timbre_embedding
from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.dit import (
    CodeSource,
    draw_times,
    draw_times_and_dropout,
    fill_code_sources,
    make_optimisers,
    restore_state,
    save_state,
    velocity_loss,
)
from acestep_lab.train.pocket.lm import PlanCorpus
from acestep_lab.train.pocket.note_targets import note_targets_of
from acestep_lab.train.pocket.silence import time_encoding, timed_silence
from acestep_lab.train.pocket.stage import Stage, WeightAverage, fast_precision
from acestep_lab.train.pocket.tasks import SHARES, collate, make_example
from acestep_lab.train.pocket.tokenizer import TEMPI, for_lm, for_text, instruction, prompt_and_lyrics, train_tokenizer
from acestep_lab.train.pocket.vae import PocketVae, export_vae, standardise, use_fast_snake
from acestep_lab.train.tagger import clip_spectrograms
from tests.closeness import assert_near

CONFIG = PocketConfig(text_width=32, condition_width=32, dit_width=160, dit_layers=2, code_width=32)


@pytest.fixture(scope="module")
def text_tokenizer():
    return train_tokenizer(synthetic_music.compose(seed, 10.0) for seed in range(40))


@pytest.fixture(scope="module")
def vae() -> PocketVae:
    torch.manual_seed(0)
    return use_fast_snake(PocketVae(CONFIG)).eval()


@pytest.fixture(scope="module")
def components(text_tokenizer, vae) -> Components:
    torch.manual_seed(0)
    return Components(CONFIG, len(for_text(text_tokenizer)), timed_silence(vae, CONFIG))


def clip(seed: int = 3) -> Clip:
    song = synthetic_music.compose(seed, 4.0)
    make = torch.Generator().manual_seed(seed)
    latents = torch.randn(3, 400, 32, generator=make).half()
    return Clip(song, 4, latents[0], song.instruments[0], latents[1], latents[2])


def test_the_exported_class_computes_what_was_trained(vae: PocketVae) -> None:
    exported, sound = export_vae(vae, CONFIG), 0.1 * torch.randn(1, 1, 4800)
    with torch.no_grad():
        mean, std = vae.moments(sound)
        latents = exported.encode(sound).latent_dist
        assert_near(latents.mean, mean)
        assert_near(latents.std, std)
        assert_near(exported.decode(mean).sample, vae.decode(mean))


def test_the_autoencoder_starts_with_the_low_bands_already_passing_through() -> None:
    torch.manual_seed(0)
    vae, time = PocketVae(PocketConfig()), torch.arange(9600) / 24_000
    sound = 0.1 * torch.sin(2 * torch.pi * 220 * time)[None, None]
    with torch.no_grad():
        made = vae.decode(vae.moments(sound)[0])
    assert torch.nn.functional.cosine_similarity(made[0, 0, 960:-960], sound[0, 0, 960:-960], dim=0) > 0.5


def test_standardised_latents_have_spread_one_and_sound_the_same() -> None:
    torch.manual_seed(1)
    vae, sound = PocketVae(CONFIG).eval(), 0.2 * torch.randn(2, 1, 24_000)
    with torch.no_grad():
        before = vae.decode(vae.moments(sound)[0])
        standardise(vae, iter([sound]))
        latents = vae.moments(sound)[0]
        after = vae.decode(latents)
    assert_near(latents.std((0, 2)), torch.ones(32), 0.01)
    assert torch.allclose(before[..., 2400:-2400], after[..., 2400:-2400], atol=1e-3)  # the ends see padding


def test_every_tempo_is_one_token_and_every_key_two(text_tokenizer) -> None:
    text = for_text(text_tokenizer)
    bare = len(text.encode("- bpm:\n"))
    assert {len(text.encode(f"- bpm: {bpm}\n")) - bare for bpm in TEMPI} == {1}
    assert {len(text.tokenize(f"keyscale: {key}")) for key in ("C major", "F# minor", "Bb major")} == {4}


def test_the_planners_tokenizer_has_the_same_tokens_and_a_thousand_codes_more(text_tokenizer) -> None:
    text, lm = for_text(text_tokenizer), for_lm(text_tokenizer, 1000)
    assert len(lm) == len(text) + 1000
    assert lm.encode("bpm: 120") == text.encode("bpm: 120")
    assert len(lm.encode("<|audio_code_0|><|audio_code_999|>")) == 2


def test_prompts_are_the_pipelines_own_without_the_metadata_left_out() -> None:
    song = synthetic_music.compose(5, 10.0)
    text, lyrics = prompt_and_lyrics(song, 10, instruction("extract", ["drums"]), frozenset({"bpm"}))
    assert "Extract the DRUMS track from the audio:" in text
    assert f"- bpm: {song.bpm}" in text
    assert "- keyscale: N/A" in text
    assert "- duration: 10 seconds" in text
    assert lyrics == f"# Languages\nen\n\n# Lyric\n{song.lyrics}<|endoftext|>"


def test_the_short_cut_for_timbre_is_what_the_class_computes(components: Components) -> None:
    latents, encoder = torch.randn(2, 300, 32), components.condition.timbre_encoder
    with torch.no_grad():
        assert_near(encoder(latents, torch.arange(2))[0][:, 0], timbre_embedding(encoder, latents))


def test_conditions_are_the_pipelines(components: Components, text_tokenizer) -> None:
    tokenizer, song = for_text(text_tokenizer), synthetic_music.compose(5, 10.0)
    text, lyrics = (tokenizer([t], return_tensors="pt") for t in prompt_and_lyrics(song, 10, instruction("text2music")))
    with torch.no_grad():
        ours = components.conditions(text, lyrics, {})
        theirs, _ = components.condition(
            components.text(input_ids=text["input_ids"]).last_hidden_state, text["attention_mask"].bool(),
            components.text.get_input_embeddings()(lyrics["input_ids"]), lyrics["attention_mask"].bool(),
            components.silence(CONFIG.timbre_frames)[None], torch.arange(1),
        )  # fmt: skip
    assert_near(ours, theirs, 0.0001)


@pytest.mark.parametrize("task", SHARES)
def test_an_example_of_every_task_can_be_trained_on(task: str, components: Components, text_tokenizer) -> None:
    random, silence = np.random.default_rng(1), components.condition.silence_latent[0]
    batch = collate(
        [make_example(clip(seed), task, silence, random, CONFIG.pool) for seed in (3, 4)], for_text(text_tokenizer)
    )
    fill_code_sources(batch, CodeSource(AudioCodeModel(CONFIG)))
    losses = velocity_loss(
        components, batch, torch.tensor([0.5, 1.0]), torch.randn_like(batch.target), torch.tensor([False, True])
    )
    assert losses.shape == (2,)
    assert torch.isfinite(losses).all()
    losses.mean().backward()
    assert components.condition.null_condition_emb.grad is not None
    components.zero_grad()


@pytest.mark.parametrize("task", SHARES)
def test_activity_and_note_targets_of_an_example_are_those_of_its_target(task: str, components: Components) -> None:
    one, silence = clip(), components.condition.silence_latent[0]
    made = make_example(one, task, silence, np.random.default_rng(5), CONFIG.pool)
    alone, inside = STEMS.index(one.stem), made.mask > 0.5
    others = [stem for stem in range(len(STEMS)) if stem != alone]
    whole = instrument_activity(one.song, 400, 100)
    assert whole.sum(0)[[STEMS.index(stem) for stem in one.song.instruments]].min() > 0
    if task in ("extract", "lego"):
        assert torch.equal(made.activity[inside][:, alone], whole[inside][:, alone])
        assert made.activity[inside][:, others].sum() == 0
        assert torch.equal(made.activity[~inside][:, others], whole[~inside][:, others])
    else:
        assert torch.equal(made.activity, whole)
        assert torch.equal(made.note_targets, one.note_targets())


def test_the_score_head_trains_the_lower_layers_only_and_can_learn_alone(
    components: Components, text_tokenizer
) -> None:
    random, silence = np.random.default_rng(1), components.condition.silence_latent[0]
    batch = collate(
        [make_example(clip(s), "text2music", silence, random, CONFIG.pool) for s in (3, 4)], for_text(text_tokenizer)
    )
    score_head, unconditional = ScoreHead(CONFIG.dit_width), torch.tensor([False, False])

    def trained(head_only: bool) -> dict[str, bool]:
        components.zero_grad(), score_head.zero_grad()
        with score_head.reading_from(components.dit):
            velocity_loss(components, batch, torch.tensor([0.9, 1.0]), torch.randn_like(batch.target), unconditional)
        losses = score_head.losses(batch.activity, batch.note_targets, head_only=head_only)
        assert set(losses) == set(LOSS_WEIGHTS)
        sum(losses.values()).backward()
        lower, upper = components.dit.layers[0], components.dit.layers[1]
        modules = {"score_head": score_head, "text": components.text, "lower": lower, "upper": upper}
        return {name: any(p.grad is not None for p in module.parameters()) for name, module in modules.items()}

    assert trained(head_only=True) == {"score_head": True, "text": False, "lower": False, "upper": False}
    assert trained(head_only=False) == {"score_head": True, "text": True, "lower": True, "upper": False}
    components.zero_grad()


@pytest.mark.parametrize("short_rows", [True, False])
def test_fast_precision_gives_what_plain_floats_give(short_rows: bool) -> None:
    torch.manual_seed(0)
    width, queries, keys = nn.Linear(64, 64), torch.randn(2, 4, 50, 64), torch.randn(2, 2, 50, 64)
    mask = torch.ones(50, 50, dtype=torch.bool).tril()

    def answer() -> torch.Tensor:
        attended = functional.scaled_dot_product_attention(
            queries.to(width(queries).dtype), keys.to(width(queries).dtype), keys.to(width(queries).dtype), attn_mask=mask, enable_gqa=True
        )  # fmt: skip
        return width(attended).float()

    plain = answer()
    with fast_precision("cpu", short_rows=short_rows):
        assert torch.is_autocast_enabled("cpu") == bool(torch.cpu.get_capabilities().get("amx_bf16"))
        assert_near(answer(), plain, 0.02)
    assert not torch.is_autocast_enabled("cpu")


def test_one_step_tasks_are_trained_where_their_step_is_and_never_without_conditions() -> None:
    t, unconditional = draw_times_and_dropout(
        ["extract"] * 400 + ["text2music"] * 400, torch.Generator().manual_seed(0)
    )
    assert (t[:400] == 1).float().mean() > 0.7
    assert (t[400:] == 1).float().mean() < 0.15
    assert not unconditional[:400].any()
    assert 0.05 < unconditional[400:].float().mean() < 0.15


def test_a_repaints_source_shows_the_outside_and_hides_the_inside(components: Components) -> None:
    one, silence = clip(), components.condition.silence_latent[0]
    made = make_example(one, "repaint", silence, np.random.default_rng(2), CONFIG.pool)
    inside = made.mask > 0.5
    assert torch.equal(made.source[~inside], one.mix_latents.float()[~inside])
    assert torch.equal(made.source[inside], silence[:400][inside])
    assert 0 < inside.sum() < 400


def test_rounding_lets_gradients_through() -> None:
    code_model = AudioCodeModel(CONFIG)
    StraightThroughRounding(code_model.tokenizer.quantizer)
    targets = torch.randn(1, 40, 32)
    code_model(targets)[0].square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in code_model.target_encoder.parameters())


def test_note_targets_show_where_notes_are() -> None:
    song = synthetic_music.compose(8, 6.0)
    targets, note = note_targets_of(song, 600, 100).float(), next(n for n in song.notes if n.stem == "bass")
    middle = int((note.start + 0.05) * 100)
    assert targets[middle, 12 + note.pitch % 12] > targets[:, 12 + note.pitch % 12].min() + 0.5


def test_snapped_notes_stand_on_the_latent_grid() -> None:
    song = snap_to_grid(synthetic_music.compose(8, 6.0), 0.01)
    assert all(abs(note.start * 100 - round(note.start * 100)) < 1e-6 for note in song.notes)


def test_half_of_the_training_songs_have_instruments_that_their_style_did_not_choose() -> None:
    songs = [training_song(seed, 5) for seed in range(300)]
    chosen = [song for song in songs if song.instruments != synthetic_music.compose(song.seed, 5).instruments]
    assert 0.40 < len(chosen) / len(songs) < 0.60
    assert training_song(7, 5, random_share=0.0) == synthetic_music.compose(7, 5)
    assert {stem for song in chosen for stem in song.instruments} == set(STEMS)
    assert 0.2 < np.mean([len(song.instruments) == 1 for song in chosen]) < 0.5
    assert training_song(7, 5) == training_song(7, 5)


def test_spectrograms_are_kept_and_stems_and_rests_have_rows_of_their_own(vae: PocketVae, tmp_path: Path) -> None:
    Stage("vae", 1, tmp_path).save(vae=vae.state_dict())
    random, shard = np.random.default_rng(0), tmp_path / "clips" / "000000006.pt"
    shard.parent.mkdir()
    clips = [make_clip(seed, 4, vae, CONFIG, random) for seed in range(4)]
    torch.save(clips, shard)
    spectrograms, stems = clip_spectrograms(tmp_path)
    there = [{stem for stem, plays in zip(STEMS, row, strict=True) if plays} for row in stems]
    expected: list[set[str]] = []
    for one in clips:
        everybody = set(one.song.instruments)
        expected += [everybody, {one.stem}, everybody - {one.stem}] if one.stem else [everybody]
    assert len(expected) > len(clips)
    assert there == expected
    shard.write_bytes(b"never read again")
    again, _ = clip_spectrograms(tmp_path)
    assert all(np.array_equal(old, new) for old, new in zip(spectrograms, again, strict=True))


def test_silence_encodes_the_time(vae: PocketVae) -> None:
    silence = timed_silence(vae, CONFIG)
    assert silence.shape == (1, 15_000, 32)
    code = time_encoding(15_000, 32, 100)
    assert torch.pdist(code[::500]).min() > 0.1  # no two moments look alike


def test_the_transformer_starts_by_letting_the_noise_through(components: Components) -> None:
    noise, conditions = torch.randn(1, 80, 32), torch.randn(1, 5, 32)
    context = torch.cat([components.silence(80)[None], torch.ones(1, 80, 32)], dim=-1)
    with torch.no_grad():
        velocity = components.velocity(noise, torch.ones(1), conditions, context)
    assert torch.nn.functional.cosine_similarity(velocity.flatten(), noise.flatten(), dim=0) > 0.8


def test_attributes_can_be_learnt_from_the_mean_of_a_prompts_states(
    components: Components, text_tokenizer, tmp_path
) -> None:
    attribute_heads, stage = AttributeHeads(CONFIG.condition_width), Stage("attributes", 2.0, tmp_path)
    songs = [synthetic_music.compose(seed, 10.0) for seed in range(8)]
    tokenized = for_text(text_tokenizer)(
        [prompt_and_lyrics(s, 10, instruction("text2music"))[0] for s in songs], padding=True, return_tensors="pt"
    )
    attributes = [attributes_of(song) for song in songs]

    def loss() -> float:
        with torch.no_grad():
            states = components.encode_text(tokenized)
            return float(sum(attribute_heads.losses(states, tokenized["attention_mask"], attributes).values()))

    before = loss()
    pretrain_attributes(stage, components, attribute_heads, for_text(text_tokenizer), songs=60)
    assert loss() < before
    assert stage.file.exists()


def test_half_of_the_times_are_high_noise() -> None:
    found = draw_times(4000, torch.Generator().manual_seed(0))
    assert 0.5 < (found > 0.6).float().mean() < 0.75
    assert found.max() == 1.0
    assert found.min() > 0


def test_a_stage_continues_where_it_stopped(tmp_path) -> None:
    stage = Stage("demo", 100.0, tmp_path)
    stage.step, stage.elapsed = 7, 40.0
    stage.save(weight=torch.ones(2))
    later = Stage("demo", 100.0, tmp_path)
    assert torch.equal(later.load()["weight"], torch.ones(2))
    assert (later.step, later.fraction) == (7, 0.4)
    assert Stage("other", 1.0, tmp_path).load() is None


def test_the_transformers_stage_restores_all_that_it_saves(components: Components, tmp_path) -> None:
    def learners() -> tuple[AttributeHeads, ScoreHead, list[torch.optim.Optimizer]]:
        heads, score_head = AttributeHeads(CONFIG.condition_width), ScoreHead(CONFIG.dit_width)
        return heads, score_head, make_optimisers(components, heads, score_head)

    heads, score_head, optimisers = learners()
    average = WeightAverage(components)
    average.update(components)
    save_state(Stage("dit", 1.0, tmp_path), components, heads, score_head, optimisers, average)
    state = Stage("dit", 1.0, tmp_path).load()
    other_heads, other_head, other_optimisers = learners()
    other_average = WeightAverage(nn.Linear(1, 1))
    restore_state(state, components, other_heads, other_head, other_optimisers, other_average)
    assert other_average.count == 1
    assert set(other_average.weights) == set(components.state_dict())
    for one, other in ((heads, other_heads), (score_head, other_head)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_an_average_follows_slowly() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.9)
    before = average.weights["weight"].clone()
    with torch.no_grad():
        model.weight += 1
    for _ in range(200):
        average.update(model)
    assert_near(average.weights["weight"], before + 1, 0.001)


def test_the_pipeline_class_is_still_the_one_we_write_prompts_for() -> None:
    assert (
        AceStepPipeline._build_metadata_string(120, "C major", "4", 10.0).splitlines()[-1] == "- duration: 10 seconds"
    )


def test_the_nearest_code_of_note_targets_is_the_one_that_rebuilds_them() -> None:
    torch.manual_seed(0)
    code_model = AudioCodeModel(CONFIG)
    with torch.no_grad():
        code_model.detokenizer.proj_out.weight.mul_(20)  # far enough apart to be told from each other
    asked = torch.tensor([[0, 999, 123, 500, 77]])
    targets = decode_codes(code_model.tokenizer, code_model.detokenizer, asked)
    assert torch.equal(code_model.nearest_codes(targets), asked)
    assert torch.equal(code_model.nearest_codes(targets + 1e-4 * torch.randn_like(targets)), asked)


def test_codes_of_a_finished_checkpoint_are_not_trained_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    code_model = AudioCodeModel(CONFIG)
    Stage("codes", 60, tmp_path).save(code_model=code_model.state_dict(), final=True)
    stage = Stage("codes", 60, tmp_path)
    saved = train_codes(stage, CONFIG, ClipPool(tmp_path / "no clips", seed=0)).state_dict()
    assert stage.step == 0
    assert all(torch.equal(saved[name], weight) for name, weight in code_model.state_dict().items())


def test_the_planners_songs_are_composed_from_their_seeds_and_the_oldest_are_dropped() -> None:
    torch.manual_seed(0)
    code_model = AudioCodeModel(CONFIG)
    one, other = PlanCorpus(code_model, CONFIG, 40_000_000, max_songs=4), PlanCorpus(code_model, CONFIG, 40_000_000)
    one.compose(3), other.compose(1), other.compose(2)
    assert [song.codes for song in one.songs] == [song.codes for song in other.songs]
    assert all(len(song.codes) == 5 * song.seconds for song in one.songs)
    before = one.songs[1:]
    one.compose(2)
    assert len(one.songs) == 4
    assert one.songs[:2] == before


def test_training_can_continue_from_the_shipped_checkpoint_in_all_components() -> None:
    config, folder = PocketConfig(), Path(acestep_lab.__file__).parent / "models/pocket"
    vocabulary = len(Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json")).get_vocab())
    silence = torch.zeros(1, config.silence_frames, config.latent_channels)
    components = export.load_components(folder, Components(config, vocabulary, silence))
    code_model, lm = export.load_code_model(folder, config), export.load_lm(folder)
    for model, place in (
        (components.dit, "transformer/diffusion_pytorch_model"), (components.condition, "condition_encoder/diffusion_pytorch_model"),
        (components.text, "text_encoder/model"), (code_model.detokenizer, "audio_token_detokenizer/diffusion_pytorch_model"),
        (lm, "lm/model"),
    ):  # fmt: skip
        saved = load_file(folder / f"{place}.safetensors")
        weights = model.state_dict()
        assert set(saved) <= set(weights)
        assert all(torch.equal(weights[name], tensor.float()) for name, tensor in saved.items())

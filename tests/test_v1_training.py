"""ACE-Step v1 taught and adapted: adapters act by their formula, lessons hear what a render hears, what is learnt leaves and returns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from acestep_lab import Recipe, Session
from acestep_lab._libraries import load, transformers
from acestep_lab.engines.ace_v1 import erg, training
from acestep_lab.engines.ace_v1.engine import AceV1Engine
from acestep_lab.engines.ace_v1.geometry import to_image
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.errors import CheckpointError, RecipeError
from acestep_lab.models.adapters import Adapter, apply, opened
from acestep_lab.models.adapters import remove as take_off
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train.adapter_export import AdapterFacts, write_adapter
from acestep_lab.train.cache import LessonCache
from acestep_lab.train.lora import HeldOut, LoraConfig, Trainer, batched
from tests.tiny_v1 import _config as tiny_config
from tests.tiny_v1 import tiny_v1

LAYERS = (
    "transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_out.0", "transformer_blocks.2.cross_attn.to_k",
    "transformer_blocks.1.ff.inverted_conv.conv", "transformer_blocks.0.ff.point_conv.conv",
    "lyric_encoder.encoders.1.self_attn.linear_v", "speaker_embedder",
)  # fmt: skip
"""One of each kind that an adapter of v1 is of."""
RANK, ALPHA = 4, 2.0
QUICK: dict[str, Any] = {"steps": 4, "rank": 2, "warm_up": 0, "learning_rate": 1e-2, "held_out_every": 2, "seed": 3}


# -- adapters ----------------------------------------------------------------------------------------------------------


def bare() -> AceStepV1Transformer:
    torch.manual_seed(1)
    return AceStepV1Transformer(tiny_config()).double().requires_grad_(False).eval()


def factors(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of every layer."""
    draw, dit = torch.Generator().manual_seed(seed), bare()
    return {
        name: (
            torch.randn(RANK, layer.in_features, generator=draw),
            torch.randn(layer.out_features, RANK, generator=draw),
        )
        for name in LAYERS
        if isinstance(layer := dit.get_submodule(name), nn.Linear)
    }


def as_stored(made: dict[str, tuple[Tensor, Tensor]], before: str = "") -> dict[str, Tensor]:
    """As the original's modules have them: convolutions keep a side of 1."""
    found: dict[str, Tensor] = {}
    for name, pair in made.items():
        for word, factor in zip(("lora_A", "lora_B"), pair, strict=True):
            tail = (..., None) if name.endswith("_conv.conv") else ...
            found[f"{before}{name}.{word}.weight"] = factor[tail].contiguous()
    return found


def diffusers_file(folder: Path, seed: int = 0) -> Path:
    """What `save_lora_adapter` writes for the original's own settings: rank-stabilised, alpha in the header."""
    folder.mkdir(parents=True, exist_ok=True)
    note = json.dumps({"r": RANK, "lora_alpha": ALPHA, "use_rslora": True, "target_modules": ["to_q", "linear_v"]})
    file = folder / "pytorch_lora_weights.safetensors"
    save_file(as_stored(factors(seed)), file, {"format": "pt", "lora_adapter_metadata": note})
    return file


def alpha_file(folder: Path) -> Path:
    """One whose alpha stands beside each layer, and whose names a ComfyUI user's file has."""
    folder.mkdir(parents=True)
    tensors = as_stored(factors(0), "diffusion_model.")
    tensors |= {f"diffusion_model.{name}.alpha": torch.tensor(ALPHA * RANK**0.5) for name in LAYERS}
    save_file(tensors, folder / "chinese rap.safetensors")
    return folder / "chinese rap.safetensors"


def test_of_the_originals_own_output_the_newest_is_taken(tmp_path: Path) -> None:
    for step in (2000, 10000, 4000):
        diffusers_file(tmp_path / "rap" / "checkpoints" / f"epoch=0-step={step}_lora")
    found = Adapter.open(tmp_path / "rap")
    assert (found.name, found.file.parent.name) == ("rap", "epoch=0-step=10000_lora")


def peft_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file(as_stored(factors(0), "base_model.model."), folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "use_rslora": True}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def changed(*strong: tuple[int, float]) -> AceStepV1Transformer:
    """The transformer with W + strength · alpha / √rank · B · A in its weights, worked out here."""
    dit = bare()
    for seed, strength in strong:
        for name, (down, up) in factors(seed).items():
            layer: Any = dit.get_submodule(name)
            layer.weight += strength * ALPHA / RANK**0.5 * (up.double() @ down.double())
    return dit


def velocity(dit: AceStepV1Transformer) -> Tensor:
    draw, config = torch.Generator().manual_seed(9), dit.config
    text, voice = (
        torch.randn(2, 5, config.text_embedding_dim, generator=draw),
        torch.randn(2, config.speaker_embedding_dim),
    )
    ids, ones = torch.randint(3, 90, (2, 6), generator=draw), torch.ones(2, 6, dtype=torch.long)
    latent = torch.randn(2, 8, config.max_height, 7, generator=draw).double()
    with torch.inference_mode():
        states, mask = dit.encode(text, ones[:, :5], voice.fill_(0.3), ids, ones)
        return dit.velocity(latent, torch.tensor([0.2, 0.9]), states, mask)


@pytest.mark.parametrize("write", [diffusers_file, alpha_file, peft_folder])
def test_every_form_of_a_v1_adapter_acts_as_the_formula_says(tmp_path: Path, write: Any) -> None:
    adapter, dit = Adapter.open(write(tmp_path / "rap")), bare()
    assert (adapter.family, adapter.rank, set(adapter.layers)) == ("ace-step-v1", RANK, set(LAYERS))
    assert {"to_q", "to_out.0", "linear_v", "speaker_embedder", "inverted_conv"} <= set(adapter.targets)
    apply(dit, [(adapter, 1.0)])
    torch.testing.assert_close(velocity(dit), velocity(changed((0, 1.0))), rtol=1e-5, atol=1e-5)
    assert torch.equal(velocity(take_off(dit)), velocity(bare()))


def test_several_act_at_once_from_minus_three_to_three(tmp_path: Path) -> None:
    first, second = (Adapter.open(diffusers_file(tmp_path / name, seed)) for seed, name in enumerate(("a", "b")))
    dit = apply(bare(), [(first, -3.0), (second, 3.0)])
    assert isinstance(dit, AceStepV1Transformer)
    torch.testing.assert_close(velocity(dit), velocity(changed((0, -3.0), (1, 3.0))), rtol=1e-4, atol=1e-4)
    apply(dit, [(first, 0.0)])
    assert torch.equal(velocity(dit), velocity(bare()))


def test_an_adapter_of_another_family_is_refused_by_a_sentence_that_names_both(
    lab: Session, tiny_original_turbo: Path, tmp_path: Path
) -> None:
    other = tmp_path / "of 15.safetensors"
    save_file({f"layers.0.self_attn.q_proj.lora_{word}.weight": torch.ones(2, 2) for word in "AB"}, other)
    with pytest.raises(CheckpointError, match=r"of 15 is for ACE-Step 1\.5, and this checkpoint is ACE-Step v1"):
        lab.lora(other)
    assert lab.adapters == ()
    with (
        Session.open(tiny_original_turbo, library=Library(tmp_path / "library")) as turbo,
        pytest.raises(CheckpointError, match=r"rap is for ACE-Step v1, and this checkpoint is ACE-Step 1\.5"),
    ):
        turbo.lora(diffusers_file(tmp_path / "rap"))
    both = load_file(other) | as_stored(factors(0))
    save_file(both, tmp_path / "both.safetensors")
    with pytest.raises(CheckpointError, match="for one of them"):
        Adapter.open(tmp_path / "both.safetensors")


# -- lessons -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    place = tmp_path_factory.mktemp("v1")
    with Session.open(tiny_v1(place / "tiny v1"), library=Library(place / "library")) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def engine(lab: Session) -> AceV1Engine:
    found: Any = lab.engine
    return found


@pytest.fixture(scope="module")
def takes(lab: Session) -> list[Take]:
    words = (
        "[verse]\nhello there",
        "[Instrumental]",
        "[verse]\na much longer line to sing\nmy friend",
        "[Instrumental]",
    )
    return [
        lab.make(Recipe(f"song {n}, " * (n + 1), each, seconds=2 + 0.2 * n, seed=n, steps=1))
        for n, each in enumerate(words)
    ]


@pytest.fixture(scope="module")
def lessons(engine: AceV1Engine, takes: list[Take]) -> list[Any]:
    requests = [engine.resolve(one.recipe, None, lambda _: takes[0], 240.0) for one in takes]
    return [engine.lesson(ready, take) for ready, take in zip(engine.prepare(requests), takes, strict=True)]


def test_a_lesson_hears_what_a_render_hears_beside_longer_ones_too(
    engine: AceV1Engine, takes: list[Take], lessons: list[Any]
) -> None:
    batch = batched(lessons)
    module: Any = engine.training_module(torch.float32).eval()
    t = torch.full((len(lessons),), 0.4)
    with torch.no_grad():
        together = engine.velocity(module, batch.target, t, batch.states, batch.mask, batch.context)
        for place, take in enumerate(takes):
            (ready,) = engine.prepare([engine.resolve(take.recipe, None, lambda _: takes[0], 240.0)])
            states, mask = erg.encoded(module.encode, engine._words([ready], 0), erg.WHOLE, module, ())
            alone = module.velocity(to_image(batch.target[place : place + 1]), t[:1], states, mask)
            torch.testing.assert_close(to_image(together[place : place + 1]), alone, rtol=1e-4, atol=1e-5)
        assert not torch.equal(together[0], engine.velocity(
            module, batch.target[:1], t[:1], batch.states[1:2], batch.mask[1:2], batch.context[:1])[0])  # fmt: skip


def test_prompt_and_lyrics_are_left_out_each_on_its_own(lessons: list[Any]) -> None:
    batch = batched(lessons[:1])
    texts, _, ids, sung = training.words_of(batch.states, batch.mask)
    assert texts.any()
    assert sung.all()
    assert ids.any()
    for dropped, silent in (([True, False], (True, False)), ([False, True], (False, True))):
        states, mask = batch.heard(torch.tensor([dropped]))
        text, text_mask, lyrics, lyric_mask = training.words_of(states, mask)
        assert (not text.any(), not lyrics.any() and not lyric_mask.any()) == silent
        assert text_mask.all()
        assert text.shape == texts.shape
        assert lyrics.shape == ids.shape


def test_a_kept_lesson_is_the_lesson_that_was_made(lab: Session, engine: AceV1Engine, takes: list[Take]) -> None:
    run = lab.train(takes, lessons_only=True, **QUICK)
    run.wait()
    cache = LessonCache(run.folder)
    found = [cache.find(file.stem) for file in run.folder.glob("*.safetensors")]
    kept = {len(one.kinds): one for one in found if one is not None and one.kinds is not None}
    assert len(kept) == len(takes)
    assert all(one.context.shape == (len(one.target), 0) for one in kept.values())
    assert sum(np.array_equal(one.target.numpy(), take.latent) for one in kept.values() for take in takes) == len(takes)


def test_times_are_logit_normal_on_the_shifted_thousand(engine: AceV1Engine) -> None:
    t = engine.draw_times(4000, torch.Generator().manual_seed(0)).double()
    place = 1000 * (1 - t / (3 - 2 * t))  # the shift undone
    torch.testing.assert_close(place, place.round(), rtol=0, atol=2e-3)
    u = (place / 1000 + 5e-4).logit()
    assert abs(float(u.mean())) < 0.06
    assert abs(float(u.std()) - 1) < 0.05
    assert float(t.min()) > 0
    assert float(t.max()) <= 1


def test_the_error_is_that_of_the_song_a_velocity_leads_to(engine: AceV1Engine, lessons: list[Any]) -> None:
    trainer = Trainer(engine, lessons[:1], LoraConfig(**QUICK))
    trainer.module.eval()
    batch, t = batched(lessons[:1]), torch.tensor([0.7])
    noise = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        error = trainer._errors(batch, t, noise, torch.zeros(1, 2, dtype=torch.bool))
        x = 0.7 * noise + 0.3 * batch.target
        found = engine.velocity(trainer.module, x, t, batch.states, batch.mask, batch.context)
    song = x - 0.7 * found
    torch.testing.assert_close(error, (song - batch.target).square().mean((1, 2)), rtol=1e-5, atol=1e-6)


# -- training ----------------------------------------------------------------------------------------------------------


def test_gone_on_from_its_state_it_reaches_the_very_same_weights(engine: AceV1Engine, lessons: list[Any]) -> None:
    config = LoraConfig(**QUICK | {"batch": 2, "gradient_checkpointing": True})
    whole, first, second = (Trainer(engine, lessons, config) for _ in range(3))
    told = list(whole.run())
    assert len(told) == 4
    assert not any(isinstance(one, HeldOut) for one in told)
    running = first.run()
    next(running), next(running)
    second.load_state(first.state())
    list(second.run())
    assert all(torch.equal(one, second.parameters[name]) for name, one in whole.parameters.items())
    plain = Trainer(engine, lessons, config.replace(gradient_checkpointing=False))
    losses = [one.loss for one in plain.run()]  # type: ignore[union-attr]
    np.testing.assert_allclose(losses, [one.loss for one in told], rtol=1e-4)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def taught(lab: Session, takes: list[Take]) -> Path:
    run = lab.train(takes, **QUICK, targets=("attention", "mlp"))
    run.wait()
    assert run.state == "done"
    assert [one.step for one in run.held_out_curve] == [0, 2, 4]
    found: Path = run.folder
    return found


def test_what_was_taught_is_heard_and_taken_off_again(lab: Session, taught: Path, takes: list[Take]) -> None:
    recipe = takes[0].recipe.replace(steps=2)
    without = lab.make(recipe)
    try:
        lab.lora((taught, 1.0))
        with_it = lab.make(recipe)
        merged = lab.merge(taught.parent / "merged")
    finally:
        lab.lora()
    assert lab.training(taught).step == 4
    assert with_it.made_with["adapters"] == {taught.name: 1.0}
    assert not np.array_equal(with_it.latent, without.latent)
    assert np.array_equal(lab.make(recipe).latent, without.latent)
    with Session.open(merged.folder, library=Library(taught.parent / "its library")) as other:
        np.testing.assert_allclose(other.make(recipe).latent, with_it.latent, atol=2e-3)


def test_layers_that_read_lyrics_are_taught_too(taught: Path) -> None:
    stored = load_file(taught / "last" / "pytorch_lora_weights.safetensors")
    moved = {name for name, one in stored.items() if name.endswith("lora_B.weight") and one.any()}
    assert moved == {name for name in stored if name.endswith("lora_B.weight")}
    assert any(name.startswith("lyric_encoder.encoders.0.self_attn.linear_q") for name in moved)
    assert stored["transformer_blocks.0.ff.inverted_conv.conv.lora_A.weight"].shape[-1] == 1


def test_diffusers_own_loader_reads_the_file_to_the_same_velocity(
    engine: AceV1Engine, lessons: list[Any], tmp_path: Path
) -> None:
    class Original(AceStepV1Transformer, load("diffusers.loaders").PeftAdapterMixin):  # type: ignore[misc]
        """The original's transformer is a diffusers model with this loader."""

    config = LoraConfig(**QUICK | {"steps": 1})
    trainer = Trainer(engine, lessons[2:3], config)
    list(trainer.run())
    write_adapter(tmp_path, trainer.adapter_state(), config, AdapterFacts("v1", family="ace-step-v1"))
    torch.manual_seed(1)
    theirs = Original(tiny_config()).requires_grad_(False)
    theirs.load_lora_adapter(str(tmp_path), weight_name="pytorch_lora_weights.safetensors", prefix=None)
    torch.manual_seed(1)
    ours = AceStepV1Transformer(tiny_config()).requires_grad_(False).eval()
    plain = velocity(ours)
    apply(ours, opened([tmp_path]))
    torch.testing.assert_close(velocity(theirs.eval()), velocity(ours), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(velocity(ours), plain)


@pytest.mark.parametrize("kind", ["dora", "rslora", "lokr"])
def test_every_kind_leaves_as_it_acted(kind: str, engine: AceV1Engine, lessons: list[Any], tmp_path: Path) -> None:
    config = LoraConfig(**QUICK | {"kind": kind, "steps": 1, "targets": ("attention", "mlp")})
    trainer = Trainer(engine, lessons[:1], config)
    list(trainer.run())
    trainer.module.eval()
    write_adapter(tmp_path, trainer.adapter_state(), config, AdapterFacts("v1", family="ace-step-v1"))
    dit = engine.training_module(torch.float32).eval()
    apply(dit, opened([tmp_path]))
    batch = batched(lessons[:1])
    with torch.no_grad():
        here, there = (
            engine.velocity(one, batch.target, torch.tensor([0.5]), batch.states, batch.mask, batch.context)
            for one in (trainer.module, dit)
        )
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_repa_draws_a_block_towards_what_a_hubert_hears(lab: Session, takes: list[Take]) -> None:
    config = transformers.HubertConfig(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    run = lab.train(takes, repa=[transformers.HubertModel(config).eval()], **QUICK | {"steps": 2})
    run.wait()
    assert run.state == "done"
    assert all(one.alignment is not None for one in run.curve)
    (file,) = (run.folder / "last").glob("*.safetensors")
    assert not any("repa" in name or "projector" in name for name in load_file(file))
    with pytest.raises(RecipeError, match="has 3 blocks"):
        lab.train(takes, repa=[transformers.HubertModel(config).eval()], repa_block=4, **QUICK)


def test_a_forecast_speaks_of_this_engines_own_parts(lab: Session, takes: list[Take]) -> None:
    plan = lab.train(takes, dry_run=True, **QUICK)
    assert {"UMT5", "DCAE and vocoder"} <= {one.name for one in plan.shares}
    dit = next(one for one in lab.engine.component_specs() if one.name == "dit")
    assert next(one.bytes for one in plan.shares if one.name == "the transformer") == 2 * dit.bytes
    assert plan.parameters == sum(
        2 * (out + into)
        for name, (out, into) in (
            (name, tuple(one.weight.shape)) for name, one in bare().named_modules()
            if isinstance(one, nn.Linear) and name.endswith(training.ATTENTION)
        )
    )  # fmt: skip
    assert "logit-normal" in str(plan)
    assert plan.fits

"""The transformer of ACE-Step v1: its published layout, its formulas in float64, padding, training and loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from acestep_lab.engines.ace_v1 import layout, linear_attention, transformer
from acestep_lab.engines.ace_v1.geometry import V1Config, frames_of, seconds_of, to_frames, to_image
from acestep_lab.engines.ace_v1.linear_attention import LinearAttention, turned, turns
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer, PreparedStates
from acestep_lab.errors import CheckpointError
from tests.closeness import assert_near
from tests.v1_formulas import Formulas

FRAMES, WORDS, LYRICS = 13, 5, 7
PUBLISHED = {
    "in_channels": 8, "num_layers": 24, "inner_dim": 2560, "attention_head_dim": 128, "num_attention_heads": 20,
    "mlp_ratio": 2.5, "out_channels": 8, "max_position": 32768, "rope_theta": 1000000.0, "speaker_embedding_dim": 512,
    "text_embedding_dim": 768, "ssl_encoder_depths": [8, 8], "ssl_names": ["mert", "m-hubert"], "ssl_latent_dims": [1024, 768],
    "patch_size": [16, 1], "max_height": 16, "max_width": 32768, "lyric_encoder_vocab_size": 6693, "lyric_hidden_size": 1024,
}  # fmt: skip
"""What the published config.json says."""


def made(seed: int = 0, projectors: bool = False) -> AceStepV1Transformer:
    """A tiny model with every parameter moved, so that no norm is one and no bias zero."""
    torch.manual_seed(seed)
    model = AceStepV1Transformer(V1Config.tiny(), projectors).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model() -> AceStepV1Transformer:
    return made()


@pytest.fixture(scope="module")
def formulas(model: AceStepV1Transformer) -> Formulas:
    return Formulas(
        {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}, model.config
    )


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def song(batch: int = 1, frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor]:
    """Latent, small times (whose waves float32 holds exactly enough) and states."""
    return drawn(batch, 8, 16, frames), torch.tensor([0.031, 0.012])[:batch], drawn(batch, 11, 30, seed=2)


# The published layout


def published_layout() -> dict[str, tuple[int, ...]]:
    """The 874 tensors by hand: name → shape."""
    dim, lyric, wide = 2560, 1024, 12800
    square, table = {}, {}
    for block in range(24):
        name = f"transformer_blocks.{block}"
        layers = [f"attn.{one}" for one in ("to_q", "to_k", "to_v", "to_out.0")]
        added = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
        layers += [f"cross_attn.{one}" for one in ("to_q", "to_k", "to_v", "to_out.0", *added)]
        square |= {f"{name}.{one}": dim for one in layers}
        table |= {f"{name}.ff.inverted_conv.conv.weight": (wide, dim, 1), f"{name}.ff.inverted_conv.conv.bias": (wide,)}
        table |= {f"{name}.ff.depth_conv.conv.weight": (wide, 1, 3), f"{name}.ff.depth_conv.conv.bias": (wide,)}
        table |= {f"{name}.ff.point_conv.conv.weight": (dim, 6400, 1), f"{name}.scale_shift_table": (6, dim)}
    for layer in range(6):
        name = f"lyric_encoder.encoders.{layer}"
        square |= {f"{name}.self_attn.linear_{one}": lyric for one in ("q", "k", "v", "out")}
        table |= {f"{name}.self_attn.linear_pos.weight": (lyric, lyric)}
        table |= {f"{name}.self_attn.pos_bias_{one}": (16, 64) for one in "uv"}
        table |= affine(f"{name}.feed_forward.w_1", 4096, lyric) | affine(f"{name}.feed_forward.w_2", lyric, 4096)
        table |= affine(f"{name}.norm_ff", lyric) | affine(f"{name}.norm_mha", lyric)
    for index, width in enumerate((1024, 768)):
        for layer, shape in ((0, (5120, dim)), (2, (5120, 5120)), (4, (width, 5120))):
            table |= affine(f"projectors.{index}.{layer}", *shape)
    for name, shape in (
        ("timestep_embedder.linear_1", (dim, 256)), ("timestep_embedder.linear_2", (dim, dim)), ("t_block.1", (6 * dim, dim)),
        ("speaker_embedder", (dim, 512)), ("genre_embedder", (dim, 768)), ("lyric_proj", (dim, lyric)),
        ("lyric_encoder.embed.out.0", (lyric, lyric)), ("lyric_encoder.embed.out.1", (lyric,)),
        ("lyric_encoder.after_norm", (lyric,)), ("proj_in.early_conv_layers.0", (2048, 8, 16, 1)),
        ("proj_in.early_conv_layers.1", (2048,)), ("proj_in.early_conv_layers.2", (dim, 2048, 1, 1)),
        ("final_layer.linear", (128, dim)),
    ):  # fmt: skip
        table |= affine(name, *shape)
    table |= {"lyric_embs.weight": (6693, lyric), "final_layer.scale_shift_table": (2, dim)}
    return table | {k: v for name, size in square.items() for k, v in affine(name, size, size).items()}


def affine(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def test_the_full_size_has_the_published_names_shapes_and_numbers() -> None:
    config = V1Config.from_config(PUBLISHED)
    assert config == V1Config()
    with torch.device("meta"):
        whole = AceStepV1Transformer(config, projectors=True)
    kept = {name: tuple(tensor.shape) for name, tensor in whole.state_dict().items()}
    published = published_layout()
    assert len(published) == 874
    assert kept | layout.uncalled(config) == published
    numbers = {name: prod(shape) for name, shape in published.items()}
    assert sum(numbers.values()) == 3_305_659_264
    assert sum(numbers[name] for name in layout.uncalled(config)) == 629_391_360
    assert sum(numbers[name] for name in layout.projectors(config)) == 87_840_512


def test_a_tiny_one_has_less_than_two_megabytes_and_its_config_makes_the_same_again() -> None:
    config = V1Config.tiny()
    assert 4 * sum(parameter.numel() for parameter in made().parameters()) < 2e6
    assert V1Config.from_config(json.loads(json.dumps(config.to_config()))) == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_head_dim": 127}, "pairs"), ({"patch_size": [8, 2]}, "one frame"), ({"inner_dim": 1536}, "heads that make"),
        ({"num_layers": "many"}, "whole number"), ({"ssl_latent_dims": [1]}, "as many"), ({"patch_size": 16}, "a list"),
        ({"lyric_heads": 7}, "does not divide"), ({"ssl_encoder_depths": [8, 24]}, "24 blocks"),
         ({"damped_blocks": [1, 99]}, "damped_blocks"), ({"max_height": 0, "patch_size": [0, 1]}, "max_height"),
        ({"rope_theta": 0}, "rope_theta"), ({"rope_theta": -5.0}, "rope_theta"), ({"mlp_ratio": 0}, "mlp_ratio"),
    ],
)  # fmt: skip
def test_a_config_of_another_model_is_refused_in_a_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        V1Config.from_config({**PUBLISHED, **change})


def test_latents_go_from_the_house_to_the_model_and_back_channel_before_row() -> None:
    latent = drawn(2, FRAMES, 128)
    image = to_image(latent)
    assert image.shape == (2, 8, 16, FRAMES)
    assert torch.equal(image[1, 3, 5], latent[1, :, 3 * 16 + 5])
    assert torch.equal(to_frames(image), latent)
    assert (frames_of(30), frames_of(240)) == (322, 2583)
    assert 0 < 30 - seconds_of(322) < 0.1


# The formulas


@pytest.mark.parametrize("records", [False, True], ids=["inference", "autograd"])
def test_every_part_is_its_formula_in_double_precision(
    model: AceStepV1Transformer, formulas: Formulas, records: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_attention, "SLAB", 4)
    monkeypatch.setattr(transformer, "ROWS", 3)
    block, x, states = model.transformer_blocks[1], drawn(1, FRAMES, 30), drawn(1, 9, 30, seed=2)
    by, heard = (turns(torch.arange(size)[None], 10, 10_000.0) for size in (FRAMES, 9))
    embedded, name = drawn(1, 30, seed=3), "transformer_blocks.1"
    with torch.set_grad_enabled(records):
        found = {
            "linear attention": block.attn(x, by),
            "cross attention": block.cross_attn(x, by, *block.cross_attn.prepare(states, heard), None),
            "network": block.ff(x, None),
            "tokens": model.proj_in(drawn(1, 8, 16, FRAMES), None),
            "time": model.timestep_embedder(torch.tensor([0.031]), torch.float32),
            "final": model.final_layer(x, embedded),
            "lyrics": model.lyric_encoder(model.lyric_embs(torch.arange(LYRICS)[None]), torch.ones(1, LYRICS)),
        }
    wide, heard_wide = x[0].double().numpy(), states[0].double().numpy()
    expected = {
        "linear attention": formulas.linear_attention(f"{name}.attn", wide),
        "cross attention": formulas.cross_attention(f"{name}.cross_attn", wide, heard_wide),
        "network": formulas.network(f"{name}.ff", wide),
        "tokens": formulas.tokens(drawn(8, 16, FRAMES).double().numpy()),
        "time": formulas.embedded_time(0.031),
        "final": formulas.final(wide, embedded[0].double().numpy()),
        "lyrics": formulas.lyrics(np.arange(LYRICS)),
    }
    for part, numbers in expected.items():
        assert_near(found[part].reshape(numbers.shape), numbers)


def test_the_whole_is_its_formula_in_double_precision(model: AceStepV1Transformer, formulas: Formulas) -> None:
    latent, t, _ = song()
    text, voice, ids = drawn(1, WORDS, 22), drawn(1, 14), torch.randint(6693, (1, LYRICS))
    with torch.no_grad():
        states, mask = model.encode(text, torch.ones(1, WORDS), voice, ids, torch.ones(1, LYRICS))
        velocity = model.velocity(latent, t, states, mask)
    expected = formulas.encode(text[0].double().numpy(), voice[0].double().numpy(), ids[0].numpy())
    assert_near(states[0], expected)
    assert_near(velocity[0], formulas.velocity(latent[0].double().numpy(), float(t), expected))


def test_rotation_turns_a_pair_by_two_angles_as_it_was_trained() -> None:
    by = turns(torch.tensor([[3]]), 10, 100.0)
    one = torch.zeros(1, 1, 1, 10)
    one[..., 2] = 1.0
    with torch.no_grad():
        found = turned(one, by).flatten()
    first, second = 3 * 100.0 ** (-2 * 2 / 10), 3 * 100.0 ** (-2 * 3 / 10)
    assert_near(found[2:4], [np.cos(first), np.sin(second)])
    with torch.enable_grad():
        assert_near(turned(drawn(1, 1, 3, 10), by), turned(drawn(1, 1, 3, 10), by).detach())


def test_the_time_is_heard_in_thousandths_exactly_as_diffusers_does() -> None:
    from diffusers.models.embeddings import get_timestep_embedding

    model, t = made(), torch.tensor([0.0, 0.7, 1.0])
    heard: list[Tensor] = []
    handle = model.timestep_embedder.linear_1.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    model.timestep_embedder(t, torch.float32)
    handle.remove()
    expected = get_timestep_embedding(t * 1000, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert_near(heard[0], expected, 1e-4)
    assert torch.equal(heard[0][0], expected[0])


def test_the_work_of_linear_attention_grows_with_the_length_and_not_its_square() -> None:
    layer, work = LinearAttention(3, 10), []
    for frames in (50, 100, 200):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            layer(drawn(1, frames, 30), turns(torch.arange(frames)[None], 10, 100.0))
        work.append(counter.get_total_flops())
    assert work[2] - work[1] == 2 * (work[1] - work[0])


# Padding and preparation


@torch.no_grad()
@pytest.mark.parametrize("slab", [512, 4], ids=["whole", "in slabs"])
def test_an_item_in_a_padded_batch_is_the_item_alone(
    model: AceStepV1Transformer, slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_attention, "SLAB", slab)
    monkeypatch.setattr(transformer, "ROWS", slab - 1)
    lengths, words, lyrics = (FRAMES, 6), (WORDS, 2), (LYRICS, 3)
    latent, t, _ = song(2)
    text, voice, ids = drawn(2, WORDS, 22), drawn(2, 14), torch.randint(6693, (2, LYRICS))
    masks = [torch.arange(max(sizes))[None] < torch.tensor(sizes)[:, None] for sizes in (lengths, words, lyrics)]
    states, mask = model.encode(text, masks[1], voice, ids, masks[2])
    together = model.velocity(latent, t, states, mask, masks[0])
    prepared = model.velocity(latent, t, model.prepare_states(states, mask), frame_mask=masks[0])
    for i, (frames, tokens, sung) in enumerate(zip(lengths, words, lyrics, strict=True)):
        said = (text[i : i + 1, :tokens], torch.ones(1, tokens), voice[i : i + 1])
        own = model.encode(*said, ids[i : i + 1, :sung], torch.ones(1, sung))
        alone = model.velocity(latent[i : i + 1, ..., :frames], t[i : i + 1], *own)[0]
        assert_near(together[i, ..., :frames], alone)
        assert_near(prepared[i, ..., :frames], alone)
    assert together.isfinite().all()


@torch.no_grad()
def test_prepared_conditions_give_the_same_and_leave_out_what_nobody_hears(model: AceStepV1Transformer) -> None:
    latent, t, states = song(2)
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[:, 8:] = 0
    prepared = model.prepare_states(states, mask)
    assert isinstance(prepared, PreparedStates)
    assert prepared.keys[0].shape[2] == 8
    assert prepared.bias is None
    assert_near(model.velocity(latent, t, prepared), model.velocity(latent, t, states, mask))
    assert_near(model.velocity(latent, t, prepared), model.velocity(latent, t, states[:, :8]))


@torch.no_grad()
def test_a_song_without_words_hears_one_masked_token_and_nothing_of_it(model: AceStepV1Transformer) -> None:
    said = (drawn(1, WORDS, 22), torch.ones(1, WORDS), drawn(1, 14))
    silent = [model.encode(*said, torch.tensor([[token]]), torch.zeros(1, 1)) for token in (0, 99)]
    latent, t, _ = song()
    one, other = (model.velocity(latent, t, states, mask) for states, mask in silent)
    assert one.isfinite().all()
    assert torch.equal(one, other)
    assert not silent[0][1][0, -1]


@torch.no_grad()
def test_bfloat16_is_near_float32_and_answers_in_the_dtype_of_the_latent() -> None:
    model = made()
    latent, t, states = song()
    exact = model.velocity(latent, t, states)
    rough = model.bfloat16().velocity(latent, t, states)
    assert rough.dtype == torch.float32
    assert model.velocity(latent.bfloat16(), t, states).dtype == torch.bfloat16
    assert_near(rough, exact, 0.03)


def test_a_step_compiles_into_one_graph(model: AceStepV1Transformer) -> None:
    latent, t, states = song()
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        prepared = model.prepare_states(states, torch.ones(1, 11))
        assert_near(compiled(latent, t, prepared), model.velocity(latent, t, states))


# Training and guidance


def test_checkpointing_works_blocks_out_twice_and_gives_the_same_gradients() -> None:
    gradients, runs = [], []
    for checkpointed in (False, True):
        model = made()
        if checkpointed:
            model.enable_gradient_checkpointing()
        ran: list[int] = []
        for inner in (model.transformer_blocks[1].attn.to_q, model.lyric_encoder.encoders[0].self_attn.linear_q):
            inner.register_forward_hook(lambda *_, ran=ran: ran.append(1))
        latent, t, _ = song()
        states, mask = model.encode(
            drawn(1, WORDS, 22), torch.ones(1, WORDS), drawn(1, 14), torch.arange(LYRICS)[None], torch.ones(1, LYRICS)
        )
        with model.hidden_after(1) as hidden:
            velocity = model.velocity(latent, t, states, mask)
        assert len(hidden) == 1
        (velocity.square().mean() + hidden[0].square().mean()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        runs.append(len(ran))
    assert runs == [2, 4]
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert_near(gradients[1][name], gradient)


def test_hidden_states_are_those_of_their_block_and_nothing_stays_behind(
    model: AceStepV1Transformer, formulas: Formulas
) -> None:
    latent, t, states = song()
    with torch.no_grad(), model.hidden_after(1) as hidden, model.hidden_after(0) as earlier:
        model.velocity(latent, t, states)
    with torch.no_grad():
        model.velocity(latent, t, states)
    x, time = formulas.tokens(latent[0].double().numpy()), formulas.embedded_time(float(t))
    for index, found in enumerate((earlier, hidden)):
        x = formulas.block(
            index, x, states[0].double().numpy(), formulas.linear("t_block.1", time / (1 + np.exp(-time)))
        )
        assert len(found) == 1
        assert_near(found[0][0], x)


def test_each_query_that_guidance_damps_is_a_layer_and_is_heard() -> None:
    model = made()
    latent, t, states = song()
    with torch.no_grad():
        before = model.velocity(latent, t, states)
        for name in model.damped_queries:
            handle = model.get_submodule(name).register_forward_hook(lambda _, __, out: out * 0.01)
            moved = model.velocity(latent, t, states)
            handle.remove()
            assert not torch.allclose(moved, before), name
        assert torch.equal(model.velocity(latent, t, states), before)
    names = transformer.damped_queries(V1Config())
    assert len(names) == 10
    assert names[0] == "transformer_blocks.15.attn.to_q"
    assert "19.cross_attn" in names[-1]
    assert model.damped_lyric_queries == tuple(f"lyric_encoder.encoders.{i}.self_attn.linear_q" for i in (4, 5))


# Loading


def stored(model: AceStepV1Transformer) -> dict[str, Tensor]:
    """As published: with what is never called, and with projectors."""
    unused = layout.uncalled(model.config) | layout.projectors(model.config)
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()} | {
        name: drawn(*shape) for name, shape in unused.items()
    }


def test_a_published_folder_is_read_and_what_is_never_called_stays_on_the_disk(
    model: AceStepV1Transformer, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_config()))
    save_file(stored(model), tmp_path / "diffusion_pytorch_model.safetensors")
    found = AceStepV1Transformer.load(tmp_path)
    assert set(found.state_dict()) == set(model.state_dict())
    assert not any(p.requires_grad for p in found.parameters())
    taught = AceStepV1Transformer.load(tmp_path, projectors=True)
    assert torch.equal(taught.projectors[1][4].weight, stored(model)["projectors.1.4.weight"])
    latent, t, states = song()
    with torch.no_grad():
        assert_near(found.velocity(latent, t, states), model.velocity(latent, t, states))
    (tmp_path / "diffusion_pytorch_model.safetensors").rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle"):
        AceStepV1Transformer.load(tmp_path)


def without(*names: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: [state.pop(name) for name in names]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("transformer_blocks.2.ff.point_conv.conv.weight"), "point_conv"),
        (without("transformer_blocks.0.cross_attn.add_q_proj.bias"), "companions"),
        (without("projectors.0.2.weight"), "companions"),
        (lambda state: state.update({"transformer_blocks.3.cross_attn.add_q_proj.bias": drawn(30)}), "no place"),
        (lambda state: state.update({"projectors.2.0.bias": drawn(60)}), "no place"),
        (lambda state: state.update({"t_block.1.weight": drawn(30, 180)}), "shape"),
        (lambda state: state.update({"transformer_blocks.0.cross_attn.to_add_out.weight": drawn(30, 31)}), "shape"),
        (lambda state: state.update({"transformer_blocks.0.ff.inverted_conv.conv.weight": drawn(150, 30)}), "shape"),
    ],
)  # fmt: skip
def test_weights_that_are_missing_over_or_misshapen_are_refused_in_a_sentence(
    spoil: Callable[[dict[str, Tensor]], object], said: str
) -> None:
    model, state = made(), stored(made(seed=1))
    model.load_state(state)
    spoil(state)
    with pytest.raises(CheckpointError, match=said) as refused:
        made().load_state(state)
    assert len(str(refused.value)) < 300

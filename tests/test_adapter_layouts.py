"""The same adapter, written down in every layout people share, sounds the same; what no layout allows is one sentence.

The layouts are written here from their own conventions, apart from the code under test: from one PEFT folder for LoRA, and
from LyCORIS' formulas for LoKr, LoHa and `dora_scale` (each compared with the weights changed by hand).
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from acestep_lab.errors import CheckpointError, LabError
from acestep_lab.models.adapters import Adapter, apply, opened, remove
from tests import tiny
from tests.closeness import assert_near, relative_error
from tests.test_adapters import ATTENTION, MLP, in_reference_words, trained, velocity

ALPHA, RANK = 16, 4
Stored = dict[str, Tensor]


@pytest.fixture(scope="module")
def bare() -> nn.Module:
    return tiny.tiny_components()["dit"]


@pytest.fixture
def dit(bare: nn.Module) -> nn.Module:
    return deepcopy(bare)


@pytest.fixture(scope="module")
def lora(bare: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A LoRA as PEFT saves it on the reference's names, and what the transformer says with it."""
    folder = tmp_path_factory.mktemp("lora") / "growl"
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=[*ATTENTION, *MLP, "linear_1", "condition_embedder"])
    return folder, velocity(trained(bare, config, folder))  # type: ignore[arg-type]


def plain(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """(A, B) of each layer, by the reference's name."""
    stored = load_file(folder / "adapter_model.safetensors")
    names = {key.removeprefix("base_model.model.").rsplit(".lora_", 1)[0] for key in stored}
    key = "base_model.model.{}.lora_{}.weight"
    return {name: (stored[key.format(name, "A")], stored[key.format(name, "B")]) for name in sorted(names)}


def written(layers: dict[str, tuple[Tensor, Tensor]], down: str, up: str, baked: bool, alpha: str = "") -> Stored:
    """A LoRA under other keys; `{}` is the layer. Baked: alpha / rank is in the weights, as where nothing says alpha."""
    found: Stored = {}
    for name, (first, second) in layers.items():
        found[down.format(name)] = first.clone()
        found[up.format(name)] = second * ALPHA / RANK if baked else second.clone()
        if alpha:
            found[alpha.format(name)] = torch.tensor(float(ALPHA))
    return found


def in_ours(name: str) -> str:
    """The reference's name of a layer in diffusers' words."""
    return re.sub(r"\bo_proj\b", "to_out.0", re.sub(r"\b([qkv])_proj\b", r"to_\1", name))


def renamed(layers: dict[str, Any], word: Callable[[str], str]) -> dict[str, Any]:
    return {word(name): pair for name, pair in layers.items()}


LAYOUTS: dict[str, Callable[[dict[str, tuple[Tensor, Tensor]]], Stored]] = {
    "peft without a config": lambda at: written(
        at, "base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight", True
    ),
    "peft with the adapter's name": lambda at: written(
        at, "base_model.model.decoder.{}.lora_A.default.weight", "base_model.model.decoder.{}.lora_B.default.weight", True
    ),
    "compiled and data-parallel": lambda at: written(
        at, "module._orig_mod.decoder.{}.lora_A.weight", "module._orig_mod.decoder.{}.lora_B.weight", True
    ),
    "compiled block by block": lambda at: written(
        renamed(at, lambda name: re.sub(r"(layers\.\d+)\.", r"\1._orig_mod.", name)),
        "model.decoder.{}.lora_A.weight", "model.decoder.{}.lora_B.weight", True,
    ),
    "comfyui": lambda at: written(
        at, "diffusion_model.decoder.{}.lora_A.weight", "diffusion_model.decoder.{}.lora_B.weight", True
    ),
    "comfyui with alpha": lambda at: written(
        at, "diffusion_model.{}.lora_down.weight", "diffusion_model.{}.lora_up.weight", False, "diffusion_model.{}.alpha"
    ),
    "kohya": lambda at: written(
        renamed(at, lambda name: name.replace(".", "_")),
        "lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight", False, "lora_unet_{}.alpha",
    ),
    "kohya on diffusers' names": lambda at: written(
        renamed(at, lambda name: in_ours(name).replace(".", "_")),
        "lora_unet_decoder_{}.lora_down.weight", "lora_unet_decoder_{}.lora_up.weight", False, "lora_unet_decoder_{}.alpha",
    ),
    "lycoris' own lora": lambda at: written(
        renamed(at, lambda name: name.replace(".", "_")),
        "lycoris_{}.lora_down.weight", "lycoris_{}.lora_up.weight", False, "lycoris_{}.alpha",
    ),
    "diffusers": lambda at: written(
        renamed(at, in_ours), "transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight", True
    ),
    "old diffusers": lambda at: written(
        renamed(at, in_ours), "transformer.{}.lora.down.weight", "transformer.{}.lora.up.weight", True
    ),
    "diffsynth": lambda at: written(at, "pipe.dit.{}.lora_A.default.weight", "pipe.dit.{}.lora_B.default.weight", True),
    "without any prefix": lambda at: written(at, "{}.lora_A.weight", "{}.lora_B.weight", True),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_lora_in_every_layout_gives_the_same_velocity_half_of_it_and_none(
    layout: str, lora: tuple[Path, Tensor], dit: nn.Module, tmp_path: Path
) -> None:
    folder, expected = lora
    before = velocity(dit)
    file = tmp_path / "growl.safetensors"
    save_file(LAYOUTS[layout](plain(folder)), file)

    adapter = Adapter.open(file)
    assert adapter.name == "growl"
    assert_near(velocity(apply(dit, [(adapter, 1.0)])), expected)
    assert_near(velocity(dit), velocity(apply(deepcopy(dit), [(Adapter.open(folder), 1.0)])), 1e-6)
    apply(dit, [(adapter, 0.5)])
    assert_near(velocity(dit), velocity(apply(deepcopy(dit), [(Adapter.open(folder), 0.5)])), 1e-6)
    assert torch.equal(velocity(apply(dit, [])), before)
    assert torch.equal(velocity(remove(dit)), before)


def test_settings_in_a_header_are_kept_to(lora: tuple[Path, Tensor], dit: nn.Module, tmp_path: Path) -> None:
    folder, expected = lora
    stored = written(
        renamed(plain(folder), in_ours), "transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight", False
    )
    settings = json.dumps({"transformer.r": RANK, "transformer.lora_alpha": ALPHA})
    save_file(stored, tmp_path / "pytorch_lora_weights.safetensors", {"lora_adapter_metadata": settings})

    assert_near(velocity(apply(dit, [(Adapter.open(tmp_path), 1.0)])), expected)


def test_a_file_is_read_with_the_config_beside_it_where_it_is_that_files(
    lora: tuple[Path, Tensor], tmp_path: Path
) -> None:
    folder, _ = lora
    by_file, by_folder = Adapter.open(folder / "adapter_model.safetensors"), Adapter.open(folder)
    assert by_file == by_folder
    assert by_file.name == by_folder.name == "growl"
    assert {layer.scale for layer in by_file.layers.values()} == {ALPHA / RANK}
    assert Adapter.open(folder / "adapter_config.json") == by_folder

    other = tmp_path / "downloads"
    other.mkdir()
    for name in ("one.safetensors", "two.safetensors"):
        (other / name).write_bytes(by_file.file.read_bytes())
    (other / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    assert {layer.scale for layer in Adapter.open(other / "one.safetensors").layers.values()} == {1.0}
    with pytest.raises(CheckpointError, match=r"holds 2 adapters \(one\.safetensors, two\.safetensors\); name one"):
        Adapter.open(other)


@pytest.mark.parametrize(
    ("places", "chosen"),
    [
        (["adapter"], "adapter"),
        (["somewhere/else"], "somewhere/else"),
        (
            ["checkpoints/epoch_9_loss_0.7/adapter", "checkpoints/epoch_10_loss_0.9/adapter"],
            "checkpoints/epoch_10_loss_0.9",
        ),
        (["checkpoint-500", "checkpoint-1000", "best"], "checkpoint-1000"),
        (["checkpoints/epoch_90/adapter", "final/adapter"], "final"),
    ],
)
def test_in_a_trainers_output_the_newest_adapter_is_found(
    places: list[str], chosen: str, lora: tuple[Path, Tensor], tmp_path: Path
) -> None:
    for place in places:
        (tmp_path / "my song" / place).mkdir(parents=True)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            (tmp_path / "my song" / place / name).write_bytes((lora[0] / name).read_bytes())

    found = Adapter.open(tmp_path / "my song")

    assert found.name == "my song"
    assert f"/{chosen}/" in found.file.as_posix()


def test_several_adapters_of_different_names_are_not_chosen_between(lora: tuple[Path, Tensor], tmp_path: Path) -> None:
    for place in ("growl", "choir"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.safetensors").write_bytes((lora[0] / "adapter_model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"holds 2 adapters \(choir, growl\); name one"):
        Adapter.open(tmp_path)


# --- LyCORIS, by its formulas -----------------------------------------------------------------------------------------


def lengths(weight: Tensor, on_output: bool) -> Tensor:
    """Norms of a weight's rows ([out, 1]) or columns ([1, in]): what `dora_scale` is before training."""
    return weight.norm(dim=1 if on_output else 0, keepdim=True)


def product(rows: int, columns: int, rank: int | None, word: str) -> tuple[Tensor, Stored]:
    """A factor and how it is stored: whole, or as a product over the rank."""
    if rank is None:
        whole = 0.3 * torch.randn(rows, columns)
        return whole, {word: whole}
    first, second = 0.4 * torch.randn(rows, rank), 0.4 * torch.randn(rank, columns)
    return first @ second, {f"{word}_a": first, f"{word}_b": second}


def lokr(out: int, into: int) -> tuple[Tensor, Stored]:
    """ΔW = alpha / rank · w1 ⊗ w2 with both factors decomposed."""
    left, first = product(4, 4, 2, "lokr_w1")
    right, second = product(out // 4, into // 4, 2, "lokr_w2")
    return 3 * torch.kron(left, right), {**first, **second, "alpha": torch.tensor(6.0)}


def lokr_whole(out: int, into: int) -> tuple[Tensor, Stored]:
    """Both factors whole: LyCORIS' scale is then 1, whatever alpha says."""
    left, first = product(4, 4, None, "lokr_w1")
    right, second = product(out // 4, into // 4, None, "lokr_w2")
    return torch.kron(left, right), {**first, **second, "alpha": torch.tensor(64.0)}


def loha(out: int, into: int) -> tuple[Tensor, Stored]:
    left, first = product(out, into, 2, "hada_w1")
    right, second = product(out, into, 2, "hada_w2")
    return 2 * left * right, {**first, **second, "alpha": torch.tensor(4.0)}


def locon(out: int, into: int) -> tuple[Tensor, Stored]:
    down, up = 0.3 * torch.randn(2, into), 0.3 * torch.randn(out, 2)
    return 2 * up @ down, {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(4.0)}


KINDS = {"lokr": lokr, "lokr whole": lokr_whole, "loha": loha, "lora": locon}


def lycoris(
    file: Path, dit: nn.Module, kind: str, on_output: bool | None, strength: float, notes: dict[str, str] | None = None
) -> nn.Module:
    """Write a LyCORIS file and give back the transformer with its weights changed by hand, at a strength."""
    torch.manual_seed(12)
    changed, stored = deepcopy(dit), {}
    for name, weight in changed.named_parameters():
        if not name.endswith(("attn.to_q.weight", "attn.to_out.0.weight", "mlp.up_proj.weight")):
            continue
        change, kept = KINDS[kind](*weight.shape)
        merged = weight.data + change
        if on_output is not None:
            size = lengths(weight.data, on_output) * (1 + 0.2 * torch.rand_like(lengths(weight.data, on_output)))
            merged = merged * size / lengths(merged, on_output)
            kept["dora_scale"] = size
        weight.data += strength * (merged - weight.data)
        flat = tiny.published_name(name.removesuffix(".weight")).replace(".", "_")
        stored |= {f"lycoris_{flat}.{word}": tensor.contiguous() for word, tensor in kept.items()}
    save_file(stored, file, notes)
    return changed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_output", [None, True, False], ids=["plain", "rows decomposed", "columns decomposed"])
def test_a_lycoris_file_acts_as_its_formula_says(
    kind: str, on_output: bool | None, dit: nn.Module, bare: nn.Module, tmp_path: Path
) -> None:
    before = velocity(dit)
    for strength in (1.0, 0.5, -0.7):
        file = tmp_path / f"{strength}.safetensors"
        expected = velocity(lycoris(file, bare, kind, on_output, strength))
        assert relative_error(expected, before) > 0.01
        assert_near(velocity(apply(dit, [(Adapter.open(file), strength)])), expected)
        assert torch.equal(velocity(apply(dit, [])), before)
    assert torch.equal(velocity(remove(dit)), before)


def test_a_lokr_acts_the_same_with_its_config_and_without(dit: nn.Module, tmp_path: Path) -> None:
    notes = {"lokr_config": json.dumps({"linear_dim": 2, "linear_alpha": 6, "weight_decompose": True})}
    lycoris(tmp_path / "with.safetensors", dit, "lokr", True, 1.0, notes)
    lycoris(tmp_path / "without.safetensors", dit, "lokr", True, 1.0)
    one, other = (Adapter.open(tmp_path / f"{name}.safetensors") for name in ("with", "without"))
    assert one.decomposed
    assert one.kind == other.kind == "lokr"
    assert torch.equal(velocity(apply(deepcopy(dit), [(one, 1.0)])), velocity(apply(dit, [(other, 1.0)])))


@pytest.mark.parametrize("config", [LoKrConfig(r=4, alpha=4, target_modules=ATTENTION, decompose_both=True, decompose_factor=4),
                                    LoHaConfig(r=3, alpha=6, target_modules=ATTENTION)], ids=["lokr", "loha"])  # fmt: skip
def test_pefts_lokr_and_loha_act_as_in_peft(config: Any, dit: nn.Module, tmp_path: Path) -> None:
    expected = trained(dit, config, tmp_path / "adapter", words=_with_hada)  # type: ignore[arg-type]
    assert_near(velocity(apply(dit, [(Adapter.open(tmp_path / "adapter"), 1.0)])), velocity(expected))


def _with_hada(dit: Any) -> Any:
    return in_reference_words(dit)


def test_decomposed_and_plain_adapters_add_up_in_any_order(
    dit: nn.Module, tmp_path: Path, lora: tuple[Path, Tensor]
) -> None:
    summed = deepcopy(dit)
    wanted = [(Adapter.open(lora[0]), 0.6)]
    for name, (first, second) in plain(lora[0]).items():
        summed.get_submodule(in_ours(name)).weight.data += 0.6 * ALPHA / RANK * second @ first
    for kind, on_output in (("lokr", True), ("loha", False), ("lora", True)):
        file = tmp_path / f"{kind}.safetensors"
        changed = dict(lycoris(file, dit, kind, on_output, 0.8).named_parameters())
        for name, weight in summed.named_parameters():
            weight.data += changed[name] - dit.get_parameter(name)
        wanted.append((Adapter.open(file), 0.8))
    expected = velocity(summed)

    for order in (wanted, wanted[::-1]):
        assert_near(velocity(apply(dit, order)), expected)
        remove(dit)


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_a_layer_that_does_not_fit_is_named_with_its_shapes(
    lora: tuple[Path, Tensor], dit: nn.Module, tmp_path: Path
) -> None:
    xl = tiny.tiny_components(xl=True)["dit"]
    trained(xl, LoraConfig(r=2, target_modules=["down_proj"]), tmp_path / "xl")  # type: ignore[arg-type]
    with pytest.raises(
        CheckpointError, match=r"its layers\.0\.mlp\.down_proj is for a layer of 48×80 where this one is 32×48"
    ):
        apply(dit, [(Adapter.open(tmp_path / "xl"), 1.0)])
    trained(xl, LoraConfig(r=2, target_modules=["layers.3.mlp.down_proj"]), tmp_path / "deep")  # type: ignore[arg-type]
    with pytest.raises(
        CheckpointError, match=r"it adapts layers\.3\.mlp\.down_proj \(48×80\), which is not there; it has 3"
    ):
        apply(dit, [(Adapter.open(tmp_path / "deep"), 1.0)])
    encoder = {"lora_te_encoder_layers_0_self_attn_q_proj.lora_down.weight": torch.ones(2, 7),
               "lora_te_encoder_layers_0_self_attn_q_proj.lora_up.weight": torch.ones(9, 2)}  # fmt: skip
    save_file(encoder, tmp_path / "words.safetensors")
    with pytest.raises(CheckpointError, match=r"lora_te_encoder.* \(9×7\) is no linear layer of the transformer"):
        Adapter.open(tmp_path / "words.safetensors")


@pytest.mark.parametrize("name", ["lora.pt", "lora.bin", "lora.ckpt"])
def test_a_pickle_is_refused_unopened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    for place in (tmp_path / name, tmp_path):
        with pytest.raises(CheckpointError, match="pickle"):
            Adapter.open(place)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_found_before_anything_is_put_on(
    value: float, lora: tuple[Path, Tensor], dit: nn.Module, tmp_path: Path
) -> None:
    stored = {key: tensor.clone() for key, tensor in load_file(lora[0] / "adapter_model.safetensors").items()}
    next(iter(stored.values()))[0, 0] = value
    save_file(stored, tmp_path / "odd.safetensors")
    before = velocity(dit)
    with pytest.raises(CheckpointError, match="numbers that are none"):
        apply(dit, [(Adapter.open(lora[0]), 1.0), (Adapter.open(tmp_path / "odd.safetensors"), 1.0)])
    assert torch.equal(velocity(dit), before)


@pytest.mark.parametrize(
    "asked", [5, None, "", ("growl",), ("growl", "loud"), ("growl", True), ("growl", 10**400), "\0", "x" * 5000]
)
def test_what_is_no_adapter_at_all_is_a_sentence(asked: Any) -> None:
    with pytest.raises(CheckpointError):
        opened([asked])


ODD = [None, -1, 0, 10**30, 1.5, "7", [], [1, 2], {}, {"a": {"b": 1}}, True, "(a+)+$", "[", "\ud800", {"(a+)+b": 3}, {"[": 1},
       {"q_proj": "x"}, {"q_proj": 10**400}, "x" * 4000]  # fmt: skip


@pytest.mark.parametrize("seed", range(int(os.environ.get("ACESTEP_MUTATIONS", "40"))))
def test_a_damaged_adapter_is_opened_or_refused_in_a_sentence(
    seed: int, lora: tuple[Path, Tensor], bare: nn.Module, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).write_bytes((lora[0] / name).read_bytes())
    dice.choice([_odd_config, _odd_config, _odd_header, _odd_header, _odd_bytes, _odd_kind_of_file])(folder, dice)
    with suppress(LabError):
        assert velocity(apply(deepcopy(bare), [(Adapter.open(folder), 1.0)])).shape == (2, 21, tiny.LATENT)


def _odd_config(folder: Path, dice: random.Random) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    for _ in range(dice.randint(1, 3)):
        key = dice.choice([*config, "lora_alpha", "r", "alpha_pattern", "rank_pattern", "peft_type", "use_dora"])
        config[key] = dice.choice(ODD)
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _odd_header(folder: Path, dice: random.Random) -> None:
    file = folder / "adapter_model.safetensors"
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8 : 8 + size])
    key = dice.choice(list(table))
    fact = table[key]
    what = dice.choice(["shape", "dtype", "data_offsets", "row", "key"])
    odd = dice.choice([*ODD, [-1, 4], [0, 10**12], [2**62, 2**62], "F4", "I64", "C64"])
    if what == "row" or not isinstance(fact, dict):
        table[key] = odd
    elif what == "key":
        table[dice.choice(["", "lora_A.weight", "." * 400, key.replace("lora_A", "lora_Q"), "x" * 10**5])] = table.pop(
            key
        )
    else:
        fact[what] = odd
    text = json.dumps(table).encode("utf-8", "surrogatepass")
    file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


def _odd_bytes(folder: Path, dice: random.Random) -> None:
    file = folder / dice.choice(["adapter_model.safetensors", "adapter_config.json"])
    raw = bytearray(file.read_bytes())
    match dice.randrange(5):
        case 0:
            raw = raw[: dice.randrange(len(raw))]
        case 1:
            for _ in range(20):
                raw[dice.randrange(min(len(raw), 4000))] ^= 1 << dice.randrange(8)
        case 2:
            raw[:8] = dice.choice([2**63, 0, 1, 2**40, 10**8]).to_bytes(8, "little")
        case 3:
            raw = bytearray(b'{"a":' * 100_000)
        case _:
            raw = bytearray(raw.decode("latin-1").encode("utf-16"))
    file.write_bytes(bytes(raw))


def _odd_kind_of_file(folder: Path, dice: random.Random) -> None:
    file = folder / dice.choice(["adapter_model.safetensors", "adapter_config.json"])
    file.unlink()
    dice.choice(
        [
            lambda: file.mkdir(),
            lambda: os.mkfifo(file),
            lambda: file.symlink_to(file.name),
            lambda: file.symlink_to("gone"),
        ]
    )()


@pytest.mark.parametrize("alone", [0.5, 1, 0])
def test_a_strength_beside_an_adapter_and_not_with_it_is_told_where_it_stands(alone: float) -> None:
    with pytest.raises(CheckpointError, match=r"\('growl', 0.5\)"):
        opened(["growl", alone])

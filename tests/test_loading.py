"""Checkpoints on disk: found by name, folder or hub id, opened without weights, built strictly, refused in sentences."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderOobleck
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from acestep_lab import Recipe, Session
from acestep_lab.audio.audio import Audio
from acestep_lab.engines.ace15.lint import lint
from acestep_lab.errors import CheckpointError
from acestep_lab.models import catalog, components, published_layout
from acestep_lab.models.assembly import empty
from acestep_lab.models.geometry import Geometry
from acestep_lab.models.loading import Checkpoint
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.tasks import Cover, Extract
from tests import tiny

PUBLISHED = [(kind, xl, sharded) for kind in ("turbo", "base") for xl in (False, True) for sharded in (False, True)]


def same(module: nn.Module, written: nn.Module) -> bool:
    ours, theirs = module.state_dict(), written.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def check_every_component(checkpoint: Checkpoint, written: dict[str, nn.Module]) -> None:
    for component in ("dit", "condition", "vae", "text"):
        assert same(checkpoint.build(component), written[component]), component
    codes = checkpoint.build("codes")
    assert same(codes.tokenizer, written["tokenizer"])  # type: ignore[arg-type]
    assert same(codes.detokenizer, written["detokenizer"])  # type: ignore[arg-type]
    assert same(checkpoint.build("lm"), tiny.tiny_lm(tiny.tiny_tokenizer()))


# --- the layouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turbo", [True, False])
def test_a_diffusers_folder_gives_every_part_as_it_was_written(turbo: bool, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny.tiny_diffusers(tmp_path / "mine", turbo=turbo, xl=not turbo))

    assert checkpoint.layout == "diffusers"
    assert checkpoint.components == ("text", "condition", "dit", "vae", "codes", "lm")
    check_every_component(checkpoint, tiny.tiny_components(turbo=turbo, xl=not turbo))


@pytest.mark.parametrize(("kind", "xl", "sharded"), PUBLISHED)
def test_a_published_folder_gives_every_part_as_it_was_written(
    kind: str, xl: bool, sharded: bool, tmp_path: Path
) -> None:
    folder = tiny.tiny_original(tmp_path / "published", kind, xl=xl, sharded=sharded)
    checkpoint = Checkpoint.open(folder)

    assert checkpoint.layout == "original"
    assert checkpoint.name == f"{'xl-' if xl else ''}{kind}"
    check_every_component(checkpoint, tiny.tiny_components(turbo=kind == "turbo", xl=xl))


def test_the_folder_of_the_transformer_alone_finds_its_siblings(tiny_original_turbo: Path) -> None:
    checkpoint = Checkpoint.open(tiny_original_turbo / "acestep-v15-turbo")

    assert checkpoint.components == Checkpoint.open(tiny_original_turbo).components
    assert checkpoint.places["vae"] == tiny_original_turbo / "vae"


def test_what_is_built_is_ready_to_make_music_and_nothing_else(tiny_base: Path) -> None:
    checkpoint = Checkpoint.open(tiny_base)
    for component in checkpoint.components:
        module = checkpoint.build(component)
        assert not module.training
        assert not any(weight.requires_grad for weight in module.parameters())
        assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    condition = checkpoint.build("condition")
    assert condition.silence_latent.shape == (1, 15_000, tiny.LATENT)
    assert condition.null_condition_emb.shape == (1, 1, tiny.CONDITION)


def test_half_precision_on_disk_is_full_in_memory_unless_asked(tiny_turbo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_turbo, tmp_path / "half"))
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({key: tensor.half() for key, tensor in load_file(file).items()}, file)
    checkpoint = Checkpoint.open(folder)

    assert {weight.dtype for weight in checkpoint.build("dit").parameters()} == {torch.float32}
    assert {weight.dtype for weight in checkpoint.build("dit", torch.bfloat16).parameters()} == {torch.bfloat16}


def test_the_tied_head_of_a_planner_is_its_embedding_table(tiny_turbo: Path) -> None:
    lm = Checkpoint.open(tiny_turbo).build("lm")

    assert lm.lm_head.weight is lm.model.embed_tokens.weight


@pytest.mark.parametrize("component", ["text", "lm"])
def test_a_language_model_may_be_stored_with_its_head_or_without(
    component: str, tiny_turbo: Path, tmp_path: Path
) -> None:
    expected = Checkpoint.open(tiny_turbo).build(component)
    folder = Path(shutil.copytree(tiny_turbo, tmp_path / "other"))
    file = folder / ("lm" if component == "lm" else "text_encoder") / "model.safetensors"
    bare = {key.removeprefix("model."): t for key, t in load_file(file).items() if key != "lm_head.weight"}
    save_file(bare if component == "lm" else {f"model.{key}": t for key, t in bare.items()}, file)

    assert same(Checkpoint.open(folder).build(component), expected)


def test_tokenizers_pad_on_the_right_and_know_every_code(tiny_turbo: Path) -> None:
    checkpoint = Checkpoint.open(tiny_turbo)

    assert checkpoint.tokenizer().padding_side == "right"
    words = checkpoint.lm_tokenizer()
    codes = words.convert_tokens_to_ids([f"<|audio_code_{i}|>" for i in range(checkpoint.geometry.code_count)])
    assert len(set(codes)) == checkpoint.geometry.code_count
    assert words.unk_token_id not in codes


# --- names, rows, geometry --------------------------------------------------------------------------------------------


def test_geometry_comes_from_the_configs(tiny_turbo: Path, tiny_original_base: Path) -> None:
    geometry = Checkpoint.open(tiny_turbo).geometry

    assert geometry == Geometry(8000, 2, 160, 8, 2, 5, 40, 600.0)
    assert (geometry.frames_per_second, geometry.codes_per_second) == (50.0, 10.0)
    assert geometry.frames(1.0079) == 50
    assert geometry.frames(0.06) == 3, "a whole number of frames is not lost to rounding"
    assert geometry.seconds(50) == 1.0
    assert geometry.codes(1.0) == 10
    assert Checkpoint.open(tiny_original_base).geometry == geometry


def test_published_checkpoints_run_at_25_frames_and_5_codes_a_second() -> None:
    vae = {
        "sampling_rate": 48_000,
        "audio_channels": 2,
        "downsampling_ratios": [2, 4, 4, 6, 10],
        "decoder_input_channels": 64,
    }
    codes = {"pool_window_size": 5, "fsq_input_levels": [8, 8, 8, 5, 5, 5]}
    geometry = Geometry.read(vae, {"patch_size": 2}, codes, 600.0)

    assert (geometry.frames_per_second, geometry.codes_per_second, geometry.code_count) == (25.0, 5.0, 64_000)
    assert geometry.silence_frames == geometry.frames(geometry.longest_seconds)


def test_a_checkpoint_without_audio_codes_says_so(tiny_turbo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_turbo, tmp_path / "plain"))
    for name in ("audio_tokenizer", "audio_token_detokenizer", "lm"):
        shutil.rmtree(folder / name)
    checkpoint = Checkpoint.open(folder)

    assert checkpoint.components == ("text", "condition", "dit", "vae")
    assert (checkpoint.geometry.code_count, checkpoint.geometry.codes_per_second) == (0, 0.0)
    with pytest.raises(CheckpointError, match=r"has no 'codes'; it has text, condition, dit, vae"):
        checkpoint.build("codes")
    with pytest.raises(CheckpointError, match=r"has no 'lm'.*lm='1\.7B'"):
        checkpoint.lm_tokenizer()


@pytest.mark.parametrize(
    ("name", "kind", "steps", "guidance", "shift"),
    [("turbo", "turbo", 8, "none", 3.0), ("turbo-shift1", "turbo", 8, "none", 1.0), ("xl-turbo", "turbo", 8, "none", 3.0)]
    + [(name, name.removeprefix("xl-"), 50, "apg", 1.0) for name in ("sft", "base", "xl-sft", "xl-base")],
)  # fmt: skip
def test_a_row_says_how_a_checkpoint_is_sampled(name: str, kind: str, steps: int, guidance: str, shift: float) -> None:
    row = catalog.row(name)

    assert (row.kind, row.steps, row.guidance, row.shift) == (kind, steps, guidance, shift)
    assert row.allows("lego") == (kind == "base")
    assert catalog.find(f"acestep-v15-{name}") is row
    assert row.is_turbo == (row.guidance_scale == 1.0), "no turbo under guidance"


def test_the_config_decides_where_it_and_the_folders_name_disagree() -> None:
    turbo, base = {"is_turbo": True, "model_version": "turbo"}, {"is_turbo": False, "model_version": "base"}

    assert catalog.inferred(Path("acestep-v15-base"), turbo).guidance == "none"
    assert catalog.inferred(Path("my-music"), base).steps == 50
    assert catalog.inferred(Path("my-music"), {"model_version": "turbo"}).is_turbo
    leftover = {"is_turbo": False, "model_version": "turbo"}
    assert catalog.inferred(Path("acestep-v15-xl-base"), leftover).name == "xl-base"
    assert catalog.inferred(Path("my-music"), leftover).is_turbo
    assert catalog.inferred(Path("my-music"), base).repo is None
    assert catalog.inferred(Path("acestep-v15-sft"), base).name == "sft"
    assert catalog.inferred(Path("acestep-v15-xl-turbo-diffusers"), turbo).name == "xl-turbo"


def test_a_pocket_json_overrides_the_defaults(tiny_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "small"))
    (folder / "pocket.json").write_text(json.dumps({"steps": 12, "guidance_scale": 2.5, "longest_seconds": 30}))
    checkpoint = Checkpoint.open(folder)

    assert (checkpoint.row.steps, checkpoint.row.guidance_scale, checkpoint.row.guidance) == (12, 2.5, "apg")
    assert checkpoint.geometry.longest_seconds == 30
    assert checkpoint.row.allows("extract")


def test_a_row_may_name_tasks_with_one_right_answer_that_take_one_step_without_guidance_unless_asked(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "small"))
    (folder / "pocket.json").write_text(json.dumps({"guidance": "cfg", "guidance_scale": 3, "direct": ["extract"]}))
    mix = Audio(np.random.default_rng(0).uniform(-0.1, 0.1, (1, 4000)).astype(np.float32), 4000)
    words, stem = Recipe("dub", seconds=1), Recipe("dub", task=Extract(mix, "drums"))
    with Session.open(folder, library=tmp_path / "takes") as lab:
        assert lab.resolve(words).guidance == "cfg"
        assert (lab.resolve(stem).guidance, lab.resolve(stem).steps) == ("none", 1)
        asked = lab.resolve(stem.replace(guidance="apg", steps=5))
        assert (asked.guidance, asked.steps) == ("apg", 5)
        assert lab.resolve(words).steps == lab.engine.checkpoint.row.steps > 1
        row = lab.engine.checkpoint.row
    assert not list(lint(stem, row))
    assert "guidance_scale=4 is not used" in next(lint(stem.replace(guidance_scale=4.0), row))
    assert "usually drifts" in next(lint(words.replace(guidance="none"), row))


def test_a_cover_tells_the_key_heard_in_its_source_where_the_codes_do_not_carry_it(tmp_path: Path) -> None:
    time = np.arange(8 * 24_000) / 24_000
    chords = [(69, 73, 76), (62, 66, 69), (64, 68, 71), (69, 73, 76)]  # A major: I, IV, V, I
    notes = [sum(np.sin(2 * np.pi * 440 * 2 ** ((p - 69) / 12) * time[:48_000]) for p in chord) for chord in chords]
    source = Audio(0.1 * np.concatenate(notes)[None].astype(np.float32), 24_000)
    with Session.open("pocket", library=tmp_path / "takes") as lab:
        asked = lab.recipe_from(source, Cover(source), caption="dub")
        assert lab.resolve(asked).keyscale == "A major"
        assert lab.resolve(asked.replace(keyscale="D minor")).keyscale == "D minor"
        assert lab.resolve(lab.recipe_from(source, Extract(source, "bass"))).keyscale is None
        assert lab.resolve(Recipe("dub", task=Cover(codes=(1, 2, 3)))).keyscale is None  # nothing to hear a key in
        run = lab.start(asked.replace(steps=1))
        run.take()
        assert any("Detected in the source and put into the prompt: A major" in note for note in run.messages)
        planned = lab.start(asked.replace(steps=1), Plan(keyscale="D minor"))
        assert planned.take().recipe.keyscale == "D minor"
        assert not any("Detected in the source" in note for note in planned.messages)


def test_another_planner_can_be_named(tiny_original_turbo: Path, tmp_path: Path) -> None:
    other = tiny.write_lm(tmp_path / "acestep-5Hz-lm-mine")

    assert Checkpoint.open(tiny_original_turbo, lm=other).places["lm"] == other
    assert Checkpoint.open(tiny_original_turbo, lm="1.7B").places["lm"].name == "acestep-5Hz-lm-1.7B"
    with pytest.raises(CheckpointError, match=r"No planner is called '17B'; did you mean 1\.7B"):
        Checkpoint.open(tiny_original_turbo, lm="17B")
    with pytest.raises(CheckpointError, match="holds no planner"):
        Checkpoint.open(tiny_original_turbo, lm=tiny_original_turbo / "vae")


def test_sizes_are_those_of_the_weights(tiny_turbo: Path, tiny_original_base: Path) -> None:
    for folder in (tiny_turbo, tiny_original_base):
        checkpoint = Checkpoint.open(folder)
        for component, size in checkpoint.sizes(4).items():
            module = checkpoint.build(component)
            stored = {id(t): t for n, t in module.state_dict(keep_vars=True).items()}.values()
            counted = sum(t.numel() for t in stored) * 4
            apart = checkpoint.layout == "original" and component == "condition"  # silence_latent in a file of its own
            assert size == counted - (15_000 * tiny.LATENT * 4 if apart else 0), component


# --- real shapes, without their memory --------------------------------------------------------------------------------

TWO_BILLION = {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "in_channels": 192, "audio_acoustic_hidden_dim": 64, "patch_size": 2,
    "rms_norm_eps": 1e-6, "rope_theta": 1_000_000, "sliding_window": 128, "text_hidden_dim": 1024, "timbre_hidden_dim": 64,
    "num_lyric_encoder_hidden_layers": 8, "num_timbre_encoder_hidden_layers": 4, "num_attention_pooler_hidden_layers": 2,
    "pool_window_size": 5, "fsq_dim": 2048, "fsq_input_levels": [8, 8, 8, 5, 5, 5], "fsq_input_num_quantizers": 1,
}  # fmt: skip
XL = TWO_BILLION | {
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 32, "num_attention_heads": 32,
    "encoder_hidden_size": 2048, "encoder_intermediate_size": 6144, "encoder_num_attention_heads": 16,
    "encoder_num_key_value_heads": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "stored", "dit_millions", "row"), [(TWO_BILLION, 677, 1575, "turbo"), (XL, 829, 4168, "xl-turbo")]
)
def test_real_shapes_have_the_published_number_of_weights(
    config: dict, stored: int, dit_millions: int, row: str
) -> None:
    """677 is what the published turbo file holds; the XL count is that of the reference's own module."""
    modules = {
        component: empty(components.from_published(component, config)) for component in published_layout.PREFIXES
    }
    counted = {
        component: sum(weight.numel() for weight in module.parameters()) for component, module in modules.items()
    }
    names = sum(len(module.state_dict()) for module in modules.values()) - 1  # silence_latent lies in its own file

    assert names == stored
    assert counted["dit"] // 1_000_000 == dit_millions
    assert (counted["condition"] // 1_000_000, counted["codes"] // 1_000_000) == (608, 210)
    sizes = catalog.row(row).sizes
    assert (sizes["dit"], sizes["codes"]) == (2 * counted["dit"], 2 * counted["codes"])
    assert sizes["condition"] == 2 * (counted["condition"] + 15_000 * 64)


def test_the_sizes_of_what_all_checkpoints_share_are_those_of_real_shapes() -> None:
    sizes_of_qwen = {"vocab_size": 151_669, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
    text = empty(lambda: Qwen3Model(Qwen3Config(**sizes_of_qwen, **heads)))
    vae = empty(lambda: AutoencoderOobleck(downsampling_ratios=[2, 4, 4, 6, 10], sampling_rate=48_000))
    sizes = catalog.row("turbo").sizes

    assert sizes["text"] == 2 * sum(weight.numel() for weight in text.parameters())
    assert sizes["vae"] == 2 * sum(weight.numel() for weight in vae.parameters())


# --- light, offline, harmless -----------------------------------------------------------------------------------------


def run(code: str, **environment: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_opening_a_checkpoint_imports_no_torch(tiny_turbo: Path, tiny_original_base: Path) -> None:
    code = (
        "import sys\nfrom acestep_lab.models.loading import Checkpoint\n"
        f"for folder in {[str(tiny_turbo), str(tiny_original_base)]!r}: Checkpoint.open(folder).sizes()\n"
        "print('torch' in sys.modules)"
    )

    assert run(code) == "False"


def test_catalog_names_are_found_in_the_hubs_cache_and_nowhere_else(tmp_path: Path) -> None:
    repo = tmp_path / "models--ACE-Step--Ace-Step1.5"
    snapshot = tiny.tiny_original(repo / "snapshots" / "abc", "turbo")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    sft = tmp_path / "models--ACE-Step--acestep-v15-sft"
    alone = tiny.tiny_original(tmp_path / "elsewhere", "sft") / "acestep-v15-sft"
    shutil.copytree(alone, sft / "snapshots" / "def")
    (sft / "refs").mkdir()
    (sft / "refs" / "main").write_text("def")
    code = (
        "from acestep_lab.errors import CheckpointError\nfrom acestep_lab.models.loading import Checkpoint\n"
        "for name in ('turbo', 'ACE-Step/Ace-Step1.5', 'sft', 'xl-base'):\n"
        "    try: opened = Checkpoint.open(name); print(opened.name, opened.places['vae'], opened.has_lm)\n"
        "    except CheckpointError as reason: print(reason)\n"
    )

    lines = run(code, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="0").splitlines()

    assert lines[:2] == [f"turbo {snapshot / 'vae'} True"] * 2
    assert lines[2] == f"sft {snapshot / 'vae'} True", "what all share comes from the main repo"
    assert "xl-base has not been downloaded yet" in lines[3]
    assert "`acestep-lab download xl-base`" in lines[3]

    shutil.rmtree(snapshot / "acestep-v15-turbo")  # as after a download of sft alone
    lines = run(code, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="0").splitlines()
    assert "turbo has not been downloaded yet" in lines[0]
    assert "`acestep-lab download turbo`" in lines[0]
    assert lines[2] == f"sft {snapshot / 'vae'} True"


class Trap:
    """A pickle of this writes a file when it is opened."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Callable, tuple]:
        return (Path.touch, (self.file,))


def test_no_pickle_is_executed_and_no_code_of_a_checkpoint_trusted(tmp_path: Path) -> None:
    folder = tiny.tiny_original(tmp_path / "trapped", "turbo", lm=False)
    own, sprung = folder / "acestep-v15-turbo", tmp_path / "sprung"
    code = f"from pathlib import Path; Path({str(sprung)!r}).touch(); AceStepConditionGenerationModel = None"
    (own / "modeling_acestep_v15_turbo.py").write_text(code)
    (own / "silence_latent.pt").write_bytes(pickle.dumps(Trap(sprung)))
    (own / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    checkpoint = Checkpoint.open(folder)

    checkpoint.build("dit")
    with pytest.raises(CheckpointError, match=r"silence_latent\.pt is damaged, or holds more than numbers"):
        checkpoint.build("condition")
    (own / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights as a pickle \((pytorch_model\.bin|silence_latent\.pt)\)"):
        checkpoint.build("dit")
    assert not sprung.exists()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint is called 'trubo'; did you mean turbo"):
        Checkpoint.open("trubo")
    with pytest.raises(CheckpointError, match=r"No checkpoint is called 'zzz'; there are base, pocket"):
        Checkpoint.open("zzz")
    with pytest.raises(CheckpointError, match="There is no folder"):
        Checkpoint.open(Path("no/such/folder"))


def test_a_folder_that_is_no_checkpoint_is_told_what_one_looks_like(tmp_path: Path, tiny_original_turbo: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"holds notes\.txt.*A checkpoint folder has transformer/config\.json"):
        Checkpoint.open(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no ACE-Step 1\.5 transformer: its config\.json is of a 'qwen3'"):
        Checkpoint.open(tiny_original_turbo / "Qwen3-Embedding-0.6B")


def test_a_folder_of_several_checkpoints_asks_which(tmp_path: Path) -> None:
    folder = tiny.tiny_original(tmp_path / "both", "turbo", lm=False)
    shutil.copytree(folder / "acestep-v15-turbo", folder / "acestep-v15-base")

    with pytest.raises(CheckpointError, match=r"holds 2 checkpoints \(acestep-v15-base, acestep-v15-turbo\)"):
        Checkpoint.open(folder)
    assert Checkpoint.open(folder / "acestep-v15-turbo").name == "turbo"


DIT = "transformer/diffusion_pytorch_model.safetensors"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-64])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def without_a_weight(file: Path) -> None:
    save_file({key: t for key, t in load_file(file).items() if key != "layers.1.mlp.up_proj.weight"}, file)


def with_a_weight_too_many(file: Path) -> None:
    save_file(load_file(file) | {"layers.9.extra.weight": torch.zeros(1)}, file)


def with_a_wrong_shape(file: Path) -> None:
    save_file(load_file(file) | {"norm_out.weight": torch.zeros(7)}, file)


def scribbled(file: Path) -> None:
    file.write_text("{not json")


BROKEN: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("dit", "transformer/config.json", Path.unlink, r"has no transformer/config\.json; .* holds .*condition_encoder/"),
    ("dit", "transformer/config.json", scribbled, r"transformer/config\.json is not JSON"),
    ("vae", "vae/config.json", Path.unlink, r"has no vae/config\.json"),
    ("dit", DIT, Path.unlink, r"transformer has no weights \(\*\.safetensors\); .* holds config\.json"),
    ("dit", DIT, cut, r"diffusion_pytorch_model\.safetensors is cut short: [\d,]+ of [\d,]+ bytes"),
    ("dit", DIT, emptied, r"diffusion_pytorch_model\.safetensors \(0 bytes\) is cut short"),
    ("dit", DIT, without_a_weight, r"lacks the weights layers\.1\.mlp\.up_proj\.weight"),
    ("dit", DIT, with_a_weight_too_many, r"no place for: 'layers\.9\.extra\.weight"),
    ("dit", DIT, with_a_wrong_shape, r"norm_out\.weight has the shape \[7\] where the config asks for \[32\]"),
    ("text", "text_encoder/model.safetensors", cut, r"text_encoder/model\.safetensors is cut short"),
    ("codes", "audio_token_detokenizer/config.json", Path.unlink, r"audio_token_detokenizer/config\.json is missing"),
    ("lm", "lm/model.safetensors", emptied, r"lm/model\.safetensors \(0 bytes\)"),
]


@pytest.mark.parametrize(
    ("component", "file", "spoil", "said"), BROKEN, ids=[f"{f} {s.__name__}" for _, f, s, _ in BROKEN]
)
def test_a_damaged_folder_says_which_file_and_which_weight(
    component: str, file: str, spoil: Callable[[Path], None], said: str, tiny_turbo: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_turbo, tmp_path / "broken"))
    spoil(folder / file)

    with pytest.raises(CheckpointError, match=said):
        Checkpoint.open(folder).build(component)


PUBLISHED_BROKEN: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("dit", "model-00002-of-00002.safetensors", Path.unlink, r"shard .*model-00002-of-00002\.safetensors is missing \(1 of 2"),
    ("dit", "model-00001-of-00002.safetensors", cut, r"model-00001-of-00002\.safetensors is cut short"),
    ("dit", "model-00001-of-00002.safetensors", with_a_weight_too_many, r"holds 'layers\.9\.extra\.weight' .* no component of ACE-Step"),
    ("condition", "silence_latent.pt", Path.unlink, r"silence_latent\.pt is missing"),
    ("condition", "silence_latent.pt", cut, r"silence_latent\.pt is damaged"),
    ("dit", "../vae/config.json", Path.unlink, r"vae/config\.json is missing beside"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("component", "file", "spoil", "said"),
    PUBLISHED_BROKEN,
    ids=[f"{f} {s.__name__}" for _, f, s, _ in PUBLISHED_BROKEN],
)
def test_a_damaged_published_folder_says_so_too(
    component: str, file: str, spoil: Callable[[Path], None], said: str, tiny_original_base: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_original_base, tmp_path / "broken"))
    spoil(folder / "acestep-v15-base" / file)

    with pytest.raises(CheckpointError, match=said):
        Checkpoint.open(folder).build(component)


def test_a_silence_latent_of_another_length_is_refused(tiny_original_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_original_base, tmp_path / "short"))
    torch.save(torch.zeros(1, tiny.LATENT, 750), folder / "acestep-v15-base" / "silence_latent.pt")

    with pytest.raises(CheckpointError, match=r"has silence_latent \[1, 750, 8\] where \[1, 15000, 8\] belongs"):
        Checkpoint.open(folder).build("condition")


def test_an_index_that_points_outside_its_folder_is_refused(tiny_original_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_original_base, tmp_path / "sly"))
    index = folder / "acestep-v15-base" / "model.safetensors.index.json"
    said = json.loads(index.read_text())
    said["weight_map"]["decoder.norm_out.weight"] = "../../elsewhere.safetensors"
    index.write_text(json.dumps(said))

    with pytest.raises(CheckpointError, match=r"points to '\.\./\.\./elsewhere\.safetensors'"):
        Checkpoint.open(folder).build("dit")


def test_an_unknown_part_is_refused(tiny_turbo: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"No component is called 'transformer'; the components are text, condition, dit"
    ):
        Checkpoint.open(tiny_turbo).build("transformer")


def test_parts_built_by_several_threads_at_once_are_whole_and_so_is_what_is_made_meanwhile(tiny_turbo: Path) -> None:
    checkpoint = Checkpoint.open(tiny_turbo)
    jobs = [lambda: checkpoint.build("dit"), lambda: checkpoint.build("condition"), lambda: nn.Linear(4, 4)] * 8
    with ThreadPoolExecutor(6) as pool:
        made = [job.result() for job in [pool.submit(job) for job in jobs]]
    tensors = [tensor for module in (*made, nn.Linear(2, 2)) for tensor in module.parameters()]
    assert not any(tensor.is_meta for tensor in tensors)

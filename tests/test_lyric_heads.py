"""The heads that listen to lyrics: the right ones of the right layers and no more, offsets by the tokenizer, and `lab.align` whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab import Audio, Recipe, Region, Session
from acestep_lab._libraries import diffusers
from acestep_lab.engines import contract
from acestep_lab.engines.ace15 import conditioning
from acestep_lab.engines.ace15.alignment import CONFIG, KNOWN, HeadCollector, head_map
from acestep_lab.engines.ace15.conditioning import PromptFields, lyric_tokens
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.errors import CheckpointError, RecipeError, SourceError
from acestep_lab.jobs.aligning import DRAWS
from tests.opening import prepared
from tests.tiny import _perturbed, dit_config, tiny_diffusers, tiny_original, tiny_tokenizer

LYRICS = "[verse]\nhello world of song\nit is a slow day\n\n[chorus]\nsing with me"
SONG = Recipe("dub", lyrics=LYRICS, seconds=3, steps=2, seed=1, thinking=False)


def checkpoint(folder: Path, layers: int, heads: int) -> Path:
    """A tiny random checkpoint with as many layers and heads as a published one."""
    tiny_diffusers(folder, turbo=True, lm=False)
    shape = {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 4,
        "intermediate_size": 16,
    }
    torch.manual_seed(3)
    dit = diffusers.AceStepTransformer1DModel(**dit_config() | shape, is_turbo=True, model_version="turbo")
    _perturbed(dit).save_pretrained(folder / "transformer")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("2b") / "turbo", 24, 16)


@pytest.fixture(scope="module")
def lab(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(folder, library=tmp_path_factory.mktemp("library")) as session:
        yield session


@pytest.fixture(scope="module")
def take(lab: Session) -> Any:
    return lab.make(SONG)


def listened(lab: Session, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[int], list[tuple[int, int]], Any]:
    """Calls of each layer, the (layer, head) pairs whose scores were made, and the attention, of one listening."""
    heard: list[tuple[int, int]] = []
    once = HeadCollector.__call__

    def call(self: HeadCollector, layer: int, query: Any, key: Any) -> None:
        before = len(self.heard)
        once(self, layer, query, key)
        heard.extend(self.heard[before:])

    monkeypatch.setattr(HeadCollector, "__call__", call)
    calls: Counter[int] = Counter()
    engine: Any = lab.engine
    one = prepared(lab, SONG)[0]
    with engine.devices.on("dit") as dit:
        hooks = [layer.register_forward_hook(lambda *_, n=n: calls.update([n])) for n, layer in enumerate(dit.layers)]
        found = engine.lyric_attention(one, torch.randn(one.spec.frames, 8), DRAWS)
        for hook in hooks:
            hook.remove()
    return calls, heard, found


@pytest.mark.parametrize("shape", [(24, 16), (32, 32)], ids=["2B", "XL"])
def test_no_layer_beyond_the_last_listed_is_called_and_no_other_head_is_heard(
    shape: tuple[int, int], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, heads = folder if shape == (24, 16) else checkpoint(tmp_path / "xl", *shape), KNOWN[shape]
    with Session.open(place, library=tmp_path / "library") as lab:
        assert lab.capabilities.aligns
        calls, heard, found = listened(lab, monkeypatch)
    assert calls == dict.fromkeys(range(max(heads) + 1), len(DRAWS))
    assert Counter(heard) == {(layer, head): len(DRAWS) for layer, several in heads.items() for head in several}
    everything = np.exp(found.log).sum(axis=0) + np.exp(found.rest)
    assert everything == pytest.approx(1.0, abs=1e-3), "shares of a frame's attention"
    assert "".join(LYRICS[a:b] for a, b in found.spans) == LYRICS


def test_a_head_hears_what_softmax_attention_of_that_head_is() -> None:
    query, key, rows = torch.randn(1, 300, 4, 8), torch.randn(1, 20, 2, 8), torch.arange(3, 9)
    collector = HeadCollector({5: (3,)}, rows, torch.zeros(6, 300), 8**-0.5)
    collector(4, query, key)
    collector(5, query, key)
    full = torch.softmax(torch.einsum("fd,sd->fs", query[0, :, 3], key[0, :, 1]) * 8**-0.5, -1)
    assert torch.allclose(collector.total, full[:, rows].t(), atol=1e-5)


def test_a_config_names_its_own_heads_and_a_wrong_map_is_said(tmp_path: Path) -> None:
    assert head_map({"num_hidden_layers": 3, "num_attention_heads": 4, CONFIG: {"1": [0, 3]}}) == {1: (0, 3)}
    assert head_map({"num_hidden_layers": 3, "num_attention_heads": 4}) is None
    shape = {"num_hidden_layers": 3, "num_attention_heads": 4}
    for odd in ({"7": [0]}, {"1": [4]}, {"1": "x"}, {"x": [1]}, {}, [1], {"1": [True, "a"]}, {"-1": [0]}):
        with pytest.raises(CheckpointError, match=CONFIG):
            head_map(shape | {CONFIG: odd})
    place = tiny_original(tmp_path / "original", lm=False)
    config = place / "acestep-v15-turbo" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {CONFIG: {"1": [0, 3]}}))
    with Session.open(place / "acestep-v15-turbo", library=tmp_path / "library") as lab:
        assert lab.align(lab.make(SONG)).lines


def test_an_engine_with_a_map_keeps_the_contracts_promise(lab: Session) -> None:
    bench = contract.Bench(Ace15Engine(lab.engine.checkpoint), 1.0, {"steps": 2})  # type: ignore[attr-defined]
    bench.engine.connect(bench.devices)
    assert not list(contract.hears_its_lyrics(bench))
    heard = bench.engine.lyric_attention  # type: ignore[attr-defined]
    bench.engine.lyric_attention = lambda *how: replace(heard(*how), spans=((0, 3),), seconds_per_frame=9.0)  # type: ignore[attr-defined]
    assert len(list(contract.hears_its_lyrics(bench))) == 2


# -- offsets


def tokenizer(*cuts: int) -> Any:
    """One that cuts a text at these letters."""

    def tokens(text: str, **how: Any) -> Any:
        edges = [0, *(cut if cut >= 0 else len(text) + cut for cut in cuts), len(text)]
        return SimpleNamespace(offset_mapping=list(zip(edges, edges[1:], strict=False)), input_ids=edges[1:])

    return tokens


def test_a_token_over_the_headers_border_counts_with_its_letters_of_the_lyrics() -> None:
    header = len("# Languages\nen\n\n# Lyric\n")
    found = lyric_tokens(tokenizer(5, header - 2, header + 3, header + 5, -4), PromptFields("", "la li lu", "en"))
    assert (found.rows, found.spans) == ((2, 3, 4), ((0, 3), (3, 5), (5, 8)))
    assert found.count == 6


def test_real_offsets_are_those_of_the_states_and_3000_tokens_are_cut_where_reading_ends() -> None:
    words = PromptFields("", "ñ 夜空 " + "la " * 2000, "en")
    found = lyric_tokens(tiny_tokenizer(0), words)
    ids, notes = conditioning._lyric_ids(tiny_tokenizer(0), conditioning.prompt_texts(words)[1])
    assert notes
    assert (len(ids), found.rows[-1]) == (conditioning.LYRIC_TOKENS, conditioning.LYRIC_TOKENS - 2), (
        "the last is the end"
    )
    assert found.count > conditioning.LYRIC_TOKENS
    assert found.spans[0][0] == 0


def test_items_of_a_batch_are_heard_by_their_own_lyrics(lab: Session) -> None:
    engine: Any = lab.engine
    other = SONG.replace(lyrics="[verse]\nquite other words", seed=2)
    both, latent = prepared(lab, SONG, other), torch.randn(150, 8)
    for recipe, one in zip((SONG, other), both, strict=True):
        together = engine.lyric_attention(one, latent, DRAWS[:1])
        alone = engine.lyric_attention(prepared(lab, recipe)[0], latent, DRAWS[:1])
        assert together.spans == alone.spans
        assert together.log == pytest.approx(alone.log, abs=1e-4)


# -- the verb


def test_an_alignment_is_kept_beside_its_take_and_found_once(
    lab: Session, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = (Path(lab.library.folder) / f"{take.id}.json").read_bytes()
    found = lab.align(take, reference=True)
    assert [line.text for line in found.lines] == ["hello world of song", "it is a slow day", "sing with me"]
    assert [section.text for section in found.sections] == ["verse", "chorus"]
    assert set(found.scores or {}) == {"coverage", "order", "sureness", "fits", "chance", "reference"}
    assert all(0 <= value <= 1 for value in (found.scores or {})["reference"].values())
    assert (Path(lab.library.folder) / f"{take.id}.json").read_bytes() == manifest, "the take is as it was"
    monkeypatch.setattr(type(lab.engine), "lyric_attention", None)
    assert lab.align(take) == found, "nobody listened again"
    monkeypatch.undo()
    assert lab.align(take, anew=True).lines == found.lines, "same sound, same machine: same times"


def test_other_words_are_judged_and_not_kept_in_place_of_the_takes_own(lab: Session, take: Any) -> None:
    own = lab.align(take)
    other = lab.align(take, lyrics="nobody sings this here\nnor that")
    assert [line.text for line in other.lines] == ["nobody sings this here", "nor that"]
    assert lab.align(take) == own
    heard = lab.align(Audio(take.audio.samples, take.audio.rate), lyrics=LYRICS, language="en")
    assert [line.text for line in heard.lines] == [line.text for line in own.lines]


def test_a_render_under_way_waits_for_one_draw_at_a_time(
    lab: Session, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[int] = []
    heard, call = lab.engine.lyric_attention, lab.jobs.call  # type: ignore[attr-defined]

    def counted(job: Any, *how: Any, **more: Any) -> Any:
        jobs.append(0)
        return call(job, *how, **more)

    def listen(prepared: Any, latent: Any, draws: Any, stop: Any) -> Any:
        jobs[-1] += len(draws)
        return heard(prepared, latent, draws, stop)

    monkeypatch.setattr(lab.jobs, "call", counted)
    monkeypatch.setattr(lab.engine, "lyric_attention", listen)
    lab.align(take, anew=True, reference=True)
    assert (max(jobs), sum(jobs)) == (1, len(DRAWS) + 2)


def test_a_repaint_keeps_the_times_outside_of_its_region(lab: Session, take: Any) -> None:
    before = lab.align(take)
    region = Region(before.lines[1].start, before.lines[1].start + 0.2)
    made = lab.repaint(take, region, lyrics=LYRICS.replace("slow", "new"), steps=2)
    after = lab.align(made)
    outside = [n for n, line in enumerate(before.lines) if line.end <= region.start or line.start >= region.end]
    assert outside
    assert [after.lines[n] for n in outside] == [before.lines[n] for n in outside]


def test_a_take_whose_source_is_lost_is_aligned_by_its_words(lab: Session, take: Any) -> None:
    made = lab.cover(take, "a waltz", lyrics=LYRICS, steps=2, through_codes=False)
    assert not any("words alone" in remark for remark in lab.align(made).remarks)
    lab.library.bin(take.id)
    lab._sounds._known.clear()
    try:
        assert any("words alone" in remark for remark in lab.align(made, anew=True).remarks)
    finally:
        lab.library.restore(take.id)


def test_what_cannot_be_aligned_is_said(lab: Session, take: Any) -> None:
    quiet = Audio(np.zeros((2, 8000), np.float32), 8000)
    with pytest.raises(SourceError, match="silent"):
        lab.align(quiet, lyrics="la")
    with pytest.raises(RecipeError, match="lyrics="):
        lab.align(take.audio)
    with pytest.raises(RecipeError, match="no lyrics"):
        lab.align(take.replace(recipe=take.recipe.replace(lyrics="")))
    with pytest.raises(RecipeError, match="only section tags"):
        lab.align(take, lyrics="[Intro]\n[Outro]")
    with pytest.raises(RecipeError, match="plan"):
        lab.align(take, by="ear")  # type: ignore[arg-type]
    for samples in (4000, 2400):
        short = Audio(take.audio.samples[:, -samples:], take.audio.rate)
        found = lab.align(short, lyrics=LYRICS)
        assert all(0 <= line.start <= line.end <= 0.6 for line in found.lines)


def test_a_stitched_song_is_aligned_as_music_from_words(lab: Session, take: Any) -> None:
    found = lab.align(lab.stitch([take, take]))
    assert len(found.lines) == 3
    assert not any("words alone" in remark for remark in found.remarks)


def test_a_checkpoint_without_a_map_says_so_and_offers_the_plans_sections(tmp_path: Path, take: Any) -> None:
    with Session.open(library=tmp_path) as pocket:
        assert not pocket.capabilities.aligns
        with pytest.raises(RecipeError, match=r"not known\. .*by='plan'"):
            pocket.align(take, checkpoint="pocket")
        assert [section.text for section in pocket.align(take, by="plan", checkpoint="pocket").sections] == [
            "verse",
            "chorus",
        ]

"""What the DiT listens to."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AceStepPipeline

from acestep_lab.engines.ace15 import conditioning
from acestep_lab.engines.ace15.conditioning import (
    LYRIC_TOKENS,
    TEXT_TOKENS,
    Words,
    encode,
    joined,
    prompt_texts,
    read,
    timbre_windows,
)
from acestep_lab.errors import SourceError
from tests.closeness import assert_near
from tests.tiny import LATENT, tiny_components, tiny_tokenizer

FRAMES = 120
FORMAT = AceStepPipeline._format_prompt
METAS = SimpleNamespace(_build_metadata_string=AceStepPipeline._build_metadata_string)


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return {**tiny_components(), "words": tiny_tokenizer(0)}


def heard(parts: dict[str, Any], *items: Words, timbre: Any = None) -> conditioning.Conditions:
    return encode(parts["text"], parts["condition"], parts["words"], items, FRAMES, timbre)


@pytest.mark.parametrize(
    "words",
    [
        Words("slow dub", "[Verse]\nla", "de", 31.7, 97, "F# minor", "3", "Repaint the mask area:"),
        Words("slow dub"),
        Words("", "", "unknown", 12.0, instruction="no colon"),
    ],
)
def test_the_model_reads_exactly_what_diffusers_writes(words: Words) -> None:
    theirs = FORMAT(
        METAS,
        words.caption,
        words.lyrics,
        words.language,
        words.seconds or 0.0,
        words.instruction,
        words.bpm,
        words.keyscale,
        words.timesignature,
    )
    assert prompt_texts(words) == theirs


def test_an_item_in_a_batch_hears_what_it_hears_alone_bit_for_bit(parts: dict[str, Any]) -> None:
    short, long = Words("dub"), Words("slow dub techno with tape hiss", "[verse]\nla la la la", seconds=3.0)
    both, alone = heard(parts, short, long), heard(parts, short)
    length = int(both.mask[0].sum())
    assert torch.equal(both.states[0, :length], alone.states[0])
    assert not both.states[0, length:].any()
    assert both.mask[1].all()
    assert length < both.states.shape[1]


def test_states_equal_the_pipelines_own_encoding(parts: dict[str, Any]) -> None:
    words = Words("slow dub techno", "[verse]\nla", "en", 2.0, 118)
    text, lyrics = prompt_texts(words)
    ids = [parts["words"](each, return_tensors="pt").input_ids for each in (text, lyrics)]
    with torch.no_grad():
        states, _ = parts["condition"](
            text_hidden_states=parts["text"](input_ids=ids[0]).last_hidden_state,
            text_attention_mask=torch.ones_like(ids[0]).bool(),
            lyric_hidden_states=parts["text"].get_input_embeddings()(ids[1]),
            lyric_attention_mask=torch.ones_like(ids[1]).bool(),
            refer_audio_acoustic_hidden_states_packed=parts["condition"].silence_latent[:, :FRAMES],
            refer_audio_order_mask=torch.arange(1),
        )
    assert_near(heard(parts, words).states, states)


def test_without_a_reference_the_timbre_is_recorded_silence_not_zeros(parts: dict[str, Any]) -> None:
    words = Words("dub")
    silence = parts["condition"].silence_latent[0, :FRAMES]
    assert torch.equal(heard(parts, words).states, heard(parts, words, timbre=silence).states)
    zeros = heard(parts, words, timbre=torch.zeros(FRAMES, LATENT))
    assert not torch.allclose(heard(parts, words).states, zeros.states, atol=1e-3)


def test_a_caption_too_long_gives_way_so_that_tempo_and_length_are_read(parts: dict[str, Any]) -> None:
    long = "warm bass and tape hiss " * 200
    at_100, at_140 = (heard(parts, Words(long, bpm=bpm, seconds=9.0)) for bpm in (100, 140))
    assert not torch.equal(at_100.states, at_140.states)
    assert re.search(r"“…[^”]+ (warm|bass|and|tape|hiss)”, and tempo, key, meter and length were kept", at_100.notes[0])
    reading = read(parts["text"], parts["words"], [Words(long, bpm=100)])[0]
    assert TEXT_TOKENS - 12 < len(reading.text) <= TEXT_TOKENS


def test_a_long_caption_in_a_script_without_spaces_is_shortened_not_dropped(parts: dict[str, Any]) -> None:
    long = "慢速回响科技舞曲，磁带嘶嘶声，温暖的低音" * 40
    [reading] = read(parts["text"], parts["words"], [Words(long, bpm=100)])
    assert TEXT_TOKENS - 4 < len(reading.text) <= TEXT_TOKENS
    assert "tempo, key, meter and length were kept" in reading.notes[0]


def test_a_caption_that_fits_is_not_touched(parts: dict[str, Any]) -> None:
    assert heard(parts, Words("slow dub")).notes == ()


def test_lyrics_too_long_are_cut_and_the_musician_is_told(parts: dict[str, Any]) -> None:
    reading = read(parts["text"], parts["words"], [Words("dub", "la la la\n" * 2000)])[0]
    assert len(reading.lyrics) == conditioning.LYRIC_TOKENS
    assert "the end is not sung" in reading.notes[0]


def test_the_other_half_of_guidance_hears_the_learned_nothing(parts: dict[str, Any]) -> None:
    conditions = heard(parts, Words("dub"), Words("slow dub techno"))
    assert conditions.nothing.shape == conditions.states.shape
    assert torch.equal(conditions.nothing[1, -1], parts["condition"].null_condition_emb[0, 0])


def test_joining_keeps_notes_once_and_each_item_whole(parts: dict[str, Any]) -> None:
    one = heard(parts, Words("bass " * 400))
    other = heard(parts, Words("dub"))
    both = joined([one, other, one])
    assert both.notes == one.notes
    assert both.mask.sum(dim=1).tolist() == [one.states.shape[1], other.states.shape[1], one.states.shape[1]]


def stairs(seconds: float, rate: int = 100) -> torch.Tensor:
    """Two channels whose samples say which second they belong to."""
    return (torch.arange(round(seconds * rate)) // rate).float().div(100).repeat(2, 1) + 0.001


def test_timbre_is_heard_in_three_fixed_windows_front_middle_and_back() -> None:
    windows = timbre_windows(stairs(60.0), 100)
    assert windows.shape == (2, 3000)
    starts = [round(100 * (windows[0, at].item() - 0.001)) for at in (0, 1000, 2000)]
    assert starts == [0, 20, 50]
    assert torch.equal(windows, timbre_windows(stairs(60.0), 100))


def test_a_short_reference_is_repeated_and_a_silent_one_refused() -> None:
    assert timbre_windows(stairs(4.0), 100).shape == (2, 3000)
    with pytest.raises(SourceError, match="silent"):
        timbre_windows(torch.zeros(2, 500), 100)


def test_lyrics_longer_than_the_model_hears_still_end_with_the_end_token(parts: dict[str, Any]) -> None:
    [reading] = read(parts["text"], parts["words"], [Words("dub", "la " * 3000)])
    end = parts["words"](prompt_texts(Words("dub", "la"))[1]).input_ids[-1]
    assert len(reading.lyrics) == LYRIC_TOKENS
    assert torch.equal(reading.lyrics[-1], parts["text"].get_input_embeddings()(torch.tensor(end)))
    assert "the end is not sung" in reading.notes[0]

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
    PromptFields,
    batched,
    encode_both,
    encode_text,
    prompt_texts,
    timbre_windows,
)
from acestep_lab.errors import SourceError
from tests.closeness import assert_near
from tests.tiny import LATENT, tiny_components, tiny_tokenizer

FRAMES = 120
FORMAT = AceStepPipeline._format_prompt
METAS = SimpleNamespace(_build_metadata_string=AceStepPipeline._build_metadata_string)


@pytest.fixture(scope="module")
def components() -> dict[str, Any]:
    return {**tiny_components(), "words": tiny_tokenizer(0)}


def encoded(components: dict[str, Any], *items: PromptFields, timbre: Any = None) -> conditioning.Conditions:
    return encode_both(components["text"], components["condition"], components["words"], items, FRAMES, timbre)


@pytest.mark.parametrize(
    "words",
    [
        PromptFields("slow dub", "[Verse]\nla", "de", 31.7, 97, "F# minor", "3", "Repaint the mask area:"),
        PromptFields("slow dub"),
        PromptFields("", "", "unknown", 12.0, instruction="no colon"),
    ],
)
def test_the_model_reads_exactly_what_diffusers_writes(words: PromptFields) -> None:
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


def test_an_item_in_a_batch_hears_what_it_hears_alone_bit_for_bit(components: dict[str, Any]) -> None:
    short, long = (
        PromptFields("dub"),
        PromptFields("slow dub techno with tape hiss", "[verse]\nla la la la", seconds=3.0),
    )
    both, alone = encoded(components, short, long), encoded(components, short)
    length = int(both.mask[0].sum())
    assert torch.equal(both.states[0, :length], alone.states[0])
    assert not both.states[0, length:].any()
    assert both.mask[1].all()
    assert length < both.states.shape[1]


def test_states_equal_the_pipelines_own_encoding(components: dict[str, Any]) -> None:
    words = PromptFields("slow dub techno", "[verse]\nla", "en", 2.0, 118)
    text, lyrics = prompt_texts(words)
    ids = [components["words"](each, return_tensors="pt").input_ids for each in (text, lyrics)]
    with torch.no_grad():
        states, _ = components["condition"](
            text_hidden_states=components["text"](input_ids=ids[0]).last_hidden_state,
            text_attention_mask=torch.ones_like(ids[0]).bool(),
            lyric_hidden_states=components["text"].get_input_embeddings()(ids[1]),
            lyric_attention_mask=torch.ones_like(ids[1]).bool(),
            refer_audio_acoustic_hidden_states_packed=components["condition"].silence_latent[:, :FRAMES],
            refer_audio_order_mask=torch.arange(1),
        )
    assert_near(encoded(components, words).states, states)


def test_without_a_reference_the_timbre_is_recorded_silence_not_zeros(components: dict[str, Any]) -> None:
    words = PromptFields("dub")
    silence = components["condition"].silence_latent[0, :FRAMES]
    assert torch.equal(encoded(components, words).states, encoded(components, words, timbre=silence).states)
    zeros = encoded(components, words, timbre=torch.zeros(FRAMES, LATENT))
    assert not torch.allclose(encoded(components, words).states, zeros.states, atol=1e-3)


def test_a_caption_too_long_gives_way_so_that_tempo_and_length_are_read(components: dict[str, Any]) -> None:
    long = "warm bass and tape hiss " * 200
    at_100, at_140 = (encoded(components, PromptFields(long, bpm=bpm, seconds=9.0)) for bpm in (100, 140))
    assert not torch.equal(at_100.states, at_140.states)
    assert re.search(r"“…[^”]+ (warm|bass|and|tape|hiss)”, and tempo, key, meter and length were kept", at_100.notes[0])
    reading = encode_text(components["text"], components["words"], [PromptFields(long, bpm=100)])[0]
    assert TEXT_TOKENS - 12 < len(reading.text) <= TEXT_TOKENS


def test_a_long_caption_in_a_script_without_spaces_is_shortened_not_dropped(components: dict[str, Any]) -> None:
    long = "慢速回响科技舞曲，磁带嘶嘶声，温暖的低音" * 40
    [reading] = encode_text(components["text"], components["words"], [PromptFields(long, bpm=100)])
    assert TEXT_TOKENS - 4 < len(reading.text) <= TEXT_TOKENS
    assert "tempo, key, meter and length were kept" in reading.notes[0]


def test_a_caption_that_fits_is_not_touched(components: dict[str, Any]) -> None:
    assert encoded(components, PromptFields("slow dub")).notes == ()


def test_lyrics_too_long_are_cut_and_the_musician_is_told(components: dict[str, Any]) -> None:
    reading = encode_text(components["text"], components["words"], [PromptFields("dub", "la la la\n" * 2000)])[0]
    assert len(reading.lyrics) == conditioning.LYRIC_TOKENS
    assert "the end is not sung" in reading.notes[0]


def test_the_other_half_of_guidance_hears_the_learned_nothing(components: dict[str, Any]) -> None:
    conditions = encoded(components, PromptFields("dub"), PromptFields("slow dub techno"))
    assert conditions.null_states.shape == conditions.states.shape
    assert torch.equal(conditions.null_states[1, -1], components["condition"].null_condition_emb[0, 0])


def test_joining_keeps_notes_once_and_each_item_whole(components: dict[str, Any]) -> None:
    one = encoded(components, PromptFields("bass " * 400))
    other = encoded(components, PromptFields("dub"))
    both = batched([one, other, one])
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


def test_lyrics_longer_than_the_model_hears_still_end_with_the_end_token(components: dict[str, Any]) -> None:
    [reading] = encode_text(components["text"], components["words"], [PromptFields("dub", "la " * 3000)])
    end = components["words"](prompt_texts(PromptFields("dub", "la"))[1]).input_ids[-1]
    assert len(reading.lyrics) == LYRIC_TOKENS
    assert torch.equal(reading.lyrics[-1], components["text"].get_input_embeddings()(torch.tensor(end)))
    assert "the end is not sung" in reading.notes[0]

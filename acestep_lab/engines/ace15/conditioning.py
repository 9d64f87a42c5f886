"""What the DiT listens to: words, lyrics and timbre become one row of states per item. Does not know tasks or the loop.

In two stages, so that a small machine can hold one component at a time: `encode_text` needs the text encoder,
`encode_conditions` the condition encoder. Every item is encoded alone and padded afterwards, so that it hears the same in a
batch as by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab.errors import RecipeError, SourceError

TEXT_TOKENS = 256  # what the checkpoints were trained to read of caption and metadata
LYRIC_TOKENS = 2048
LONGEST_WORD = 40  # letters without a space, beyond which a script is taken to have none
TIMBRE_SECONDS = 30.0  # the timbre encoder hears three windows of a third each

PROMPT = "# Instruction\n{}\n\n# Caption\n{}\n\n# Metas\n{}<|endoftext|>\n"
METAS = "- bpm: {}\n- timesignature: {}\n- keyscale: {}\n- duration: {}\n"
LYRICS_END = "<|endoftext|>"
LYRICS = "# Languages\n{}\n\n# Lyric\n{}" + LYRICS_END


class TokenIds(Protocol):
    """What a tokenizer returns, in the one way it is read here."""

    @property
    def input_ids(self) -> Sequence[int]: ...


class Tokenizer(Protocol):
    """A `transformers` tokenizer, in the one way it is called here."""

    def __call__(self, text: str, *, truncation: bool, verbose: bool) -> TokenIds: ...


@dataclass(frozen=True)
class PromptFields:
    """Everything said about one item; None is written as N/A, which the model reads as "choose"."""

    caption: str
    lyrics: str = ""
    language: str = "unknown"
    seconds: float | None = None
    bpm: int | None = None
    keyscale: str | None = None
    timesignature: str | None = None
    instruction: str = "Fill the audio semantic mask based on the given conditions:"
    global_caption: str = ""
    mask_control: bool | None = None
    """Of a checkpoint finely tuned on stems: whether the mask says where to play. None: any other checkpoint."""


@dataclass(frozen=True)
class TextEncoding:
    """One item as the text encoder read it: contextual states of the prompt, plain embeddings of the lyrics."""

    text: Tensor  # [tokens, text width]
    lyrics: Tensor  # [tokens, text width]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conditions:
    """All the DiT listens to besides the noise."""

    states: Tensor  # [items, tokens, width]
    mask: Tensor  # [items, tokens], True where there is something to hear
    null: Tensor  # [1, 1, width], the conditions where nothing is asked
    notes: tuple[str, ...] = ()

    @property
    def null_states(self) -> Tensor:
        """The learned silence of words in the shape of the states: the other half of guidance."""
        return self.null.expand_as(self.states)

    def cpu(self) -> Conditions:
        """The same in RAM, where many of them can be remembered."""
        return replace(self, states=self.states.cpu(), mask=self.mask.cpu(), null=self.null.cpu())


def prompt_texts(words: PromptFields) -> tuple[str, str]:
    """The prompt and the lyrics exactly as the checkpoints were trained to read them (diffusers `_format_prompt`)."""
    colon = "" if words.instruction.endswith(":") else ":"
    metas = METAS.format(
        words.bpm or "N/A",
        words.timesignature or "N/A",
        words.keyscale or "N/A",
        f"{int(words.seconds) if words.seconds else 30} seconds",
    )
    return PROMPT.format(words.instruction + colon, _caption(words), metas), LYRICS.format(words.language, words.lyrics)


def _caption(words: PromptFields) -> str:
    """The caption; for a checkpoint finely tuned on stems the block it was taught with (the reference's `is_lego_sft`).

    An instruction for "a segment" was taught without the song's own caption.
    """
    if words.mask_control is None:
        return words.caption
    whole = "" if "a segment" in words.instruction.lower() else f"Global: {words.global_caption}\n"
    return f"{whole}Local: {words.caption}\nMask Control: {str(words.mask_control).lower()}"


# --- the two encoders -------------------------------------------------------------------------------------------------


@torch.inference_mode()
def encode_text(text_encoder: nn.Module, tokenizer: Tokenizer, items: Sequence[PromptFields]) -> list[TextEncoding]:
    """Read every item alone: prompt through the whole text encoder, lyrics through its embedding table only."""
    return [_encode_text_one(text_encoder, tokenizer, words) for words in items]


def _encode_text_one(text_encoder: Any, tokenizer: Tokenizer, words: PromptFields) -> TextEncoding:
    fitted, notes = _fitted(tokenizer, words)
    text, lyrics = prompt_texts(fitted)
    device = next(text_encoder.parameters()).device
    lyric_ids, lyric_notes = _lyric_ids(tokenizer, lyrics)
    text_ids = torch.tensor([_ids(tokenizer, text)[:TEXT_TOKENS]], device=device)
    states = text_encoder(input_ids=text_ids).last_hidden_state
    embedded = text_encoder.get_input_embeddings()(torch.tensor([lyric_ids], device=device))
    return TextEncoding(states[0], embedded[0], notes + lyric_notes)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer(text, truncation=False, verbose=False).input_ids)


def _fitted(tokenizer: Tokenizer, words: PromptFields) -> tuple[PromptFields, tuple[str, ...]]:
    """Fields whose prompt fits. Tempo, key and length stand at the end of the prompt, where a plain cut would lose
    them; so the song's own caption, then the caption gives way from its end, at a word where the script has spaces.

    Raises RecipeError where an instruction of one's own leaves no room even for an empty caption.
    """
    words, song_notes = _shortened(tokenizer, words, "global_caption", "song's caption")
    words, notes = _shortened(tokenizer, words, "caption", "caption")
    if not _fits(tokenizer, words):
        raise RecipeError(f"The instruction leaves no room for a caption in the {TEXT_TOKENS} tokens this model reads.")
    return words, song_notes + notes


def _fits(tokenizer: Tokenizer, words: PromptFields) -> bool:
    return len(_ids(tokenizer, prompt_texts(words)[0])) <= TEXT_TOKENS


def _shortened(
    tokenizer: Tokenizer, words: PromptFields, field: str, called: str
) -> tuple[PromptFields, tuple[str, ...]]:
    """Fields with one caption shortened until the prompt fits, and the note that says so; as they are where it does."""
    if _fits(tokenizer, words):
        return words, ()

    def held(text: str) -> PromptFields:
        return replace(words, **{field: text})  # type: ignore[arg-type]

    kept = _beginning(getattr(words, field), lambda text: _fits(tokenizer, held(text)))
    note = (
        f"The {called} is longer than the {TEXT_TOKENS} tokens this model reads; it was read up to “…{kept[-24:]}”, and "
        "tempo, key, meter and length were kept."
    )
    return held(kept), (note,) if getattr(words, field) else ()


def _beginning(text: str, fits: Callable[[str], bool]) -> str:
    """About the longest beginning of a text that fits, found by halving; no word is cut if it has spaces nearby."""
    low, high = 0, max(len(text) - 1, 0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle - 1)
    kept = text[:low]
    if low < len(text) and not text[low].isspace() and any(letter.isspace() for letter in kept[-LONGEST_WORD:]):
        kept = kept.rsplit(maxsplit=1)[0]
    return kept.rstrip()


def _lyric_ids(tokenizer: Tokenizer, lyrics: str) -> tuple[list[int], tuple[str, ...]]:
    ids = _ids(tokenizer, lyrics)
    if len(ids) <= LYRIC_TOKENS:
        return ids, ()
    note = f"The lyrics have {len(ids)} tokens; this model hears the first {LYRIC_TOKENS}, the end is not sung."
    return [*ids[: LYRIC_TOKENS - 1], ids[-1]], (note,)  # the end token says that the words are over


@dataclass(frozen=True)
class LyricTokens:
    """Which of the states an item is heard by are tokens of its lyrics, or its caption, and the letters that each stands for."""

    rows: tuple[int, ...]
    """Places among the states; the lyrics, header and end included, come first there."""
    spans: tuple[tuple[int, int], ...]
    count: int
    """All tokens of the lyrics with header and end, those beyond the reading limit included."""


def lyric_tokens(tokenizer: Any, words: PromptFields) -> LyricTokens:
    """The tokens of an item's lyrics by the tokenizer's own offsets; one that reaches over the header's border counts with the
    letters that it has of the lyrics.
    """
    text = prompt_texts(words)[1]
    header = len(text) - len(words.lyrics) - len(LYRICS_END)
    offsets = tokenizer(text, truncation=False, verbose=False, return_offsets_mapping=True).offset_mapping
    read = len(offsets) if len(offsets) <= LYRIC_TOKENS else LYRIC_TOKENS - 1
    found = [
        (row, (max(start - header, 0), min(end - header, len(words.lyrics))))
        for row, (start, end) in enumerate(offsets[:read])
        if end > header and start < header + len(words.lyrics) and end > start
    ]
    return LyricTokens(tuple(row for row, _ in found), tuple(span for _, span in found), len(offsets))


def caption_tokens(tokenizer: Any, words: PromptFields) -> LyricTokens:
    """The tokens of an item's caption by the tokenizer's own offsets; rows count back from the end of the states (-1 is the last),
    where the prompt comes. What was cut from a caption too long to be read has none.
    """
    fitted, _ = _fitted(tokenizer, words)
    text, whole = prompt_texts(fitted)[0], len(_ids(tokenizer, prompt_texts(words)[0]))
    block = _caption(fitted)
    start = text.index(f"# Caption\n{block}\n\n# Metas") + len("# Caption\n") + len(block) - len(_own(fitted, block))
    offsets = tokenizer(text, truncation=False, verbose=False, return_offsets_mapping=True).offset_mapping
    found = [
        (row - len(offsets), (max(first - start, 0), min(last - start, len(fitted.caption))))
        for row, (first, last) in enumerate(offsets)
        if last > start and first < start + len(fitted.caption) and last > first
    ]
    return LyricTokens(tuple(row for row, _ in found), tuple(span for _, span in found), whole)


def _own(words: PromptFields, block: str) -> str:
    """From where the caption itself begins to the end of its block."""
    return block if words.mask_control is None else block[block.index("Local: ") + len("Local: ") :]


# --- fusing ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def encode_conditions(
    condition_encoder: nn.Module,
    encodings: Sequence[TextEncoding],
    timbre_frames: int,
    timbre: Sequence[Tensor | None] | Tensor | None = None,
) -> Conditions:
    """Lyrics, timbre and text of every item as one padded batch. `timbre` holds reference latents [frames, channels],
    one for all or one per item; where there is none the encoder hears recorded silence (zeros would sound like a drone).
    """
    references = timbre if isinstance(timbre, list | tuple) else [timbre] * len(encodings)
    null: Any = condition_encoder.null_condition_emb
    alone = []
    for encoding, reference in zip(encodings, references, strict=True):
        states = _encode_one(condition_encoder, encoding, reference, timbre_frames)[None]
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        alone.append(Conditions(states, mask, null.detach().to(states), encoding.notes))
    return batched(alone)


def batched(conditions: Sequence[Conditions]) -> Conditions:
    """Several conditions as one batch, the shorter ones padded at their end."""
    longest = max(c.states.shape[1] for c in conditions)
    states = torch.cat([F.pad(c.states, (0, 0, 0, longest - c.states.shape[1])) for c in conditions])
    mask = torch.cat([F.pad(c.mask, (0, longest - c.mask.shape[1])) for c in conditions])
    notes = tuple(dict.fromkeys(note for c in conditions for note in c.notes))
    return Conditions(states, mask, conditions[0].null, notes)


def _encode_one(encoder: Any, encoding: TextEncoding, timbre: Tensor | None, timbre_frames: int) -> Tensor:
    """States of one item without padding, [tokens, width]."""
    like = encoder.null_condition_emb
    if timbre is None:
        timbre = tiled(encoder.silence_latent[0], timbre_frames)
    text, lyrics = encoding.text[None].to(like), encoding.lyrics[None].to(like)
    states, _ = encoder(
        text_hidden_states=text,
        text_attention_mask=torch.ones(text.shape[:2], dtype=torch.bool, device=like.device),
        lyric_hidden_states=lyrics,
        lyric_attention_mask=torch.ones(lyrics.shape[:2], dtype=torch.bool, device=like.device),
        refer_audio_acoustic_hidden_states_packed=timbre[None].to(like),
        refer_audio_order_mask=torch.zeros(1, dtype=torch.long, device=like.device),
    )
    return states[0]  # every word and the one timbre are heard: nothing is filled up


def encode_both(
    text_encoder: nn.Module,
    condition_encoder: nn.Module,
    tokenizer: Tokenizer,
    items: Sequence[PromptFields],
    timbre_frames: int,
    timbre: Sequence[Tensor | None] | Tensor | None = None,
) -> Conditions:
    """`encode_text` and `encode_conditions` in one go, for machines that hold both encoders."""
    return encode_conditions(condition_encoder, encode_text(text_encoder, tokenizer, items), timbre_frames, timbre)


# --- timbre ----------------------------------------------------------------------------------------------------------


def timbre_frames(frames_per_second: float) -> int:
    """Latent frames the timbre encoder hears."""
    return math.ceil(TIMBRE_SECONDS * frames_per_second)


def timbre_windows(samples: Tensor, rate: int) -> Tensor:
    """Front, middle and back of a reference recording, ten seconds each, [channels, samples].

    Fixed windows, so that the same reference always gives the same timbre; a shorter one is repeated.
    """
    if not samples.abs().amax() > 1e-5:
        raise SourceError("The reference audio is silent; choose a part with sound in it, or leave the reference away.")
    whole, window = round(TIMBRE_SECONDS * rate), round(TIMBRE_SECONDS / 3 * rate)
    samples = samples.clamp(-1.0, 1.0).repeat(1, max(1, math.ceil(whole / samples.shape[-1])))
    length = samples.shape[-1]
    starts = (0, length // 3, length - window)
    return torch.cat([samples[:, start : start + window] for start in starts], dim=-1)


def tiled(silence: Tensor, frames: int) -> Tensor:
    """So many frames of silence, [frames, channels], repeating the recorded silence where it is too short."""
    return silence.repeat(math.ceil(frames / silence.shape[0]), 1)[:frames]

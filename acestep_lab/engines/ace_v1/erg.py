"""Energy-based reading guidance (ERG): a model that hardly listens, as the side that guidance leads away from.

Knows neither text nor transformer: only query layers by their names, and what of a song's words each branch hears. A model
names its own layers (`damped_queries`, `damped_lyric_queries` of the transformer, the text encoder's of its blocks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TAU = 0.01
"""What the queries are multiplied by: attention becomes nearly even."""


@contextmanager
def dampened(module: nn.Module, names: Iterable[str], by: float | Tensor = TAU) -> Iterator[None]:
    """Inside, what the named layers of a module say is multiplied; afterwards nothing is left of it, whatever happened."""

    def quieter(_: nn.Module, __: tuple[object, ...], said: Tensor) -> Tensor:
        return said * (by.to(said) if isinstance(by, Tensor) else by)

    with ExitStack() as hooks:
        for name in names:
            hooks.callback(module.get_submodule(name).register_forward_hook(quieter).remove)
        yield


@dataclass(frozen=True)
class Hearing:
    """What one branch of guidance hears of the words: each of the three apart from the others."""

    text: str = "whole"
    """whole, dampened (read with quieter queries) or nothing."""
    lyrics: str = "whole"
    """whole, dampened, nothing (erased, and heard as that) or silence (not heard at all)."""
    speaker: bool = True
    """Whether the voice is heard."""


WHOLE = Hearing()


def null_hearing(erg_tag: bool, erg_lyric: bool, edits: bool = False) -> Hearing:
    """What the branch hears that guidance leads away from: caption and lyrics each on its own switch; in an edit, erased lyrics
    are not heard at all.
    """
    lyrics = "silence" if edits and not erg_lyric else _quiet(erg_lyric)
    return Hearing(_quiet(erg_tag), lyrics, speaker=False)


def text_hearing(erg_lyric: bool) -> Hearing:
    """What the middle branch hears where caption and lyrics are guided apart: the caption as it is."""
    return Hearing("whole", _quiet(erg_lyric), speaker=False)


def _quiet(on: bool) -> str:
    return "dampened" if on else "nothing"


@dataclass(frozen=True, eq=False)
class Words:
    """What a group of songs is asked for, as the transformer's `encode` takes it."""

    text: Tensor
    """Text states `[items, tokens, width]`."""
    dampened_text: Tensor
    """The same, read by the text encoder with quieter queries."""
    text_mask: Tensor
    speaker: Tensor
    """`[items, width]`; zeros where there is none."""
    lyric_ids: Tensor
    lyric_mask: Tensor


Encode = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""encode(text, text_mask, speaker, lyric_ids, lyric_mask) -> (states, mask)."""


def encoded(
    encode: Encode, words: Words, hearing: Hearing, module: nn.Module, lyric_queries: Iterable[str]
) -> tuple[Tensor, Tensor]:
    """The states of a branch and their mask; `lyric_queries` are the layers of `module` that hear dampened lyrics quietly."""
    texts = {"whole": words.text, "dampened": words.dampened_text, "nothing": torch.zeros_like(words.text)}
    speaker = words.speaker if hearing.speaker else torch.zeros_like(words.speaker)
    lyrics = torch.zeros_like(words.lyric_ids) if hearing.lyrics in ("nothing", "silence") else words.lyric_ids
    heard = torch.zeros_like(words.lyric_mask) if hearing.lyrics == "silence" else words.lyric_mask
    with dampened(module, lyric_queries if hearing.lyrics == "dampened" else ()):
        return encode(texts[hearing.text], words.text_mask, speaker, lyrics, heard)

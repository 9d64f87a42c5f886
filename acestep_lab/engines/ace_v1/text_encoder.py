"""A prompt becomes the states ACE-Step v1 is led by: UMT5's encoder, and its second reading for guidance with dampened queries.

    PromptReader(folder, devices).read(["slow dub techno"])[0].states       [tokens, 768]

Each prompt is read alone, so that none depends on its neighbours, and remembered. Knows no lyrics and no loop: whether a
prompt's second reading is wanted is asked here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from acestep_lab._libraries import transformers
from acestep_lab.engines.ace_v1.erg import dampened
from acestep_lab.engines.base import Devices
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.lru_cache import LRUCache
from acestep_lab.models import weights
from acestep_lab.models.assembly import assemble, fitting
from acestep_lab.models.weights import Entry, short

FOLDER = "umt5-base"
"""Where a published checkpoint has its text encoder."""
MOST_TOKENS = 256
REMEMBERED = 128
"""Readings kept in RAM; at most 786 kB each."""

_NOT_OURS = (
    "auto_map", "attn_implementation", "quantization_config", "transformers_version", "torch_dtype", "dtype", "architectures",
)  # fmt: skip
"""What a config says of code, kernels and storage; how weights are computed with is decided here."""
_SHARED = ("shared.weight", "encoder.embed_tokens.weight")
"""The two names of the one table of words, of which a file holds either or both."""


@dataclass(frozen=True)
class PromptStates:
    """What UMT5 says of a prompt."""

    states: Tensor
    """[tokens, width], float32, on the CPU."""
    remarks: tuple[str, ...] = ()


# -- the component -----------------------------------------------------------------------------------------------------


def config_of(folder: Path) -> dict[str, Any]:
    """The config of the text encoder in its folder; CheckpointError where it is another model's."""
    config = weights.read_config(folder / "config.json")
    if config.get("model_type") != "umt5":
        raise CheckpointError(
            f"{short(folder / 'config.json')} is of a {shown(config.get('model_type'))} where a 'umt5' belongs."
        )
    kept = {key: value for key, value in config.items() if not key.startswith("_") and key not in _NOT_OURS}
    return kept | {"is_encoder_decoder": False, "use_cache": False}


def entries(folder: Path) -> dict[str, Entry]:
    """The stored tensors by their module's names: the table of words under both of its own."""
    found = weights.stored_tensors(folder)
    both = [found[name] for name in _SHARED if name in found]
    return found | {name: found.get(name, both[0]) for name in _SHARED if both}


def build(folder: Path, dtype: torch.dtype) -> nn.Module:
    """The text encoder (UMT5EncoderModel) on the CPU, strictly loaded, in evaluation mode; CheckpointError."""
    module: Any = assemble(_maker(folder), entries(folder), folder, dtype)
    module.encoder.embed_tokens.weight = module.shared.weight
    return module


def verify(folder: Path) -> None:
    """Compare the stored tensors with the config by name and shape, without reading them; CheckpointError."""
    fitting(_maker(folder), entries(folder), folder, {})


def _maker(folder: Path) -> Any:
    config = config_of(folder)
    return lambda: transformers.UMT5EncoderModel(transformers.UMT5Config.from_dict(config))


def open_tokenizer(folder: Path, config: Mapping[str, Any] | None = None) -> Tokenizer:
    """The tokenizer in a folder's tokenizer.json; CheckpointError unless it knows only words that its model does."""
    words = weights.whole_number(config_of(folder) if config is None else config, "vocab_size", short(folder), 250112)
    file = folder / "tokenizer.json"
    weights.read_json(file)  # missing, damaged or no table: said there
    try:
        found = Tokenizer.from_file(str(file))
    except Exception as reason:  # the library raises nothing more particular
        raise CheckpointError(
            f"The tokenizer in {short(file)} cannot be read ({shown(' '.join(str(reason).split()), 100)})."
        ) from reason
    found.no_padding()
    found.no_truncation()
    if found.get_vocab_size() > words:
        raise CheckpointError(
            f"The tokenizer in {short(folder)} knows {found.get_vocab_size():,} words and its model {words:,}: they are not of a "
            "kind."
        )
    return found


# -- reading -----------------------------------------------------------------------------------------------------------


def queries(module: Any) -> list[str]:
    """The query modules that the second reading dampens: of two blocks from two thirds of the depth on (UMT5-base: 8 and 9)."""
    if hasattr(module, "damped_queries"):
        return list(module.damped_queries)
    count = len(module.encoder.block)
    first = count * 2 // 3
    return [f"encoder.block.{place}.layer.0.SelfAttention.q" for place in range(first, min(first + 2, count))]


class PromptReader:
    """What reads the prompts of one checkpoint."""

    def __init__(self, folder: Path, devices: Devices, component: str = "text") -> None:
        """`folder` is the text encoder's own, `component` its name on the devices."""
        self.folder, self.devices, self.component = folder, devices, component
        self._known = LRUCache[PromptStates](REMEMBERED)

    def read(self, prompts: Sequence[str], dampened: bool = False) -> list[PromptStates]:
        """The states of each prompt; `dampened`: as the side that guidance leads away from hears them (the tag's ERG)."""
        return [self._known.recall((one, dampened), partial(self._fresh, one, dampened)) for one in prompts]

    def _fresh(self, prompt: str, quiet: bool) -> PromptStates:
        ids, remarks = token_ids(self._tokenizer, prompt)

        @torch.inference_mode()
        def states(text: Any) -> Tensor:
            asked = torch.tensor([ids], device=self.devices.device_for(self.component))
            with dampened(text, queries(text) if quiet else ()):
                said: Tensor = text(input_ids=asked, attention_mask=torch.ones_like(asked)).last_hidden_state
            return said[0].float().cpu()

        return PromptStates(self.devices.run_with_retry(self.component, states).clone(), remarks)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self.folder)


def token_ids(tokenizer: Tokenizer, prompt: str) -> tuple[list[int], tuple[str, ...]]:
    """A prompt's tokens, at most MOST_TOKENS with the end that the tokenizer sets, and a remark where there were more."""
    ids, end = tokenizer.encode(prompt).ids, tokenizer.encode("").ids
    if len(ids) <= MOST_TOKENS:
        return ids or [0], ()
    remark = f"The prompt has {len(ids):,} tokens; the first {MOST_TOKENS - len(end)} of them are read."
    return [*ids[: MOST_TOKENS - len(end)], *end], (remark,)


def batch(prompts: Sequence[PromptStates]) -> tuple[Tensor, Tensor]:
    """The states of several prompts, each its own, as [prompts, longest, width] and mask [prompts, longest] (int64).

    Short ones are filled up with zeros, masked.
    """
    lengths = [len(one.states) for one in prompts]
    states = nn.utils.rnn.pad_sequence([one.states for one in prompts], batch_first=True)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return states, mask.long()

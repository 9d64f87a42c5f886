"""How likely a language model finds an answer to a prompt: what the plan score is made of. Knows no plan."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab.plan.decoder import KVCache, decoder_of
from acestep_lab.plan.prompt_template import PromptTemplate, Tokenizer

BEST = 10
"""A token further down than this scores nothing."""
_CHUNK = 128
"""Positions whose logits are held at once: at 217,000 words each, a song's lyrics would fill gigabytes."""


class AnswerScorer:
    """A prompt read once; one answer after another is scored as its continuation."""

    def __init__(self, lm: nn.Module, tokenizer: Tokenizer, prompt: PromptTemplate) -> None:
        self.decoder, self.tokenizer = decoder_of(lm), tokenizer
        *before, self._last = prompt.encode(tokenizer)
        self.cache: KVCache = self.decoder.new_cache(1, len(before))
        self.decoder.states(self.cache, [before])

    def _log_probabilities(self, answer: PromptTemplate) -> Iterator[tuple[Tensor, Tensor]]:
        """Log probabilities at some of the answer's positions [tokens, vocabulary] and of its own tokens there [tokens, 1]."""
        tokens = answer.encode(self.tokenizer)
        cache = self.cache.select([0], self.cache.lengths[0] + len(tokens))
        states = self.decoder.states(cache, [[self._last, *tokens[:-1]]])[0]
        wanted = torch.tensor(tokens, device=states.device)[:, None]
        for chunk, own in zip(states.split(_CHUNK), wanted.split(_CHUNK), strict=True):
            logs = F.log_softmax(self.decoder.logits(chunk, slice(0, self.decoder.vocabulary)), dim=-1)
            yield logs, logs.gather(1, own)

    def likelihood(self, answer: PromptTemplate) -> float:
        """Mean log probability of the answer's tokens."""
        return float(torch.cat([own for _, own in self._log_probabilities(answer)]).mean())

    def recall(self, answer: PromptTemplate) -> float:
        """Mean over the answer's tokens of 1 − (rank − 1)/10, 0 beyond the tenth."""
        better = torch.cat([(logs > own).sum(dim=1) for logs, own in self._log_probabilities(answer)])  # 0 = likeliest
        return float((1.0 - better / BEST).clamp(min=0.0).mean())

"""The planner: a language model handed in, a Recipe or a sentence or codes in, Plans out, one token at a time.

Knows no files, no devices and no Session; it is handed the model (or a provider of it, such as a device manager) for each
call. One `Generation` is the whole loop: think under a grammar, then write codes with guidance or lyrics without. Every token is an
event; a generation may be left lying after any of them and taken up again, and gives the same tokens.
"""

from __future__ import annotations

import re
from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acestep_lab.errors import RecipeError, Stopped, shown
from acestep_lab.files import mended_text
from acestep_lab.models.recording import Recorder, recorder_for
from acestep_lab.plan import prompt_template
from acestep_lab.plan.decode_batch import Choice, DecodeBatch
from acestep_lab.plan.decoder import Decoder, decoder_of
from acestep_lab.plan.fields import ATTRIBUTES, FIELDS, ROWS
from acestep_lab.plan.fixed_batch import FixedBatch
from acestep_lab.plan.grammar import GrammarMatcher, TokenTable, pattern
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.prompt_template import PromptTemplate, Tokenizer
from acestep_lab.plan.token import Token
from acestep_lab.plan.token_sampler import TokenSampler
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.recipe import MAX_SEED, Planning, Recipe

THOUGHT_TOKENS = 512
"""Room set aside for a thought when a song's longest length is worked out; the reference's limit for a caption."""

LYRIC_TOKENS = 2048
"""The most tokens of lyrics a sketch may write: what the lyric encoder reads."""

UNDERSTANDING = Planning(temperature=0.3)
"""How the reference describes codes: at a lower temperature than it plans."""

ModelProvider: TypeAlias = "nn.Module | Callable[[], AbstractContextManager[nn.Module]]"
"""A language model, or what provides one for the time of a call: `lambda: devices.on("lm")`."""


Batch: TypeAlias = "DecodeBatch[_Sequence] | FixedBatch[_Sequence]"

Road: TypeAlias = "Callable[[torch.device], Recorder | None]"
"""How steps are run on a device: what records them, or None where the host computes and shapes may change."""


class CodeGeometry(Protocol):
    """What a planner needs to know of a checkpoint's codes."""

    @property
    def code_count(self) -> int: ...
    @property
    def codes_per_second(self) -> float: ...
    @property
    def longest_seconds(self) -> float: ...
    def codes(self, seconds: float) -> int: ...


@dataclass(frozen=True)
class PlanRequest:
    """All a generation needs to know: prompts, what stands fixed, what is to be written, how to sample."""

    prompt: PromptTemplate
    fixed: dict[str, Any]
    fields: tuple[str, ...]
    planning: Planning
    longest: float
    negative_codes: PromptTemplate | None = None
    """The unconditional side while writing codes; None = no guidance there. Thinking is never guided, as in the reference."""
    writes: str = "codes"
    """What follows the thought: "codes", "lyrics" or "" (nothing)."""
    lyrics: str | None = None
    """Lyrics that need not be written, because they are known."""
    codes: tuple[int, ...] = ()
    """Codes that need not be written, because they are known."""
    asked: dict[str, object] = field(default_factory=dict)
    locked: frozenset[str] = frozenset()


class Planner:
    """Plans for one tokenizer and one geometry; cheap to make, the tables are built when first used and kept."""

    def __init__(
        self, tokenizer: Tokenizer, geometry: CodeGeometry, repeats_caption: bool = False, road: Road = recorder_for
    ) -> None:
        """`repeats_caption`: the model was taught to repeat the asked caption in its thought; others write their own.
        `road` says how steps are run on the model's device.
        """
        self.road = road
        self.token_table = TokenTable(tokenizer)
        self.geometry = geometry
        self.repeats_caption = repeats_caption

    @cached_property
    def code_ids(self) -> NDArray[np.int64]:
        """Token ids of this checkpoint's codes, in order."""
        return self.token_table.codes(self.geometry.code_count)

    @cached_property
    def code_of(self) -> dict[int, int]:
        """Token id → code."""
        return {int(token): code for code, token in enumerate(self.code_ids)}

    @cached_property
    def text_end(self) -> int:
        """Past the last token that is text: the rows of the head a thought needs."""
        return int(np.flatnonzero(self.token_table.is_text)[-1]) + 1

    # ── the verbs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def plan(
        self,
        lm: ModelProvider,
        recipe: Recipe,
        seeds: int | Iterable[int],
        *,
        n: int | None = None,
        codes: bool | None = None,
        keep: Plan | None = None,
        on_token: Callable[[Token], None] | None = None,
        stop: Callable[[], bool] | None = None,
        longest: float | None = None,
    ) -> list[Plan]:
        """Plans for a recipe, one for each seed, from one reading of the prompt; what the recipe says stands.

        `codes` False leaves the codes out, None writes them where the task's music starts from words. `keep` is a plan
        whose locked fields stand too. `stop` is asked after every token; Stopped is raised when it answers True.
        """
        request = self.request(recipe, codes=codes, keep=keep, longest=longest)
        return self._finish(self.generate(lm, request, _seeds(seeds, n)), on_token, stop)

    def replan(
        self, lm: ModelProvider, plan: Plan, recipe: Recipe, seeds: int | Iterable[int], **options: Any
    ) -> list[Plan]:
        """New plans that keep what is locked in this one: `planner.replan(lm, plan.lock("bpm"), recipe, 8)`."""
        return self.plan(lm, recipe, seeds, keep=plan, **options)

    def sketch(
        self,
        lm: ModelProvider,
        sentence: str,
        instrumental: bool = False,
        seed: int = 0,
        *,
        language: str | None = None,
        planning: Planning | None = None,
        longest: float | None = None,
        on_token: Callable[[Token], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Plan:
        """A caption, lyrics and metadata out of one sentence."""
        if not isinstance(sentence, str):
            raise RecipeError(f"A sketch starts from a sentence, not from {type(sentence).__name__}.")
        asked = {"sentence": sentence, "instrumental": instrumental, "language": language}
        fixed = _named({"language": language})
        lyrics = prompt_template.INSTRUMENTAL if instrumental else None
        request = self._description_request(
            prompt_template.sketch_prompt(sentence, instrumental), fixed, asked, planning, longest, lyrics
        )
        return self._finish(self.generate(lm, request, _seeds(seed, None)), on_token, stop)[0]

    def polish(
        self,
        lm: ModelProvider,
        caption: str,
        lyrics: str = "",
        seed: int = 0,
        *,
        fixed: dict[str, Any] | None = None,
        planning: Planning | None = None,
        longest: float | None = None,
        on_token: Callable[[Token], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Plan:
        """Better words for a caption and lyrics, with metadata; `fixed` holds fields that must stand, such as bpm."""
        fixed = {name: value for name, value in (fixed or {}).items() if value is not None}
        asked = {"caption": caption, "lyrics": lyrics, **fixed}
        if not (isinstance(caption, str) and isinstance(lyrics, str)):
            raise RecipeError("What is to be polished are words: a caption and lyrics, both text.")
        request = self._description_request(
            prompt_template.polish_prompt(caption, lyrics), _named(fixed), asked, planning, longest
        )
        return self._finish(self.generate(lm, request, _seeds(seed, None)), on_token, stop)[0]

    def understand(
        self,
        lm: ModelProvider,
        codes: Sequence[int],
        seed: int = 0,
        *,
        planning: Planning = UNDERSTANDING,
        on_token: Callable[[Token], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Plan:
        """A description of codes: caption, lyrics, metadata. Their number says how long the music is."""
        codes = self._known_codes(codes)
        seconds = len(codes) / self.geometry.codes_per_second
        fixed = {"duration": seconds} if seconds >= 1 else {}
        request = self._description_request(
            prompt_template.understand_prompt(codes), fixed, {}, planning, None, codes=tuple(codes)
        )
        return self._finish(self.generate(lm, request, _seeds(seed, None)), on_token, stop)[0]

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(
        self, recipe: Recipe, *, codes: bool | None = None, keep: Plan | None = None, longest: float | None = None
    ) -> PlanRequest:
        """What to ask for a recipe: its prompt, its fixed fields, and the negative prompts its guidance needs."""
        longest = min(self.geometry.longest_seconds, longest or self.geometry.longest_seconds)
        fixed = self._caption(recipe, keep) | _agreed(_asked(recipe), keep)
        self._check_fits(fixed, longest)
        planning, given = recipe.planning, keep.codes if keep and "codes" in keep.locked else ()
        if given:
            fixed["duration"] = self._seconds_of(given, fixed.get("duration"))
        lyrics = _lyrics(recipe, keep)
        writes = "codes" if (recipe.task.plans if codes is None else codes) and not given else ""
        guided = planning.cfg_scale > 1.0
        legacy, negative = planning.legacy_negative_layout, planning.negative_prompt
        with_caption = (
            planning.writes_caption or "caption" in fixed
        )  # a locked one stands in the thought whoever wrote it
        return PlanRequest(
            prompt=prompt_template.plan_prompt(recipe.caption, lyrics),
            fixed=fixed,
            fields=prompt_template.PLAN_FIELDS
            if with_caption
            else tuple(name for name in prompt_template.PLAN_FIELDS if name != "caption"),
            planning=planning,
            longest=longest,
            negative_codes=prompt_template.negative_prompt(recipe.caption, lyrics, negative, legacy=legacy)
            if guided
            else None,
            writes=writes if self.geometry.code_count else "",
            lyrics=lyrics,
            codes=given,
            asked=_words(recipe),
            locked=keep.locked if keep else frozenset(),
        )

    def _caption(self, recipe: Recipe, keep: Plan | None) -> dict[str, str]:
        """The caption a planner repeats in its thought; one that writes its own, or keeps a locked one, gets none."""
        wanted = recipe.planning.writes_caption and not recipe.planning.rewrite_caption and recipe.caption.strip()
        locked = keep is not None and "caption" in keep.locked
        return {"caption": recipe.caption} if self.repeats_caption and wanted and not locked else {}

    def _description_request(
        self,
        prompt: PromptTemplate,
        fixed: dict[str, Any],
        asked: dict[str, object],
        planning: Planning | None,
        longest: float | None,
        lyrics: str | None = None,
        codes: tuple[int, ...] = (),
    ) -> PlanRequest:
        """A request whose answer is words: all fields, then lyrics; never guided, as in the reference."""
        longest = min(self.geometry.longest_seconds, longest or self.geometry.longest_seconds)
        if not codes:
            self._check_fits(fixed, longest)
        return PlanRequest(
            prompt=prompt,
            fixed=fixed,
            fields=FIELDS,
            planning=planning or Planning(),
            longest=longest,
            writes="lyrics" if lyrics is None else "",
            lyrics=lyrics,
            codes=codes,
            asked={name: value for name, value in asked.items() if value not in (None, "")},
        )

    def _check_fits(self, fixed: dict[str, Any], longest: float) -> None:
        seconds = fixed.get("duration")
        if seconds is not None and seconds > longest:
            raise RecipeError(
                f"A song of {seconds:g} s is longer than this checkpoint and machine allow: {longest:g} s."
            )

    def _seconds_of(self, codes: Sequence[int], seconds: float | None) -> float:
        """The length locked codes stand for; RecipeError where another one is asked for."""
        found = len(self._known_codes(codes)) / self.geometry.codes_per_second
        if seconds is not None and self.geometry.codes(seconds) != len(codes):
            raise RecipeError(
                f"{len(codes)} locked codes are {found:g} s of music, but {seconds:g} s are asked for. Unlock one of the two."
            )
        return seconds or found

    def _known_codes(self, codes: Sequence[int]) -> list[int]:
        """Codes this checkpoint has; RecipeError on others."""
        strange = [code for code in codes if not 0 <= code < self.geometry.code_count]
        if strange or not codes:
            what = f"Code {strange[0]} is unknown" if strange else "There are no codes to work from"
            raise RecipeError(f"{what}; this checkpoint has the codes 0 to {self.geometry.code_count - 1}.")
        return list(codes)

    # ── the loop ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def generate(self, lm: ModelProvider, request: PlanRequest, seeds: Sequence[int]) -> Generation:
        """The loop as an iterator of tokens, one plan for each seed; nothing runs until it is iterated."""
        return Generation(self, lm, request, seeds)

    def _finish(
        self, generation: Generation, on_token: Callable[[Token], None] | None, stop: Callable[[], bool] | None
    ) -> list[Plan]:
        """Run a generation to its end; the model is handed back whatever happens."""
        try:
            for token in generation:
                if on_token:
                    on_token(token)
                if stop and stop():
                    raise Stopped("Planning was stopped before there was a plan.")
        finally:
            generation.close()
        return [plan for plan in generation.plans if plan is not None]


@dataclass
class _Sequence:
    """One plan under way: its sampler, its grammar, its tokens so far."""

    index: int
    sampler: TokenSampler
    matcher: GrammarMatcher
    thought: list[int] = field(default_factory=list)
    output: list[int] = field(default_factory=list)
    """Token ids after the thought."""
    code_count: int = 0
    """How many codes there must be, once the thought has said how long the song is."""
    text: str = ""
    """The thought as far as it was reported in events, `reported` tokens of it."""
    reported: int = 0
    text_decoder: IncrementalDecoder = field(default_factory=lambda: getincrementaldecoder("utf-8")("replace"))

    @property
    def current_field(self) -> str:
        """The field the thought has come to."""
        return heads[-1] if (heads := _HEAD.findall(self.text)) else FIELDS[0]

    @property
    def choice(self) -> Choice:
        """How its next token is chosen where all rows may write the same."""
        is_asked = self.sampler.planning.repetition_penalty != 1.0
        return Choice(self.sampler, self.thought + self.output if is_asked else ())

    @property
    def thinking(self) -> Choice:
        """How its next token is chosen under its grammar."""
        allowed, greedy = torch.from_numpy(self.matcher.allowed()), ROWS[self.current_field].greedy
        return Choice(self.sampler, self.thought, allowed, greedy)


class Generation:
    """Several plans being written in one batch: iterate its tokens, `stop(plan_index)` one of them, read `plans` at the end.

    Each row has its own seed, its own grammar and its own length, so a row alone and a row in a batch give the same tokens.
    """

    def __init__(self, planner: Planner, lm: ModelProvider, request: PlanRequest, seeds: Sequence[int]) -> None:
        self.planner, self.request, self.seeds, self._lm = planner, request, list(seeds), lm
        self.plans: list[Plan | None] = [None] * len(self.seeds)
        self._stopped: set[int] = set()
        self._tokens = self._run()

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        return next(self._tokens)

    def stop(self, plan_index: int) -> None:
        """Give one plan up; the others go on."""
        self._stopped.add(plan_index)

    def close(self) -> None:
        """Give all of them up and hand the model back."""
        self._tokens.close()

    def _run(self) -> Generator[Token, None, None]:
        provided = nullcontext(self._lm) if isinstance(self._lm, nn.Module) else self._lm()
        with provided as lm:
            batch = self._prefill(decoder_of(lm))
            yield from self._think(batch)
            if self.request.writes == "codes":
                yield from self._write_codes(batch)
            elif self.request.writes == "lyrics":
                yield from self._write_lyrics(batch)

    # ── the stages ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _prefill(self, decoder: Decoder) -> Batch:
        """All rows behind the prompt, which is read once."""
        request, token_table = self.request, self.planner.token_table
        prompt = request.prompt.encode(token_table.tokenizer)
        rule = pattern(request.fixed, request.fields, self._longest(decoder, len(prompt)))
        rows = [
            _Sequence(i, TokenSampler(request.planning, seed), GrammarMatcher(token_table, rule))
            for i, seed in enumerate(self.seeds)
        ]
        scale, recorder = (
            request.planning.cfg_scale,
            self.planner.road(decoder.device) if decoder.open_weights else None,
        )
        if recorder is None:
            return DecodeBatch.prefill(decoder, rows, prompt, scale, THOUGHT_TOKENS)
        return FixedBatch.prefill(decoder, rows, prompt, scale, THOUGHT_TOKENS, recorder)

    def _longest(self, decoder: Decoder, prompt: int) -> float:
        """The longest song, in seconds, the model has room to write after this prompt; RecipeError where there is none."""
        request, geometry = self.request, self.planner.geometry
        fixed = prompt_template.plain(prompt_template.thought(request.fixed)).encode(self.planner.token_table.tokenizer)
        room = decoder.max_positions - prompt - max(THOUGHT_TOKENS, len(fixed))
        if request.writes != "codes":
            needed, most = 0, request.longest
        else:
            needed = geometry.codes(request.fixed.get("duration") or 1.0)
            most = min(request.longest, room / geometry.codes_per_second)
        if room < needed:
            raise RecipeError(
                f"This planner reads {decoder.max_positions:,} tokens, and {prompt + len(fixed):,} are taken by "
                + (
                    "the codes it is to describe alone. Give it a shorter sound."
                    if request.codes and request.writes == "lyrics"
                    else "the words alone. Shorten them."
                    if request.writes == "lyrics"
                    else "the words alone. Shorten the lyrics or the song, or make it with thinking=False."
                )
            )
        return most

    def _think(self, batch: Batch) -> Generator[Token, None, None]:
        """The thought under its grammar; rows that have finished wait until all have."""
        tokens = [[self.planner.token_table.think, *self._forced(row)] for row in batch.rows]
        while batch.rows:
            for row in batch.rows:
                yield from self._events(row)
            tokens = batch.keep(self._running(batch.rows), tokens)
            batch.feed(tokens)
            batch.park([row for row in batch.rows if row.matcher.done])
            tokens = self._next_tokens(batch)
        batch.unpark()
        batch.keep(self._running(batch.rows))
        for row in batch.rows:
            row.code_count = self._code_count(row)
            if not self.request.writes:
                self.plans[row.index] = self._plan(row)

    def _next_tokens(self, batch: Batch) -> list[list[int]]:
        """Each row's next token and what is forced after it."""
        if not batch.rows:
            return []
        chosen = batch.choose([row.thinking for row in batch.rows], self.planner.text_end)
        tokens = []
        for row, token in zip(batch.rows, chosen, strict=True):
            row.matcher.accept(token)
            row.thought.append(token)
            tokens.append([token, *self._forced(row)])
        return tokens

    def _forced(self, row: _Sequence) -> list[int]:
        """What the grammar forces now; the end of the thought brings its tag and what opens the next section."""
        tokens = row.matcher.forced()
        row.thought += tokens
        return [*tokens, *self._think_end()] if row.matcher.done else tokens

    def _think_end(self) -> list[int]:
        token_table, after = self.planner.token_table, "\n\n# Lyric\n" if self.request.writes == "lyrics" else "\n\n"
        return [token_table.think_end, *prompt_template.encode_plain(after, token_table.tokenizer)]

    def _write_codes(self, batch: Batch) -> Generator[Token, None, None]:
        """Exactly as many codes a row as its length needs; the head is computed for codes only."""
        self._begin_codes(batch)
        ids = torch.from_numpy(self.planner.code_ids)
        for row in self._written(batch, ids, self._codes_done, lambda: False):
            code = self.planner.code_of[row.output[-1]]
            yield Token(row.index, "codes", f"<|audio_code_{code}|>", 0.1 + 0.9 * len(row.output) / row.code_count)

    def _written(
        self, batch: Batch, ids: Tensor, done: Callable[[_Sequence], bool], full: Callable[[], bool]
    ) -> Generator[_Sequence, None, None]:
        """Let all rows write tokens of `ids` until each is `done` or the model is `full`; a row whenever it has a token more.

        A batch may write several tokens before it hands them over; a row takes none after its last, and none once it is stopped.
        """
        while batch.rows:
            columns = batch.write([row.choice for row in batch.rows], ids, [row.output[-1:] for row in batch.rows])
            rows, over = list(batch.rows), full()
            for place, column in enumerate(columns):
                for row, token in zip(rows, column, strict=True):
                    if place == 0 or not (done(row) or row.index in self._stopped):
                        row.output.append(token)
                        yield row
            self._finish_rows(batch, lambda row, over=over: over or done(row))  # type: ignore[misc]

    def _begin_codes(self, batch: Batch) -> None:
        """From thinking to codes: each row gets its unconditional row (classifier-free guidance), whose thought is empty."""
        negative = self.request.negative_codes
        self._finish_rows(batch, lambda row: row.code_count == 0)
        if batch.rows:
            most = max(row.code_count for row in batch.rows)
            batch.add_cfg_rows(negative.encode(self.planner.token_table.tokenizer) if negative else None, most)

    def _write_lyrics(self, batch: Batch) -> Generator[Token, None, None]:
        """Free text up to the end token, or until the room for lyrics is full."""
        token_table = self.planner.token_table
        mask = torch.from_numpy(token_table.is_text.copy())
        mask[token_table.end] = True
        batch.add_cfg_rows(None, 0)
        ids = mask.nonzero()[:, 0]
        for row in self._written(batch, ids, self._lyrics_done, lambda: batch.remaining() == 0):
            if row.output[-1] != token_table.end:
                text = row.text_decoder.decode(token_table.bytes[row.output[-1]])
                yield Token(row.index, "lyrics", text, 0.3 + 0.7 * len(row.output) / LYRIC_TOKENS)

    # ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _running(self, rows: Iterable[_Sequence]) -> list[_Sequence]:
        return [row for row in rows if row.index not in self._stopped]

    def _finish_rows(self, batch: Batch, done: Callable[[_Sequence], bool]) -> None:
        """Make plans of the rows that are done, and go on with the rest."""
        for row in self._running(batch.rows):
            if done(row):
                self.plans[row.index] = self._plan(row)
        batch.keep([row for row in self._running(batch.rows) if not done(row)])

    def _codes_done(self, row: _Sequence) -> bool:
        return len(row.output) >= row.code_count

    def _lyrics_done(self, row: _Sequence) -> bool:
        return row.output[-1] == self.planner.token_table.end or len(row.output) >= LYRIC_TOKENS

    def _events(self, row: _Sequence) -> Iterator[Token]:
        """What a row has thought since the last call, one event for each line it touches."""
        unreported, row.reported = row.thought[row.reported :], len(row.thought)
        text = row.text_decoder.decode(b"".join(self.planner.token_table.bytes[token] for token in unreported))
        share = {"codes": 0.1, "lyrics": 0.3}.get(self.request.writes, 1.0)
        for line in text.splitlines(keepends=True):
            row.text += line
            done = (FIELDS.index(row.current_field) + 1) / len(FIELDS)
            yield Token(row.index, row.current_field, line, share * done)

    def _code_count(self, row: _Sequence) -> int:
        seconds = self.request.fixed.get("duration") or self._parsed(row)[0].get("seconds") or 0.0
        return self.planner.geometry.codes(seconds)

    def _parsed(self, row: _Sequence) -> tuple[dict[str, Any], dict[str, str]]:
        return prompt_template.parse_thought(self.planner.token_table.decode(row.thought))

    def _plan(self, row: _Sequence) -> Plan:
        """What a row has written, as a value; what was fixed is taken from the request, to the letter."""
        request = self.request
        values, problems = self._parsed(row)
        values |= {ROWS[name].attribute: value for name, value in request.fixed.items()}
        lyrics = self._lyrics(row, problems) if request.writes == "lyrics" else request.lyrics
        values |= {"lyrics": lyrics or "", "codes": self._codes(row) if request.writes == "codes" else request.codes}
        thought = mended_text(self.planner.token_table.decode(row.thought)).strip("\n")
        return Plan(**values, thought=thought, locked=request.locked, asked=request.asked, problems=problems)

    def _codes(self, row: _Sequence) -> tuple[int, ...]:
        index = self.planner.code_of
        return tuple(index[token] for token in row.output)

    def _lyrics(self, row: _Sequence, problems: dict[str, str]) -> str:
        token_table = self.planner.token_table
        if row.output[-1:] != [token_table.end]:
            problems["lyrics"] = "The model wrote on and on; these lyrics end where the room for them did."
        return prompt_template.parse_lyrics(
            token_table.decode(token for token in row.output if token != token_table.end)
        )


_HEAD = re.compile(rf"^({'|'.join(FIELDS)}):", re.MULTILINE)


def _seeds(seeds: int | Iterable[int], n: int | None) -> list[int]:
    """One seed for each plan: those given, or `n` that follow one another from the first."""
    if not isinstance(seeds, Iterable):
        return [_seed(seeds) + step for step in range(n or 1)]
    listed = [_seed(seed) for seed in seeds]
    if n is not None and n != len(listed):
        raise RecipeError(f"{n} plans want {n} seeds, not {len(listed)}.")
    return listed


def _seed(seed: object) -> int:
    found = checks.plain_number(seed)
    if found is None or found != int(found) or not 0 <= found <= MAX_SEED:
        raise RecipeError(f"A seed is a whole number from 0 to {MAX_SEED}, not {shown(seed)}.")
    return int(found)


def _asked(recipe: Recipe) -> dict[str, object]:
    """Field name → what the recipe fixes. Its caption is the question: in the thought the planner writes its own, as the
    reference's does (`use_cot_caption`), and the DiT is conditioned on the recipe's.
    """
    values = {row.name: getattr(recipe, row.attribute, None) for row in ROWS.values() if row.name != "caption"}
    return {name: value for name, value in values.items() if value is not None}


def _words(recipe: Recipe) -> dict[str, object]:
    """What the recipe asks for, by attribute name, for the plan to remember."""
    names = ["caption", "lyrics", *(row.attribute for row in ROWS.values() if row.attribute != "caption")]
    return {name: value for name in names if (value := getattr(recipe, name, None)) not in (None, "")}


def _named(fixed: dict[str, Any]) -> dict[str, Any]:
    """Values by attribute name as values by field name, checked as a plan checks them; RecipeError for other names."""
    for name in set(fixed) - set(ATTRIBUTES):
        raise RecipeError(f"There is no field {name!r} to fix.{vocabulary.nearest(name, ATTRIBUTES)}")
    plan = Plan(**{name: value for name, value in fixed.items() if value is not None})
    values = {row.name: getattr(plan, row.attribute) for row in ROWS.values() if row.attribute in fixed}
    return {name: value for name, value in values.items() if value not in (None, "")}


def _lyrics(recipe: Recipe, keep: Plan | None) -> str:
    """The recipe's lyrics or the locked ones; RecipeError where both are there and differ."""
    if keep is None or "lyrics" not in keep.locked:
        return recipe.lyrics
    if recipe.lyrics not in ("", keep.lyrics):
        raise RecipeError("The recipe has other lyrics than the plan has locked. Unlock them or take them out of one.")
    return keep.lyrics


def _agreed(fixed: dict[str, Any], keep: Plan | None) -> dict[str, Any]:
    """The recipe's fixed fields and the plan's locked ones together; RecipeError where they contradict."""
    for row in ROWS.values():
        if keep is None or row.attribute not in keep.locked:
            continue
        locked, asked = getattr(keep, row.attribute), fixed.get(row.name)
        if asked is not None and asked != locked:
            raise RecipeError(
                f"The recipe asks for {row.attribute} {asked!r}, the plan has {locked!r} locked. Change one or unlock it."
            )
        fixed = fixed | {row.name: locked}
    return fixed

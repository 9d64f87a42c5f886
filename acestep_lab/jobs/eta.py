"""How long a run will still take: its stages, weighted by what they took before and corrected by this run's own pace.

Knows no model and no run: a run is `Work`, rounds of equal pieces (steps, tokens, tiles) in named stages, and a piece has a
size that its time depends on. Whoever queues a run says what its work is; the clock is handed in.

Three things are told apart, since they foretell different things: what beginning a round costs (a component comes onto the
device), what a piece costs after that, and how much slower or quicker than usual this run goes as a whole.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median, median_low

Clock = Callable[[], float]
PLAN, ENCODE, RENDER, DECODE = "plan", "encode", "render", "decode"

REMEMBERED = 16
"""Rounds of one stage that are remembered; older ones are forgotten, since machines change their pace."""
PRIOR_PIECES = 0.25
"""How many pieces of this run outweigh what was known before it."""
FADING = 0.97
"""How much less each piece before the last one counts for this run's pace."""
NEAR = 2.0
"""Sizes up to so many times larger or smaller are compared first."""
SLOW_START = 1.5
"""A first piece that takes so many times longer than it should says something about its beginning, not about the pace."""
NOISE, CHANGE = math.log(1.1), math.log(1.25)
"""How far one stage must be off before it says something about the others: up to the first nothing, from the second all."""
GUESSED_PIECE = {PLAN: (0.5, 0.0), ENCODE: (4.0, 0.0), RENDER: (1.0, 1.0), DECODE: (4.0, 4.0)}
"""A piece of each stage before anything was measured, as (fixed, per size), against one pass over one second of music."""


@dataclass(frozen=True)
class Round:
    """Equal pieces done in a row: so many steps over so many seconds of music."""

    pieces: float
    """How many: steps, tokens, takes."""
    size: float = 1.0
    """What the time of one depends on: seconds of music times passes, rows of a batch. 0 where that is nothing."""


@dataclass(frozen=True)
class ItemWork:
    """What one take asks for, in numbers any engine can give."""

    seconds: float
    """Length of its music."""
    steps: float
    """Steps of the loop; of an engine that writes tokens, tokens."""
    weight: float
    """What a step's time depends on: passes times seconds of music, or passes alone where a step is one token."""
    plan_tokens: float = 0.0
    """Tokens the planner writes first; 0 where it is not asked."""
    plan_rows: float = 1.0
    """Rows of the planner's batch: 2 with guidance."""
    sources: int = 0
    """Sounds that have to be encoded."""


@dataclass(frozen=True)
class Work:
    """What a run has to do: the rounds of each stage, in the order the stages come."""

    key: str = ""
    """Whose history counts: a checkpoint, an engine's family, a device."""
    stages: Mapping[str, Sequence[Round]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.stages.values())

    @classmethod
    def of(cls, key: str, items: Sequence[ItemWork], batch: int = 1) -> Work:
        """The work of takes, at most `batch` of them in one loop: plans, words and sources, loops, sounds."""
        loops = [items[first : first + max(1, batch)] for first in range(0, len(items), max(1, batch))]
        return cls(key, {
            PLAN: [Round(one.plan_tokens, one.plan_rows) for one in items if one.plan_tokens],
            ENCODE: [Round(1.0, float(len(items) + 4 * sum(one.sources for one in items)))],
            RENDER: [Round(max(one.steps for one in loop), sum(one.weight for one in loop)) for loop in loops],
            DECODE: [Round(1.0, one.seconds) for one in items],
        })  # fmt: skip

    @classmethod
    def of_plan(cls, key: str, tokens: float, rows: float = 1.0) -> Work:
        """The work of a planning alone."""
        return cls(key, {PLAN: [Round(tokens, rows)]})


@dataclass(frozen=True)
class Sample:
    """What a round took: seconds a piece of this size, and seconds more at its beginning."""

    size: float
    piece: float
    start: float
    whole: bool = False
    """Whether no piece of it was seen apart from its beginning."""


class StageHistory:
    """What the stages of earlier runs took, by the key of their work; shared by all runs of a queue."""

    def __init__(self) -> None:
        self._samples: defaultdict[tuple[str, str], deque[Sample]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._found: dict[tuple[str, str, float], float | None] = {}
        self._lock = threading.Lock()

    def learn(self, key: str, stage: str, size: float, piece: float, start: float = 0.0, whole: bool = False) -> None:
        """Remember a round: seconds of one piece, and what its beginning took besides; `whole` where the two are one."""
        with self._lock:
            self._samples[key, stage].append(Sample(size, max(0.0, piece), max(0.0, start), whole))
            self._found.clear()

    def knows(self, key: str, stage: str) -> bool:
        """Whether a round of this stage was seen."""
        with self._lock:
            return bool(self._samples.get((key, stage)))

    def is_sure(self, key: str, stage: str) -> bool:
        """Whether more is known than one round in which a component may have been loaded."""
        with self._lock:
            samples = self._samples.get((key, stage), ())
            return len(samples) > 1 or not any(one.whole for one in samples)

    def piece(self, key: str, stage: str, size: float) -> float | None:
        """Seconds a piece of this size should take; None where the stage was never seen.

        A line through the median slope of all pairs (Theil-Sen) among sizes near this one: a round in which a component was
        loaded, or the machine was busy, moves it little.
        """
        with self._lock:
            if (key, stage, size) not in self._found:
                samples = tuple(self._samples.get((key, stage), ()))
                self._found[key, stage, size] = _on_the_line(_near(samples, size), size) if samples else None
            return self._found[key, stage, size]

    def start(self, key: str, stage: str) -> float:
        """Seconds the beginning of a round should take besides its pieces.

        A first run loads what later ones find on the device, so that one round alone says nothing.
        """
        with self._lock:
            samples = tuple(self._samples.get((key, stage), ()))[-5:]
        return median_low([one.start for one in samples]) if len(samples) > 1 else 0.0


def _near(samples: Sequence[Sample], size: float) -> Sequence[Sample]:
    """The samples of sizes near this one, where there are smaller and larger ones; else all, for the line they lie on."""
    near = [one for one in samples if abs(math.log((one.size + 1e-9) / (size + 1e-9))) <= math.log(NEAR)]
    sizes = [one.size for one in near]
    return near if near and 0.98 * min(sizes) <= size <= 1.02 * max(sizes) else samples


def _on_the_line(samples: Sequence[Sample], size: float) -> float:
    slopes = [
        (b.piece - a.piece) / (b.size - a.size)
        for i, a in enumerate(samples)
        for b in samples[i + 1 :]
        if abs(b.size - a.size) > 0.02 * max(a.size, b.size)
    ]
    if not slopes:  # one size only: as much longer as it is larger
        usual, at = median_low([one.piece for one in samples]), samples[0].size
        return usual * size / at if at > 0 and size > 0 else usual
    slope = max(0.0, median(slopes))
    fixed = max(0.0, median([one.piece - slope * one.size for one in samples]))
    return fixed + slope * size


@dataclass
class _Stage:
    """One stage of one run: rounds to come, and what was seen of the pieces so far."""

    rounds: list[Round]
    expected: float = 0.0
    """Seconds that the pieces seen should have taken; older ones count less."""
    took: float = 0.0
    """Seconds that they took."""
    seen: int = 0

    def see(self, expected: float, took: float) -> None:
        self.expected = FADING * self.expected + expected
        self.took = FADING * self.took + took
        self.seen += 1


@dataclass
class _Current:
    """The round under way."""

    stage: str
    round: Round
    since: float
    """When it began."""
    done: float = 0.0
    last: float = 0.0
    """When the last piece ended, or the round began."""
    first: tuple[float, float] | None = None
    """The first pieces, which pay for the beginning: how many, and the seconds they took."""
    steady: float = 0.0
    steady_seconds: float = 0.0


class EtaEstimator:
    """The estimate for one run. It is told where the work is; anybody may ask, from any thread."""

    def __init__(
        self, work: Work | None = None, history: StageHistory | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.work = work or Work()
        self.history = history or StageHistory()
        self._clock = clock
        self._stages = {name: _Stage(list(rounds)) for name, rounds in self.work.stages.items()}
        self._current: _Current | None = None
        self._spent = 0.0  # seconds of rounds that are over, as they were expected
        self._learnt: list[tuple[str, float, float, float, bool]] = []
        self._lock = threading.RLock()

    # -- what the worker tells

    def replan(self, work: Work) -> None:
        """The work became known better, such as when a plan says how long the music is; stages that have begun stay."""
        with self._lock:
            self.work = work
            for name, rounds in work.stages.items():
                known = self._stages.get(name)
                if known is None or (not known.seen and not self._is_current(name)):
                    self._stages[name] = _Stage(list(rounds))

    def begin(self, stage: str) -> None:
        """A round of this stage begins."""
        with self._lock:
            rounds = self._stages.setdefault(stage, _Stage([])).rounds
            now = self._clock()
            self._current = _Current(stage, rounds.pop(0) if rounds else Round(1.0), now, last=now)

    def advance(self, pieces: float = 1.0) -> None:
        """So many pieces more of the round are done."""
        with self._lock:
            at = self._current
            if at is None or pieces <= 0:
                return
            now = self._clock()
            took, at.last, at.done = now - at.last, now, at.done + pieces
            expected, stage = pieces * self._usual(at.stage, at.round.size), self._stages[at.stage]
            if at.first is None:
                at.first = (pieces, took)
                begun = took - self.history.start(self.work.key, at.stage)
                if self._knows(at.stage) and 0 < begun < SLOW_START * expected:
                    stage.see(expected, begun)
            else:
                at.steady, at.steady_seconds = at.steady + pieces, at.steady_seconds + took
                stage.see(expected, took)

    def advance_to(self, share: float) -> None:
        """The round is done to this share, 0 to 1."""
        with self._lock:
            if self._current is not None:
                self.advance(share * self._current.round.pieces - self._current.done)

    def skip(self, seconds: float) -> None:
        """So many seconds went by in which nothing was done for this run."""
        with self._lock:
            if self._current is not None:
                self._current.since += seconds
                self._current.last += seconds

    def end(self, whole: bool = True) -> None:
        """The round is over; what it took is remembered if it is whole."""
        with self._lock:
            at, self._current = self._current, None
            if at is None:
                return
            whole_seconds = self._clock() - at.since
            usual = self._usual(at.stage, at.round.size)
            self._spent += usual * at.round.pieces
            stage = self._stages[at.stage]
            if at.steady <= 0 and stage.seen:  # not the first of its kind: nothing had to be begun
                stage.see(usual * at.round.pieces, whole_seconds)
            elif at.steady <= 0:
                stage.seen += 1
            if whole:
                self._learn(at, whole_seconds)

    def _learn(self, at: _Current, whole: float) -> None:
        undivided = at.first is None or at.steady <= 0
        if at.first is None or undivided:
            piece, start = whole / max(at.done, at.round.pieces, 1e-9), 0.0
        else:
            piece = at.steady_seconds / at.steady
            start = at.first[1] - at.first[0] * piece
        self._learnt.append((at.stage, at.round.size, piece, start, undivided))

    def commit(self) -> None:
        """The run is over: let later ones know what its rounds took. Not before, so that this run is measured by one rule."""
        with self._lock:
            learnt, self._learnt = self._learnt, []
        for stage, size, piece, start, undivided in learnt:
            self.history.learn(self.work.key, stage, size, piece, start, undivided)

    # -- what anybody asks

    @property
    def remaining(self) -> float | None:
        """Seconds of work still to do; None while nothing is known of a stage to come."""
        with self._lock:
            total = 0.0
            for name in self._stages:
                left = self._left(name)
                if left is None:
                    return None
                total += left
            return total

    @property
    def fraction(self) -> float:
        """How much of the work is done, 0 to 1, as its stages usually weigh; 0 where the work is not known."""
        with self._lock:
            at, done = self._current, self._spent
            if at is not None:
                done += self._usual(at.stage, at.round.size) * min(at.done, at.round.pieces)
            left = sum(
                one.pieces * self._usual(name, one.size) for name, stage in self._stages.items() for one in stage.rounds
            )
            if at is not None:
                left += self._usual(at.stage, at.round.size) * max(0.0, at.round.pieces - at.done)
            return done / (done + left) if done + left > 0 else 0.0

    def _left(self, name: str) -> float | None:
        """Seconds to do in a stage; None where nothing tells how long its pieces take."""
        stage, current = self._stages[name], self._is_current(name)
        if not stage.rounds and not current:
            return 0.0
        factor = self._factor(name)
        if factor is None:
            return None
        start = self.history.start(self.work.key, name)
        coming = sum(start + one.pieces * self._usual(name, one.size) for one in stage.rounds)
        return factor * coming + (self._left_of_round(factor, start) if current else 0.0)

    def _left_of_round(self, factor: float, start: float) -> float:
        at = self._now_at()
        piece = factor * self._usual(at.stage, at.round.size)
        left = max(0.0, at.round.pieces - at.done)
        begin = factor * start if at.first is None else 0.0
        waited = self._clock() - at.last
        whole = at.first is None and at.round.pieces <= 1.0
        in_hand = begin + piece * (left if whole else min(left, self._stride(at)))
        return begin + piece * left - min(waited, in_hand)

    def _factor(self, name: str) -> float | None:
        """How much longer than usual a piece of this stage takes in this run."""
        stage, known = self._stages[name], self._knows(name)
        prior = self._run_factor(known)
        if prior is None and not stage.expected:
            return None
        prior = None if prior is None else _transferred(prior)
        expected, took = stage.expected, stage.took
        if self._is_current(name) and (late := self._late(prior)) is not None:
            expected, took = expected + late[0], took + late[1]
        if prior is None:
            return took / expected
        weight = PRIOR_PIECES * self._mean_piece(name)
        return (prior * weight + took) / (weight + expected) if weight + expected > 0 else prior

    def _late(self, prior: float | None) -> tuple[float, float] | None:
        """The pieces in hand, where they already take longer than they should: expected seconds, and those so far."""
        at = self._now_at()
        if at.first is None:
            return None
        expected, waited = self._stride(at) * self._usual(at.stage, at.round.size), self._clock() - at.last
        stage = self._stages[at.stage]
        pace = stage.took / stage.expected if stage.expected else prior
        return (expected, waited) if pace is not None and waited > pace * expected else None

    def _run_factor(self, known: bool) -> float | None:
        """How much longer than usual this run takes: by its stages with a history; without one by the loop, whose passes the
        guesses are measured against.
        """
        seen = [
            stage
            for name, stage in self._stages.items()
            if stage.expected > 0 and self._knows(name) == known and (known or name == RENDER)
        ]
        expected = sum(stage.expected for stage in seen)
        if expected <= 0:
            return 1.0 if known else None
        return sum(stage.took for stage in seen) / expected

    def _mean_piece(self, name: str) -> float:
        stage, at = self._stages[name], self._current
        one = at.round if at is not None and at.stage == name else stage.rounds[0]
        stride = self._stride(at) if at is not None and at.stage == name else 1.0
        return stride * self._usual(name, one.size)

    def _stride(self, at: _Current) -> float:
        """Pieces that are told of at once: a step, or the share of a sound that one tile is."""
        return min(1.0, at.first[0]) if at.first is not None else 1.0

    def _usual(self, name: str, size: float) -> float:
        """Seconds of a piece before this run; a guess where none was measured, or less where loading may be in the measure."""
        found = self.history.piece(self.work.key, name, size)
        if not found:
            return self._guess(name, size)
        return found if self.history.is_sure(self.work.key, name) else min(found, self._guess(name, size))

    def _guess(self, name: str, size: float) -> float:
        """A guess, in the measure of the loop where that one is known."""
        render = next(iter(self.work.stages.get(RENDER, ())), None)
        known = None if render is None or name == RENDER else self.history.piece(self.work.key, RENDER, render.size)
        unit = known / _guessed(RENDER, render.size) if render is not None and known else 1.0
        return unit * _guessed(name, size)

    def _knows(self, name: str) -> bool:
        return self.history.knows(self.work.key, name)

    def _is_current(self, name: str) -> bool:
        return self._current is not None and self._current.stage == name

    def _now_at(self) -> _Current:
        assert self._current is not None  # asked only of the stage under way
        return self._current


def _transferred(factor: float) -> float:
    """What the pace of some stages says of another: small differences are each stage's own, a large one is the machine's."""
    off = abs(math.log(max(factor, 1e-9)))
    share = min(1.0, max(0.0, (off - NOISE) / (CHANGE - NOISE)))
    return float(factor**share)


def _guessed(name: str, size: float) -> float:
    fixed, by_size = GUESSED_PIECE.get(name, (1.0, 0.0))
    return fixed + by_size * size


class StageTimer:
    """Seconds spent per stage, the one under way included."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._seconds: dict[str, float] = {}
        self._running: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the seconds of what is done inside for a stage."""
        self._running[stage] = self._clock()
        try:
            yield
        finally:
            self._seconds = self.so_far()
            del self._running[stage]

    def skip(self, seconds: float) -> None:
        """So many seconds went by in which nothing was done for the stages under way."""
        self._running = {name: since + seconds for name, since in self._running.items()}

    def so_far(self) -> dict[str, float]:
        """Seconds per stage, the running one's included."""
        now = self._clock()
        return self._seconds | {
            name: self._seconds.get(name, 0.0) + now - since for name, since in self._running.items()
        }

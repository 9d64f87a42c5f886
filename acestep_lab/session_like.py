"""What a page, a server or a script may rely on, whichever session it talks to: one here, one far away, a stand-in.

Knows values and runs; no model. A test holds every session to it (`tests/test_session_like.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.step import Step
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.planning import OnToken
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.stems import Stems
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.notes import Notes
from acestep_lab.listen.plan_score import PlanScore
from acestep_lab.listen.scores import Scores
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.checks import Place
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import Sampling
from acestep_lab.prompt.tasks import Source, Task
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take


@runtime_checkable
class SessionLike(Protocol):
    """The verbs every session has. What each does, and what it raises, is said at `Session`."""

    library: Library
    jobs: JobQueue

    @property
    def name(self) -> str:
        """The checkpoint in use."""

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that are open."""

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def has_planner(self) -> bool: ...
    @property
    def adapters(self) -> tuple[tuple[str, str, float], ...]:
        """The adapters that are on: name, file and strength of each."""

    @property
    def tier(self) -> Any:
        """How much machine there is; its `name` is shown."""

    def use(self, checkpoint: Place, lm: Place | None = None) -> Capabilities: ...
    def cost(self, checkpoint: Place, lm: Place | None = None) -> Any: ...
    def capabilities_of(self, checkpoint: str) -> Capabilities: ...
    def has_planner_of(self, checkpoint: str) -> bool: ...
    def defaults(self, task: Task, checkpoint: str | None = None) -> Sampling: ...
    def recipe_from(self, source: Source, task: Task, **changes: object) -> Recipe: ...
    def resolve(self, recipe: Recipe, plan: Plan | None = None) -> Recipe: ...
    def start(
        self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None, *,
        adapters: Sequence[Place | tuple[Place, float]] | None = None,
    ) -> RenderRun: ...  # fmt: skip
    def make(self, recipe: Recipe, plan: Plan | None = None) -> Take: ...
    def vary(self, source: Take | Recipe, seeds: Iterable[int], variance: float | None = None) -> list[Take]: ...
    def stitch(self, pieces: Iterable[object], crossfade: str | float = "beat", **changes: object) -> Take: ...
    def stems(self, source: Source, which: str | Iterable[str] | None = None, **changes: object) -> Stems: ...
    def plan(
        self, recipe: Recipe, n: int | None = None, *, keep: Plan | None = None, codes: bool | None = None,
        on_token: OnToken = None,
    ) -> Plan | list[Plan]: ...  # fmt: skip
    def sketch(
        self, sentence: str, instrumental: bool = False, seed: int = 0, *, language: str | None = None,
        checkpoint: str | None = None, on_token: OnToken = None,
    ) -> Plan: ...  # fmt: skip
    def polish(
        self, caption: str, lyrics: str = "", seed: int = 0, *, checkpoint: str | None = None,
        on_token: OnToken = None, **fixed: Any,
    ) -> Plan: ...  # fmt: skip
    def understand(
        self, source: Source, seed: int = 0, *, checkpoint: str | None = None, on_token: OnToken = None
    ) -> Plan: ...
    def codes(self, source: Source, *, checkpoint: str | None = None) -> tuple[int, ...]: ...
    def lora(self, *adapters: Place | tuple[Place, float]) -> tuple[str, ...]: ...
    def merge(
        self, folder: Place, *adapters: Place | tuple[Place, float], link: bool = True, exact: bool = False
    ) -> Any: ...  # fmt: skip
    def export_onnx(
        self, folder: Place, *components: str, dtype: str = "fp32", tolerance: float | None = None
    ) -> Any: ...  # fmt: skip
    def label(
        self, songs: Any, *, seeds: int = 3, lyrics: bool = False, folder: Place | None = None, on: Any = None,
        resource: str | None = None,
    ) -> Any: ...  # fmt: skip
    def sweep(
        self, recipe: Any, *, on: Any = None, name: str = "", adapters: Any = None, dry_run: bool = False,
        skip_refused: bool = False, resource: str | None = None, **axes: Any,
    ) -> Any: ...  # fmt: skip
    def map_songs(
        self, work: Any, items: Any, *, on: Any = None, resource: str | None = None, **options: Any
    ) -> Any: ...
    def verify(self, what: Any, *, on: Any = None, resource: str | None = None) -> Any: ...
    def report(
        self, sweep: Any, path: Place | None = None, *, question: str = "", answer: str = "", seconds: float = 20.0,
        measures: Sequence[str] = (),
    ) -> Any: ...  # fmt: skip
    def plan_score(self, source: Source, plan: Plan | None = None, scale: float = 0.1) -> PlanScore: ...
    def keep(self, take: Take) -> Take: ...
    def load(self, name: Place) -> Take: ...
    def sound(self, source: Source | Place) -> Take | Audio: ...
    def analyze(self, source: Source, bpm: float | None = None) -> Analysis: ...
    def align(
        self, source: Source, lyrics: str | None = None, *, language: str | None = None,
        by: Literal["sound", "plan"] = "sound", checkpoint: str | None = None, reference: bool = False, anew: bool = False,
    ) -> Alignment: ...  # fmt: skip
    def attribute(
        self, take: Source, *, what: Any = None, swap: Any = None, steps: int | None = None,
        by: Literal["change", "attention"] = "change", anew: bool = False, dry_run: bool = False,
    ) -> Any: ...  # fmt: skip

    def scores(self, source: Source, *, reference: bool = False, anew: bool = False) -> Scores: ...

    def notes(self, source: Source, stem: str | None = None, *, anew: bool = False) -> Notes: ...
    def preview(self, step: Step | Take, at: float, seconds: float = 3.0) -> Audio: ...
    def close(self) -> None: ...

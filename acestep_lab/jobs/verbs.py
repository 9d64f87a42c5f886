"""The verbs that every session composes out of a few: one here and one far away make a repaint alike.

Knows recipes, takes and a queue; no engine, no network. A session brings `start`, `resolve` and what it can do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from acestep_lab import upstairs
from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.jobs import noting, scoring, stems, stitching
from acestep_lab.jobs.attributing import Asked, Attributes, AttributionCost, AttributionRun
from acestep_lab.jobs.comparing import compared
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.rendering import one_recipe, recipe_from
from acestep_lab.jobs.stems import Stems
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.comparison import Comparisons, TakeComparison
from acestep_lab.listen.notes import Notes
from acestep_lab.listen.scores import Scores
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks, tasks
from acestep_lab.prompt.checks import Place
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Region, Source, Task, regions
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import Verdict


class Verbs:
    """What a session does with its own `start`, `resolve`, `analyze` and `capabilities_of`, its queue and its sounds."""

    jobs: JobQueue
    _sounds: Sounds
    _attributes: Attributes

    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...
        @property
        def capabilities(self) -> Capabilities: ...
        def capabilities_of(self, checkpoint: str) -> Capabilities: ...
        def resolve(self, recipe: Recipe, plan: Plan | None = None) -> Recipe: ...
        def analyze(self, source: Source, bpm: float | None = None) -> Analysis: ...
        def close(self) -> None: ...
        def _verified(self, take: Take) -> Verdict: ...
        def start(
            self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None, *,
            adapters: Sequence[Place | tuple[Place, float]] | None = None,
        ) -> RenderRun: ...  # fmt: skip

    # -- making --------------------------------------------------------------------------------------------------------

    @property
    def library(self) -> Library:
        """All kept takes."""
        return self._sounds.library

    def make(self, recipe: Recipe, plan: Plan | None = None) -> Take:
        """Render a recipe and wait for its take; several at once are for `start`. RecipeError for what cannot be made."""
        wanted = one_recipe(recipe)
        self.jobs.refuse_to_wait()
        return self.start(wanted, plan).take()

    def repaint(
        self, source: Source, region: Region | Iterable[Region], caption: str | None = None, lyrics: str | None = None,
        *, mode: str = "balanced", strength: float = 0.5, injection: float | None = None,
        latent_crossfade: float | None = None, wave_crossfade: float | None = None, **changes: object,
    ) -> Take:  # fmt: skip
        """New music inside one or several regions; every sample outside them and their crossfades stays.

        mode and strength stand for three numbers (`Repaint` says which); one given here wins.
        """
        numbers = (injection, latent_crossfade, wave_crossfade)
        task = tasks.Repaint(source, regions(region), mode, strength, *numbers)
        return self._make_from(source, task, caption, lyrics, changes)

    def extend(
        self, source: Source, before: float = 0.0, after: float = 0.0, caption: str | None = None,
        lyrics: str | None = None, *, wave_crossfade: float | None = None, **changes: object,
    ) -> Take:  # fmt: skip
        """So many seconds of new music before the source, after it, or both."""
        return self._make_from(source, tasks.Extend(source, before, after, wave_crossfade), caption, lyrics, changes)

    def cover(
        self, source: Source, caption: str | None = None, lyrics: str | None = None, *, strength: float = 1.0,
        noise_strength: float = 0.0, through_codes: bool | None = None, reference: Source | None = None, **changes: object,
    ) -> Take:  # fmt: skip
        """The source's rhythm and harmony in another sound; `through_codes` None: where the checkpoint has codes."""
        if through_codes is None:
            asked = self.recipe_from(source, tasks.Cover(source), **changes)  # says what is no source, before all else
            through_codes = self.capabilities_of(asked.checkpoint or self.name).codes
        task = tasks.Cover(source, strength, noise_strength, through_codes, reference=reference)
        return self._make_from(source, task, caption, lyrics, changes)

    def extract(self, source: Source, stem: str, **changes: object) -> Take:
        """One stem of the source, alone."""
        return self._make_from(source, tasks.Extract(source, stem), changes.pop("caption", None), None, changes)

    def lego(
        self, source: Source, stem: str, caption: str | None = None, region: Region | None = None,
        lyrics: str | None = None, **changes: object,
    ) -> Take:  # fmt: skip
        """A new stem that fits the source, in a region or all along."""
        return self._make_from(source, tasks.Lego(source, stem, region), caption, lyrics, changes)

    def complete(
        self, source: Source, stems: str | Iterable[str], caption: str | None = None, lyrics: str | None = None,
        **changes: object,
    ) -> Take:  # fmt: skip
        """The source with accompaniment by the named stems."""
        return self._make_from(source, tasks.Complete(source, stems), caption, lyrics, changes)  # type: ignore[arg-type]

    def edit(
        self, source: Source, caption: str, lyrics: str | None = None, *, described: str = "", described_lyrics: str = "",
        n_min: float = 0.0, n_max: float = 1.0, n_avg: int = 1, **changes: object,
    ) -> Take:  # fmt: skip
        """The source moved to another description (FlowEdit); `described` and `described_lyrics` are its own, which a take knows."""
        task = tasks.FlowEdit(source, described, described_lyrics, n_min, n_max, n_avg)
        return self._make_from(source, task, caption, lyrics, changes)

    def stitch(self, pieces: Iterable[object], crossfade: str | float = "beat", **changes: object) -> Take:
        """Pieces of takes and sounds one after another: `lab.stitch([(take, Region(0, 8)), other], crossfade="beat")`.

        `Stitch` says what "beat", "none" and seconds mean. The words are the first take's where none are given.
        """
        return self.make(stitching.recipe_for(self.sound, pieces, crossfade, changes))

    def stems(self, source: Source, which: str | Iterable[str] | None = None, **changes: object) -> Stems:
        """The stems of a sound, and what is left of it: all that the checkpoint knows, "present" for those that are heard,
        or a list. What is kept already is not made again.
        """
        return stems.of(self, source, which, **changes)

    def notes(self, source: Source, stem: str | None = None, *, anew: bool = False) -> Notes:
        """What is played: melody, bass, chords, beats and bars; `lab.notes(take, stem="vocals").to_midi("song.mid")`.

        `stem` is made once and its line listened to alone; without one, the melody is picked out of the mix. What was heard in
        a kept take lies beside it, and is listened for again only `anew`. RecipeError for a stem without a pitch.
        """
        return noting.notes_for(self, source, stem, anew)

    def recipe_from(self, source: Source, task: Task, **changes: object) -> Recipe:
        """A recipe for a task on a source: a take's words and choices come along, its seed and length do not."""
        return recipe_from(self.sound(source), task, changes)

    def _make_from(self, source: Source, task: Task, caption: object, lyrics: object, changes: dict[str, Any]) -> Take:
        return self.make(recipe_from(self.sound(source), task, changes, caption, lyrics))

    # -- keeping and looking

    def keep(self, take: Take) -> Take:
        """Keep a take in the library, and return it as it is kept: what a run makes, and its `run.keep`, is kept already.

        A take whose id belongs to another sound here, as an edited copy's may, gets an id of its own.
        """
        return self._sounds.keep(take)

    def load(self, name: Place) -> Take:
        """A take by its id, or out of any of our sound files: recipe, plan and parents come along.

        A file whose sound is not the one its manifest tells of is a new take with that one as its parent; what was found out
        of the ordinary is warned of (`TakeWarning`) and stays in the take's `remarks`.
        """
        return self._sounds.load(name)

    def sound(self, source: Source | Place) -> Take | Audio:
        """The take or sound that a source stands for: itself, an id this session or its library knows, or a file."""
        return self._sounds.find(source)

    @overload
    def compare(self, one: Take, other: Take, /) -> TakeComparison: ...
    @overload
    def compare(self, one: Take, other: Take, third: Take, /, *more: Take) -> Comparisons: ...
    def compare(self, one: Take, other: Take, /, *more: Take) -> TakeComparison | Comparisons:
        """What differs between two takes, words first: sound, spectrum, loudness, tempo, key, sections, lyrics, recipe.

        Of several, the first beside each of the others: `lab.compare(a, b, c).export("differences.html")` for two of them,
        print for all. Lyrics that were found in time (`lab.align`) are compared as well.
        """
        takes = [checks.instance("What is compared", take, Take) for take in (one, other, *more)]
        found = compared(self.analyze, self.library, takes)
        return found if more else found[0]

    @overload
    def attribute(self, take: Source, *, what: str | Iterable[str] | None = None, swap: Mapping[str, object] | None = None,
                  steps: int | None = None, by: Literal["change", "attention"] = "change", anew: bool = False,
                  dry_run: Literal[False] = False) -> AttributionRun: ...  # fmt: skip
    @overload
    def attribute(self, take: Source, *, what: str | Iterable[str] | None = None, swap: Mapping[str, object] | None = None,
                  steps: int | None = None, by: Literal["change", "attention"] = "change", anew: bool = False,
                  dry_run: Literal[True]) -> AttributionCost: ...  # fmt: skip
    def attribute(self, take: Source, *, what: str | Iterable[str] | None = None, swap: Mapping[str, object] | None = None,
                  steps: int | None = None, by: Literal["change", "attention"] = "change", anew: bool = False,
                  dry_run: bool = False) -> AttributionRun | AttributionCost:  # fmt: skip
        """What each phrase, tag and field of a take did, in a run beside which the session goes on: `lab.attribute(take).result()`.

        One at a time they are left out, or swapped (`swap={"warm pad": "organ", "bpm": 140}`), on the same noise in few `steps`; how
        far the music moves is held against what another seed does. `what` names kinds of changes ("phrases", "tags", "sections",
        "fields"); `by="attention"` renders nothing and only shows where the model looks, which is no cause. What is measured is kept
        beside the take; `dry_run` says what it takes. RecipeError for a sound that was not made from words.
        """
        asked = Asked.of(what, swap, steps, by, anew)
        wants_cost = checks.truth("dry_run", dry_run)
        return self._attributes.cost(take, asked) if wants_cost else self._attributes.begin(take, asked)

    def scores(self, source: Source, *, reference: bool = False, anew: bool = False) -> Scores:
        """What a take was asked for against what is heard of it: tempo, key, meter, instruments, sections, language, lyrics.

        Each row is 0 to 1 beside chance, None where it cannot be said, and compares takes of one recipe: `print(lab.scores(take))`.
        Found behind all renders and kept beside the take, found again only `anew`; `reference` adds the two lyric scores of
        ACE-Step's own code.
        """
        return scoring.scores_of(self, source, reference, anew)  # type: ignore[arg-type]

    @property
    def runs(self) -> tuple[AnyRun, ...]:
        """Runs under way or waiting, as they will be done."""
        return self.jobs.waiting

    def serve(self, port: int | None = None, *, api: bool = True, studio: bool = True, **how: Any) -> Any:
        """Serve the page and a REST door in the background; the card says where. `key`, `open`, `address`, `token`, `origins`."""
        return upstairs.call("serve", self, port, api=api, studio=studio, **how)

    def sweep(
        self, recipe: Any, *, on: Any = None, name: str = "", adapters: Any = None, dry_run: bool = False,
        skip_refused: bool = False, resource: str | None = None, **axes: Any,
    ) -> Any:  # fmt: skip
        """A take for every combination of what the axes go over, in a run beside which the session goes on, kept one by one.

        ::

            run = lab.sweep(recipe, shift=[1, 3, 5], seed=range(4), checkpoint=["turbo", "base"])
            run.best(by="loudness"), run.to_records()

        An axis is any field or knob of a recipe, of its task or planning, `adapter` or `adapter_strength`; a `Sweep` drawn by chance,
        a list of recipes, or the name of an earlier sweep come in the recipe's place. What the library has is not made again: the same
        call goes on after a stop or a kill. `on` says who makes the takes: this session, a list of sessions, or the workers of a Dask
        cluster ("tcp://…" or its Client). `dry_run` only says what it costs. RecipeError for what cannot be made, before any work.
        """
        return upstairs.call(
            "sweep", self, recipe, on=on, name=name, adapters=adapters, dry_run=dry_run, skip_refused=skip_refused,
            resource=resource, axes=axes,
        )  # fmt: skip

    def verify(self, what: Any, *, on: Any = None, resource: str | None = None) -> Any:
        """Make a take again from its recipe and say: same, same to the ear, or different; of a sweep (or its name), a run of verdicts.

        ::

            lab.verify(take), lab.verify(take, on=Session.connect("http://other-box:8001"))
            again = lab.verify(run, on="tcp://127.0.0.1:8786"); again.result(); print(again)

        `on` is that of `sweep`: who makes it again. *Same to the ear* is a mean difference of at most 1 dB between the levels of
        third-octave bands, 20 times a second: what another processor's rounding leaves, and another seed does not.
        """
        if on is None and checks.is_a(what, Take):
            return self._verified(what)
        return upstairs.call("verify", self, what, on=on, resource=resource)

    def report(
        self, sweep: Any, path: Place | None = None, *, question: str = "", answer: str = "", seconds: float = 20.0,
        measures: Sequence[str] = (),
    ) -> Any:  # fmt: skip
        """Write a sweep as one HTML file that needs nothing else, and give its path: players, table, votes, intervals, how to repeat it.

        `question` and `answer` are your own words; `seconds` of each take sound in it, where it is liveliest; `measures` are those of
        `run.measure`, each shown by axis with intervals. Where no path is given, it is named as the sweep is, in the current folder.
        """
        return upstairs.call(
            "report", self, sweep, path, question=question, answer=answer, seconds=seconds, measures=measures
        )  # fmt: skip

    def map_songs(self, work: Any, items: Any, *, on: Any = None, resource: str | None = None, **options: Any) -> Any:
        """Something done for each of many songs, in a run beside which the session goes on: `lab.map_songs("align", lab.library.ids())`.

        `work` is the name of a verb ("analyze", "align", "notes", "understand", "plan_score", "scores", "codes") or a function of a
        session and a song;
        `options` go to it, and `on` is that of `sweep`. `run.result()` has what came of each, None where nothing could.
        """
        return upstairs.call("map_songs", self, work, items, on=on, resource=resource, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

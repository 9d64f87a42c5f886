"""The Studio: everything on one page; every click is a Session verb. Knows no model and no host.

It makes the components, hands each what it needs, and passes their requests to the Backend. `panes=False` makes anywidgets.
Listeners may come from any thread: the worker's, the server's, a kernel's subshell.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.offered import OfferedCheckpoint, licence_note, offered
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, sentence
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import (
    TASKS,
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
    keep_strength,
)
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui import (
    checkpoint_switch,
    gallery,
    latent_preview,
    lyrics_editor,
    plan_view,
    player,
    prompt_editor,
    queue_view,
    sound_drop,
    take_tree,
    topbar,
    tracks,
    waveform_picker,
)
from acestep_lab.ui.backend import Backend
from acestep_lab.ui.checkpoint_switch import Choice
from acestep_lab.ui.component import Component
from acestep_lab.ui.draft import PLAIN_FIELDS, Form
from acestep_lab.ui.throttle import Throttle

PROGRESS_PER_SECOND = 8.0
LISTED_RUNS = 4
Axis = tuple[str, Sequence[object]]
"""A field that a sweep goes over, and its values."""
_log = logging.getLogger(__name__)


class Studio:
    """One person's page over a Backend: the components and what their buttons do."""

    def __init__(
        self,
        backend: Backend,
        owner: str = "",
        *,
        address: str = "",
        panes: bool = True,
        page: bool = False,
        url: tracks.UrlOf | None = None,
        picture: Callable[[Step], bytes] | None = None,
        crossfades: Callable[[str, float], tuple[float, float]] | None = None,
        catalog: Callable[[], Iterable[OfferedCheckpoint]] = offered,
    ) -> None:
        self.backend, self.owner, self.address = backend, owner, address
        self.selected: Take | Audio | None = None
        """The selected take: what the player plays and a task starts from."""
        self._watched: RenderRun | None = None
        self._writing: Client | None = None
        self._listing = threading.RLock()
        self._sweep: tuple[RenderRun, Axis, Axis | None, tuple[int, int]] | None = None
        self._throttle = Throttle(PROGRESS_PER_SECOND)
        self._catalog = catalog
        self._checkpoint: str | None = None
        """The checkpoint that this page chose for its recipes; None: the one in use, whichever that is."""
        self._adopted: tuple[str | None, str] | None = None
        self._build("Pane" if panes else "Widget", url, picture, crossfades or crossfades_of)
        self.top.page = page
        self._adopt()
        self._connect()
        self.refresh()
        self._closers = [backend.jobs.subscribe(self._on_event), backend.on_switch(self._adopt)]
        self._attach()

    def _build(
        self,
        host: str,
        url: tracks.UrlOf | None,
        picture: Callable[[Step], bytes] | None,
        crossfades: Callable[[str, float], tuple[float, float]],
    ) -> None:
        """The components, each as its class for a host, "Pane" or "Widget"."""

        def made(module: ModuleType, name: str, **keywords: object) -> Any:
            return getattr(module, name + host)(**keywords)

        self.top = made(topbar, "Topbar")
        self.switch = made(checkpoint_switch, "CheckpointSwitch")
        self.lyrics = made(lyrics_editor, "LyricsEditor")
        self.picker = made(waveform_picker, "WaveformPicker", url=url, standalone=False, crossfades=crossfades)
        self.prompt = made(
            prompt_editor,
            "PromptEditor",
            defaults=lambda task: defaults(self.backend.session, task, self._checkpoint),
            presets=self._presets(),
            source=lambda: self.selected,
            words=lambda: (self.lyrics.value, self.lyrics.chosen_language, self.picker.value),
        )
        self.queue = made(queue_view, "RunQueue")
        self.plan = made(plan_view, "PlanView")
        self.preview = made(latent_preview, "LatentPreview", picture=picture)
        self.player = made(player, "Player", url=url)
        self.gallery = made(gallery, "Gallery", open=self._open, url=url)
        self.tree = made(take_tree, "TakeTree")
        self.drop = made(sound_drop, "SoundDrop")

    def close(self) -> None:
        """Let go of the backend; runs and takes live on, and nobody is left to read what the planner writes for this page."""
        for close in self._closers:
            close()
        if self._writing is not None:
            self._writing.stop()

    def _open(self, id: str) -> Take:
        """One of this person's takes."""
        return self.backend.takes.take(id, self.owner)

    # -- requests ------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Which request of which component is done by what."""
        for component, requests in (
            (self.prompt, {"make": self.start, "plan": self._plan, "polish": self._polish,
                           "sweep": self._start_sweep, "changed": self._prompt_changed}),
            (self.lyrics, {"changed": self.prompt.refresh}),
            (self.queue, {"stop": self._stop_run, "watch": self._watch_run,
                          "dismiss": self._dismiss, "hold": self._hold, "move": self._move, "pause": self._pause}),
            (self.plan, {"make": self.start, "stop": self._stop_writing}),
            (self.preview, {"stop": self._stop_watched, "keep": self._keep_step, "play_step": self._play_step}),
            (self.picker, {"repaint": self._repaint, "changed": self.prompt.refresh}),
            (self.gallery, {"mark": self._mark, "bin": self._bin, "restore": self._restore, "analyze": self._analyze,
                            "select": self.select, "reuse": self.reuse, "search": lambda text: self._list()}),
            (self.tree, {"select": lambda id: self.select(self._open(id))}),
            (self.drop, {"sound": self._on_sound}),
            (self.top, {"retry": self._save_again}),
            (self.switch, {"list": self._list_checkpoints, "cost": self._show_cost, "use": self._use}),
        ):  # fmt: skip
            for kind, work in requests.items():
                component.on(kind, work)

    def start(self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None, title: str = "") -> RenderRun:
        """Start a render with this page's checkpoint, and watch it unless another is being watched."""
        recipe = self._by_choice(recipe) if isinstance(recipe, Recipe) else [self._by_choice(one) for one in recipe]
        run = self.backend.start(recipe, plan, self.owner, title, self.address)
        if self._watched is None or self._watched.over:
            self._watch(run)
        return run

    def _by_choice(self, recipe: Recipe) -> Recipe:
        """A recipe for the checkpoint that this page chose, if it chose one."""
        return recipe if self._checkpoint is None else recipe.replace(checkpoint=self._checkpoint)

    # -- the checkpoint ------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Offer what the checkpoint of this page can do; what was typed stays. Called from any thread."""
        session = self.backend.session
        if self._checkpoint not in session.checkpoints:
            self._checkpoint = None
        name, can = self._checkpoint or session.name, self._capabilities()
        self._adopted = (self._checkpoint, session.name)
        able = refusals(name, can)
        self.prompt.adopt(Form.of(can, plans=self._plans), able)
        self.lyrics.adopt(can.vocabulary.languages, can.vocabulary.lyrics)
        self.picker.cannot = able["Repaint"] or ""
        self.plan.offered = self._plans
        if not self.preview.live:
            self.preview.hears = can.previews
        self.switch.set_current(name, licence_note(can.licence))
        self.top.about = about(session, name)

    def _capabilities(self) -> Capabilities:
        session = self.backend.session
        return session.capabilities if self._checkpoint is None else session.capabilities_of(self._checkpoint)

    @property
    def _plans(self) -> bool:
        """Whether there is a planner to ask: that of the checkpoint in use, which is the one the session's verbs ask."""
        session = self.backend.session
        return session.has_planner and self._checkpoint in (None, session.name)

    def _list_checkpoints(self) -> None:
        """Fill the list: the host may use all that are here, everybody else those that are open."""
        known = (lambda: ()) if self.owner else self._catalog
        self._in_background(self.switch, lambda: self.switch.offer(choices(self.backend.session, known())))

    def _show_cost(self, name: str) -> None:
        """Say what a checkpoint costs; of an open one it is in memory, or has its place there, already."""
        session = self.backend.session
        if name in session.checkpoints:
            self.switch.price(name, f"{name} is open already: nothing more is loaded.")
        else:
            self._in_background(self.switch, lambda: self.switch.price(name, str(session.cost(name))))

    def _use(self, name: str) -> None:
        """Another checkpoint: for everybody where the host says so, for this page's recipes alone where a visitor does."""
        if self.owner:
            self.backend.session.capabilities_of(name)  # CheckpointError where it is not open
            self._checkpoint = None if name == self.backend.session.name else name
            self._adopt()
        else:
            self._in_background(self.switch, lambda: self.backend.use(name, self.owner))

    # -- the planner ---------------------------------------------------------------------------------------------------

    def _plan(self, recipe: Recipe) -> None:
        """Let the planner write; what is locked in the plan at hand stands."""
        locked = self.plan.value if self.plan.value is not None and self.plan.value.locked else None
        self._write(recipe, lambda: self.backend.session.plan(recipe, keep=locked, on_token=self.plan.add_token))

    def _polish(self, recipe: Recipe) -> None:
        """Let the planner find better words; they are shown as a difference, and taken field by field."""
        fixed = {
            name: getattr(recipe, name)
            for name in ("bpm", "keyscale", "timesignature", "language")
            if getattr(recipe, name)
        }
        self._write(
            recipe,
            lambda: self.backend.session.polish(
                recipe.caption, recipe.lyrics, recipe.seed or 0, on_token=self.plan.add_token, **fixed
            ),
        )

    def _write(self, recipe: Recipe, ask: Callable[[], object]) -> None:
        if not self._plans:
            raise LabError(
                "This checkpoint has no planner; press Make it, and the words go to the music model as they are."
            )
        if self.plan.live:
            raise LabError("The planner is writing already; stop it, or let it finish.")
        client = self._writing = Client(self.owner, self.address)
        self.plan.begin()

        def work() -> None:
            try:
                made = self.backend.ask(client, ask, f"Plan: {recipe.caption}" if recipe.caption.strip() else "")
            finally:
                self.plan.end()
            self.plan.show_plan(made, recipe)

        _start_thread(self.plan, work)  # the planner's turns are counted by the queue

    def _stop_writing(self) -> None:
        """Stop what the planner writes for this page, and nothing it writes for anybody else."""
        if self._writing is not None:
            self._writing.stop()
        if self._watched is not None and self._watched.state == "planning":
            self._stop_watched()

    def _analyze(self, ids: list[str]) -> None:
        """Measure tempo, key and loudness of takes, one after another, and write them down as scores."""

        def work() -> None:
            for id in ids:
                self.backend.takes.mark(id, self.owner, scores=scores_of(self.backend.session, self._open(id)))
                self._list()

        self._in_background(self.gallery, work)

    def _start_sweep(self, x: Axis, y: Axis | None, recipes: list[list[Recipe]]) -> None:
        flat = [recipe for row in recipes for recipe in row]
        names = " and ".join(axis[0] for axis in (x, y) if axis)
        run = self.start(flat, title=f"Sweep over {names}: {flat[0].caption}")
        self._sweep = (run, x, y, (len(recipes), len(recipes[0])))
        self._show_sweep()

    def _repaint(self, take: Take | Audio, regions: list[Region], caption: str, **how: Any) -> None:
        chosen = {name: value for name, value in how.items() if value is not None}
        task = Repaint(take, tuple(regions), **chosen)
        words = {"caption": caption} if caption.strip() else {}
        self.start(
            self.backend.session.recipe_from(take, task, seed=self.prompt.resolve_seed(), **words),
            title=f"Repaint: {tracks.title_of(take, 60)}",
        )

    def _watch_run(self, id: str) -> None:
        run = self.backend.jobs.find(id, self.owner)
        if isinstance(run, RenderRun):
            self._watch(run)

    def _stop_run(self, id: str) -> None:
        """Stop one of this person's own runs; one that has ended since the click is left alone."""
        if self.backend.jobs.find(id, self.owner) is not None:
            self.backend.jobs.stop(id, self.owner)

    def _dismiss(self, id: str) -> None:
        if self.backend.jobs.find(id, self.owner) is not None:
            self.backend.jobs.dismiss(id, self.owner)

    def _hold(self, id: str, held: bool) -> None:
        """Hold back one of this person's runs that waits, or let it wait its turn again."""
        (self.backend.jobs.hold if held else self.backend.jobs.release)(id, self.owner)

    def _move(self, id: str, place: int) -> None:
        """Put one of this person's runs at another place among their own."""
        self.backend.jobs.move(id, place, self.owner)

    def _pause(self, paused: bool) -> None:
        """Begin no run until the host says so."""
        (self.backend.jobs.pause if paused else self.backend.jobs.resume)(self.owner)

    def _stop_watched(self) -> None:
        if self._watched is not None:
            self._stop_run(self._watched.id)

    def _keep_step(self, step: int) -> None:
        run = self._watched_run()
        self.preview.note = f"Decoding step {step + 1} whole…"

        def work() -> None:
            try:
                self._add(run.keep(step))
            finally:
                self.preview.note = ""

        self._in_background(self.preview, work)

    def _play_step(self, step: int, start: float, end: float) -> None:
        run = self._watched_run()
        shown = next((f for f in run.steps if f.index == step), None)
        if shown is None:
            raise LabError(f"Step {step + 1} has not been reached yet.")
        self._in_background(
            self.preview,
            lambda: self.preview.sound(
                self.backend.session.preview(shown, (start + end) / 2, max(0.2, end - start)), step, start
            ),
        )

    def _watched_run(self) -> RenderRun:
        if self._watched is None:
            raise LabError("Nothing is being made yet.")
        return self._watched

    def _mark(self, id: str, marks: dict[str, object]) -> None:
        self.backend.takes.mark(id, self.owner, **marks)
        self._draw_tree()

    def _bin(self, ids: list[str]) -> None:
        self.backend.takes.bin(ids, self.owner)
        self._list()

    def _restore(self) -> None:
        self.backend.takes.restore(self.owner)
        self._list()

    def reuse(self, take: Take) -> None:
        """Load a take's recipe, as it was asked for, into the editors."""
        recipe = getattr(take, "asked", None) or take.recipe
        self.prompt.load(recipe.replace(seed=take.recipe.seed))
        self.lyrics.load(recipe.lyrics, recipe.language)
        if take.recipe.task.sources():
            self._in_background(
                self.gallery,
                lambda: self.select(self._open(str(next(iter(take.recipe.task.with_ids().sources().values()))))),
            )

    def _on_sound(self, sound: Take | Audio, name: str) -> None:
        """A sound was brought in: a take of ours is kept, anything else is selected as it is."""
        if isinstance(sound, Take):
            sound = self.backend.takes.admit(sound)
        if isinstance(sound, Take) and not (sound.is_copy and self.backend.session.library.knows(sound.id)):
            self._add(sound, made=False)
        else:
            self.select(sound, title=name)

    def _save_again(self) -> None:
        self.top.banner = self.backend.takes.keep_unsaved()
        self._list()

    def _in_background(self, component: Component, work: Callable[[], None]) -> None:
        """Do what takes a while on a thread of its own, so that the page stays awake; so much at once for a person."""
        try:
            done = self.backend.jobs.attend(Client(self.owner, self.address))
        except LabError as problem:
            component.show_error(sentence(problem))
        else:
            _start_thread(component, work, done)

    # -- news ----------------------------------------------------------------------------------------------------------

    def _on_event(self, run: AnyRun | None, event: Event | None) -> None:
        """Something happened in the queue; called from any thread."""
        kind = "" if event is None else event.kind
        if event is not None and run is not None and run is self._watched:
            self._show_watched(self._watched, event)
        if self._adopted is not None and self._adopted[1] != self.backend.session.name:
            self._adopt()  # a notebook may have said lab.use(…)
        self._throttle.offer(self._show_queue)
        if run is not None and run.over and kind == "state":
            self._throttle.flush()
            self._show_queue()
            if run.owner == self.owner:
                self._finished(run)
        elif run is not None and kind == "take" and run.owner == self.owner:
            self._list()

    def _show_watched(self, run: RenderRun, event: Event) -> None:
        kind = event.kind
        if kind == "step":
            self.preview.add(event.value)
        elif kind == "token":
            if not self.plan.live:  # it began before anybody looked
                self.plan.begin()
            self.plan.add_token(event.value)
        elif kind == "state" and event.value == "planning":
            self.plan.begin()
        elif kind == "state" and self.plan.live:
            self.plan.end()
        if run.over:
            self.preview.end(
                {"done": "", "stopped": "Stopped. The steps so far can still be heard and kept."}.get(
                    run.state, run.problem
                )
            )

    def _finished(self, run: AnyRun) -> None:
        """A run of this person is over: what it made is listed, and selected where a page began it or watches it."""
        if run.problem and run.state != "failed":
            self.top.banner = run.problem
        self._list()
        if isinstance(run, RenderRun) and run.made and (run.client.counted or run is self._watched):
            self.select(next(iter(run.made.values())))
        waiting = next((one for one in reversed(self._renders()) if not one.over), None)
        if waiting is not None and run is self._watched:
            self._watch(waiting)

    def _renders(self) -> list[RenderRun]:
        """This person's renders, newest first."""
        return [run for run in self.backend.jobs.runs(self.owner) if isinstance(run, RenderRun)]

    def _add(self, take: Take, made: bool = True) -> None:
        """A new take exists, made here or brought: keep it, list it, select it."""
        self.top.banner = self.backend.takes.keep(take, self.owner, made)
        self._list()
        self.select(take)

    # -- showing -------------------------------------------------------------------------------------------------------

    def select(self, take: Take | Audio, title: str = "") -> None:
        """Select a take: play it, mark it, start tasks from it."""
        self.selected = take
        self.player.load(take, title=title)
        self.picker.load(take, beats=beats_of(take))
        self.prompt.refresh(title or tracks.title_of(take, 60))
        self.gallery.selected = take.id
        self._draw_tree()
        recipe, plan = getattr(take, "recipe", None), getattr(take, "plan", None)
        if plan is not None:
            self.plan.show_plan(plan, getattr(take, "asked", None) or recipe, unfolded=False)
        if recipe is not None and isinstance(recipe.task, Repaint):
            self._in_background(self.picker, lambda: self._compare(take, recipe.task.regions))

    def _compare(self, take: Take | Audio, regions: Sequence[Region]) -> None:
        """Prove what a repaint did not change; where the parent is gone, or somebody else's, there is nothing to
        compare.
        """
        self.picker.mark(regions)
        for parent in getattr(take, "parents", ())[:1]:  # a file from elsewhere may name none
            self.picker.compare(self._open(parent))

    def refresh(self) -> None:
        """Show queue and takes as they are."""
        self._show_queue()
        self.top.banner = self.top.banner or self.backend.takes.owners.problem
        self._list()

    def _list(self) -> None:
        """Show the takes; a library that cannot be read says so on top. Read and shown in one, since several threads
        may list at once and an older reading must not be shown after a newer one.
        """
        with self._listing:
            try:
                self.gallery.show_cards(
                    self.backend.cards(self.owner, self.gallery.query), self.backend.takes.unsaved_of(self.owner)
                )
                self.gallery.trashed = len(self.backend.takes.binned(self.owner))
                self.top.banner = self.top.banner or damage(self.backend.session.library)
            except LabError as problem:
                self.top.banner = self.top.banner or sentence(problem)
            self.top.unsaved = len(self.backend.takes.unsaved_of(self.owner))
            self._show_sweep()
            self._draw_tree()

    def _show_sweep(self) -> None:
        if self._sweep is not None:
            run, x, y, (rows, columns) = self._sweep
            made = run.made
            ids = [made[place].id if place in made else "" for place in range(rows * columns)]
            self.gallery.sweep(x, y, [ids[row * columns : (row + 1) * columns] for row in range(rows)])

    def _draw_tree(self) -> None:
        self.tree.draw(self.gallery.cards, getattr(self.selected, "id", ""))

    def _watch(self, run: RenderRun) -> None:
        self._watched = run
        recipe = run.recipe
        self.preview.begin(run.id, recipe.seconds or 0.0, getattr(recipe.sampling, "steps", None) or 0)
        self.preview.catch_up(run.steps)
        if run.over:
            self.preview.end(run.problem)

    def _attach(self) -> None:
        """A page that (re)opens takes up what is under way and the latest take."""
        mine = self._renders()
        live = next((run for run in reversed(mine) if not run.over), mine[0] if mine else None)
        if live is not None:
            self._watch(live)
        if self.gallery.cards:
            try:
                self.select(self.backend.takes.take(self.gallery.cards[0]["id"]))
            except LabError as problem:
                self.top.banner = sentence(problem)

    def _show_queue(self) -> None:
        self.queue.rows = self.backend.jobs.rows(self.owner, LISTED_RUNS)
        self.queue.paused, self.queue.hosts = self.backend.jobs.paused, not self.owner

    def _prompt_changed(self) -> None:
        """The prompt changed: hold the lyrics' length against the new song's."""
        wrong, values = self.prompt.problems(), self.prompt.value.values
        seconds, bpm = (
            None if name in wrong else PLAIN_FIELDS[name].read(values.get(name)) for name in ("seconds", "bpm")
        )
        self.lyrics.compare_with(seconds, bpm)

    def _presets(self) -> Path | None:
        """The file of this person's presets; the words in them are theirs as those of their takes are."""
        folder = getattr(self.backend.session.library, "folder", None)
        whose = f"-{hashlib.sha256(self.owner.encode()).hexdigest()[:16]}" if self.owner else ""
        return folder / f"presets{whose}.yaml" if folder is not None else None


def _start_thread(component: Component, work: Callable[[], None], done: Callable[[], None] = lambda: None) -> None:
    """Do something on a thread of its own, then call `done`; what goes wrong is said at the component."""

    def run() -> None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - on a thread nobody else hears of it, and the page would wait for ever
            if not isinstance(problem, LabError | OSError):
                _log.exception("Something a page asked for failed.")
            component.show_error(sentence(problem))
        finally:
            done()

    threading.Thread(target=run, name="acestep_lab page", daemon=True).start()


def beats_of(take: Take | Audio) -> list[float]:
    """Times of the beats of a take of known tempo, counted from its start; none where the tempo is not known."""
    recipe, plan = getattr(take, "recipe", None), getattr(take, "plan", None)
    bpm = getattr(recipe, "bpm", None) or getattr(plan, "bpm", None)  # a recipe stands against its plan
    return list(np.arange(0.0, take.seconds, 60.0 / bpm)) if bpm else []


def damage(library: Library) -> str:
    """A sentence on takes that could not be read and are left out of the list; "" where there is none."""
    damaged = library.damaged
    if not damaged:
        return ""
    others = f" So are {len(damaged) - 1} others." if len(damaged) > 1 else ""
    return f"A take is left out of the list, since its file is damaged. {damaged[0]}{others}"


def scores_of(session: SessionLike, take: Take) -> dict[str, float]:
    """What can be measured in a take, and how well it agrees with its words where there is a planner."""
    analysis = session.analyze(take)
    scores = {
        "tempo": analysis.bpm,
        "pulse": analysis.pulse,
        "key": analysis.key_confidence,
        "loudness": analysis.loudness,
    }
    return scores | ({"agreement": session.plan_score(take).total} if session.has_planner else {})


def refusals(name: str, can: Capabilities) -> dict[str, str | None]:
    """For each task None, or why the checkpoint of this name cannot do it."""
    return {
        task: None if task in can.tasks else f"{name} cannot do this; another checkpoint may, see the list on top."
        for task in TASKS
    }


def crossfades_of(mode: str, strength: float) -> tuple[float, float]:
    """Seconds of crossfade of latents and of samples that a repaint has by itself."""
    keep = keep_strength(mode, strength)
    return keep.latent_seconds, keep.wave_seconds


_EXAMPLES: tuple[Task, ...] = (
    Text2Music(),
    Repaint("a take", (Region(0, 1),)),
    Extend("a take", after=1.0),
    Cover("a take"),
    Retake("a take", 0.5, 1),
    Extract("a take", "drums"),
    Lego("a take", "drums"),
    Complete("a take", ("drums",)),
    FlowEdit("a take"),
)
"""A task of each kind, for what is decided whatever it starts from."""


def defaults(session: SessionLike, task: str, checkpoint: str | None = None) -> dict[str, object]:
    """What Auto means for the sampling's fields in a task of this name (a key of TASKS), where the checkpoint does it."""
    can = session.capabilities if checkpoint is None else session.capabilities_of(checkpoint)
    if task not in can.tasks:
        return {}
    example = next(one for one in _EXAMPLES if type(one).__name__ == task)
    sampling = session.defaults(example) if checkpoint is None else session.defaults(example, checkpoint)
    found = {name: getattr(sampling, name) for name in type(sampling).names()}
    return found | ({"guidance_scale": None} if found.get("guidance") == "none" else {})


def choices(session: SessionLike, catalog: Iterable[OfferedCheckpoint]) -> list[Choice]:
    """What the switch lists: what is open, then the catalog's others, those that are not on this machine last."""
    open_ones = {
        name: Choice(name, can.family, licence_note(can.licence), is_open=True)
        for name in session.checkpoints
        for can in [session.capabilities_of(name)]
    }
    others = [
        Choice(one.name, one.family, licence_note(one.licence), missing=one.missing)
        for one in catalog
        if one.name not in open_ones
    ]
    return [*open_ones.values(), *sorted(others, key=lambda choice: bool(choice.missing))]


def about(session: SessionLike, checkpoint: str) -> list[str]:
    """A few facts on what is loaded."""
    return [checkpoint, f"{session.tier.name} tier"]

"""The Studio: everything on one page; every click is a Session verb. Knows no model and no host.

It holds the parts of the page (`controllers/`), each with its components, and tells them what happens: a run begins, a take
is selected, another checkpoint is in use. `panes=False` makes anywidgets. All of it may come from any thread: the worker's,
the server's, a kernel's subshell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.offered import OfferedCheckpoint, offered
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, sentence
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Stitch
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.backend import Backend
from acestep_lab.ui.component import Component
from acestep_lab.ui.controllers.adapting import Adapting
from acestep_lab.ui.controllers.attributing import Attributing
from acestep_lab.ui.controllers.base import Controller, tell
from acestep_lab.ui.controllers.bringing import Bringing
from acestep_lab.ui.controllers.checkpoints import Checkpoints
from acestep_lab.ui.controllers.collecting import Collecting
from acestep_lab.ui.controllers.composing import Composing
from acestep_lab.ui.controllers.describing import Describing
from acestep_lab.ui.controllers.exporting import Exporting
from acestep_lab.ui.controllers.listening import Listening
from acestep_lab.ui.controllers.planning import Planning
from acestep_lab.ui.controllers.repainting import Repainting
from acestep_lab.ui.controllers.singing import Singing
from acestep_lab.ui.controllers.song_building import SongBuilding
from acestep_lab.ui.controllers.stem_mixing import StemMixing
from acestep_lab.ui.controllers.sweeping import Sweeping
from acestep_lab.ui.controllers.training import Training
from acestep_lab.ui.controllers.watching import Watching


def _made(kind: str, /, module: ModuleType, name: str, **keywords: object) -> Any:
    """A component as its class for a host, "Pane" or "Widget"."""
    return getattr(module, name + kind)(**keywords)


class Studio:
    """One person's page over a Backend: its parts, and what all of them share."""

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
        make: Callable[..., Any] | None = None,
    ) -> None:
        """`make(module, "Player", …)` makes the components where they are neither all panes nor all widgets."""
        self.backend, self.owner, self.address, self.url = backend, owner, address, url
        self.selected: Take | Audio | None = None
        """The take or sound in hand: what the player plays and a task starts from."""
        self.checkpoint: str | None = None
        """The checkpoint that this page chose for its recipes; None: the one in use, whichever that is."""
        self._adopted: tuple[str | None, str] | None = None
        self.components: dict[str, Any] = {}
        """Every component of the page by its name; `studio.prompt` is `studio.components["prompt"]`."""
        self._make_controllers()
        self.watching.picture, self.repainting.crossfades = picture, crossfades
        self.checkpoints.catalog = catalog
        self._build(make or partial(_made, "Pane" if panes else "Widget"))
        self.listening.top.page = page
        self.adopt(None)
        for one in self.controllers:
            one.connect()
        self.refresh()
        self._closers = [backend.jobs.subscribe(self._on_event), backend.on_switch(self._switched)]
        self._attach()

    def _make_controllers(self) -> None:
        self.singing = Singing(self)
        self.listening = Listening(self)
        self.repainting = Repainting(self)
        self.composing = Composing(self)
        self.planning = Planning(self)
        self.watching = Watching(self)
        self.collecting = Collecting(self)
        self.checkpoints = Checkpoints(self)
        self.bringing = Bringing(self)
        self.exporting = Exporting(self)
        self.describing = Describing(self)
        self.adapting = Adapting(self)
        self.attributing = Attributing(self)
        self.mixing = StemMixing(self)
        self.building = SongBuilding(self)
        self.training = Training(self)
        self.sweeping = Sweeping(self)
        self.controllers: list[Controller] = [one for one in vars(self).values() if isinstance(one, Controller)]
        """The parts of the page, in the order in which they hear what happens."""

    def _build(self, made: Callable[..., Any]) -> None:
        """The components of all parts, each as its class for a host."""
        for one in self.controllers:
            one.build(made)
            self.components |= {name: part for name, part in vars(one).items() if isinstance(part, Component)}

    def __getattr__(self, name: str) -> Any:
        """A component by its name."""
        found = vars(self).get("components", {})
        if name not in found:
            raise AttributeError(f"A studio has no {name!r}; its components are {', '.join(found)}.")
        return found[name]

    def close(self) -> None:
        """Let go of the backend; runs and takes live on, and nobody is left to read what the planner writes for this page."""
        for close in self._closers:
            close()
        for one in self.controllers:
            one.close()

    # -- what the parts share ------------------------------------------------------------------------------------------

    def client(self) -> Client:
        """On whose behalf this page asks."""
        return Client(self.owner, self.address)

    def open(self, id: str) -> Take:
        """One of this person's takes."""
        return self.backend.takes.take(id, self.owner)

    def start(
        self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None, title: str = "", **more: Any
    ) -> RenderRun:
        """Start a render with this page's checkpoint; every part of the page hears of it."""
        recipe = self.by_choice(recipe) if isinstance(recipe, Recipe) else [self.by_choice(one) for one in recipe]
        run = self.backend.start(recipe, plan, self.owner, title, self.address, **more)
        tell(self.controllers, "started", run)
        return run

    def by_choice(self, recipe: Recipe) -> Recipe:
        """A recipe for the checkpoint that this page chose, if it chose one."""
        return recipe if self.checkpoint is None else recipe.replace(checkpoint=self.checkpoint)

    def select(self, take: Take | Audio, title: str = "") -> None:
        """Select a take: play it, mark it, start tasks from it."""
        self.selected = take
        tell(self.controllers, "selected", take, title or self.title_of(take))

    def title_of(self, sound: Take | Audio) -> str:
        """What this person calls a take or a recording."""
        return self.collecting.title_of(sound)

    def reuse(self, take: Take) -> None:
        """Load a take's recipe, as it was asked for, into the editors; of a stitched song into the song builder."""
        if isinstance(take.recipe.task, Stitch):
            self.building.reuse(take)
        else:
            self.composing.reuse(take)

    def add(self, take: Take, made: bool = True) -> None:
        """A new take exists, made here or brought: keep it, list it, select it."""
        self.listening.top.banner = self.backend.takes.keep(take, self.owner, made)
        self.list_takes()
        self.select(take)

    def list_takes(self) -> None:
        """List the takes anew."""
        self.collecting.list()
        tell(self.controllers, "listed")

    def refresh(self) -> None:
        """Show queue and takes as they are."""
        tell(self.controllers, "refreshed")

    # -- the checkpoint ------------------------------------------------------------------------------------------------

    def adopt(self, checkpoint: str | None) -> None:
        """Make the music with an open checkpoint, or with the one in use (None); what was typed stays. From any thread."""
        session = self.backend.session
        self.checkpoint = checkpoint if checkpoint in session.checkpoints else None
        name = self.checkpoint or session.name
        self._adopted = (self.checkpoint, session.name)
        tell(self.controllers, "adopted", name, self.capabilities)

    def _switched(self) -> None:
        self.adopt(self.checkpoint)

    @property
    def capabilities(self) -> Capabilities:
        """What the checkpoint of this page can do."""
        session = self.backend.session
        return session.capabilities if self.checkpoint is None else session.capabilities_of(self.checkpoint)

    @property
    def plans(self) -> bool:
        """Whether the checkpoint of this page has a planner to ask."""
        session = self.backend.session
        return session.has_planner if self.checkpoint is None else session.has_planner_of(self.checkpoint)

    # -- news ----------------------------------------------------------------------------------------------------------

    def _on_event(self, run: AnyRun | None, event: Event | None) -> None:
        """Something happened in the queue; called from any thread."""
        if self._adopted is not None and self._adopted[1] != self.backend.session.name:
            self.adopt(self.checkpoint)  # a notebook may have said lab.use(…)
        tell(self.controllers, "heard", run, event)
        if run is None or event is None or run.owner != self.owner:
            return
        if run.over and event.kind == "state":
            self._finished(run)
        elif event.kind == "take":
            self.list_takes()

    def _finished(self, run: AnyRun) -> None:
        """A run of this person is over: what it made is listed, and selected where a page began it or watches it."""
        self.list_takes()
        if isinstance(run, RenderRun) and run.made and (run.client.counted or run is self.watching.watched):
            self.select(next(iter(run.made.values())))
        tell(self.controllers, "finished", run)

    def _attach(self) -> None:
        """A page that (re)opens takes up what is under way and the latest take."""
        self.watching.attach()
        cards = self.collecting.gallery.cards
        if cards:
            try:
                self.select(self.open(cards[0]["id"]))
            except LabError as problem:
                self.listening.top.banner = sentence(problem)

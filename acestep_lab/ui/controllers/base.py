"""Controller: one part of the studio page. Knows no music; what it may hear and ask of the page is all here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError, code_of, sentence
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.takes.take import Take
from acestep_lab.ui.component import Component

if TYPE_CHECKING:
    from acestep_lab.ui.backend import Backend
    from acestep_lab.ui.studio import Studio

_log = logging.getLogger(__name__)


class Controller:
    """A part of the page: it makes components in `build`, connects them in `connect`, and hears what happens by the rest.

    `build` runs for all controllers before `connect` runs for any, so that one may listen to another's components. All that
    is heard may come from any thread; a controller that does not care leaves a method as it is.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    @property
    def backend(self) -> Backend:
        """What all pages of one session share."""
        return self.studio.backend

    def build(self, made: Callable[..., Any]) -> None:
        """Make the components: `made(module, "Player", …)` gives the one for the page's host."""

    def connect(self) -> None:
        """Say which request of which component is done by what."""

    def adopted(self, name: str, can: Capabilities) -> None:
        """Another checkpoint makes this page's music; offer what it can do."""

    def started(self, run: RenderRun) -> None:
        """A run of this page begins: what was shown of the last one (a plan, codes, an error) is over."""

    def selected(self, sound: Take | Audio, title: str) -> None:
        """Another take or sound is in hand."""

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        """Something happened in the queue, to whomever it belongs."""

    def finished(self, run: AnyRun) -> None:
        """A run of this person is over."""

    def listed(self) -> None:
        """The takes were listed anew."""

    def renamed(self, id: str, title: str) -> None:
        """A take is called something else from now on."""

    def refreshed(self) -> None:
        """Show all as it stands."""

    def close(self) -> None:
        """The page is gone."""

    def in_background(self, component: Component, work: Callable[[], None]) -> None:
        """Do what takes a while on a thread of its own, so that the page stays awake; so much at once for a person."""
        client = self.studio.client()

        def theirs() -> None:
            with client.acting():
                work()

        try:
            done = self.backend.jobs.attend(client)
        except LabError as problem:
            component.show_error(sentence(problem), code=code_of(problem))
        else:
            start_thread(component, theirs, done)

    def aside(self, form: Any, busy: str, work: Callable[[], None], done: Callable[[], None] = lambda: None) -> None:
        """Do on a thread of its own what takes a form a while; until it is done, the form is `busy` and nothing else is asked for."""
        form.busy = busy

        def theirs() -> None:
            try:
                with self.studio.client().acting():
                    work()
            finally:
                form.busy = ""
                done()

        start_thread(form, theirs)


def connect(component: Component, **requests: Callable[..., Any]) -> None:
    """Which request of a component is done by what."""
    for kind, work in requests.items():
        component.on(kind, work)


def tell(controllers: Iterable[Controller], what: str, *about: object) -> None:
    """Tell every controller; one that fails keeps no other from hearing it, and the first LabError is raised after all."""
    refused: LabError | None = None
    for one in controllers:
        try:
            getattr(one, what)(*about)
        except LabError as problem:
            refused = refused or problem
        except Exception:  # noqa: BLE001 - whatever is wrong in one part of the page, the others go on
            _log.exception("A part of the page failed.")
    if refused is not None:
        raise refused


def start_thread(component: Component, work: Callable[[], None], done: Callable[[], None] = lambda: None) -> None:
    """Do something on a thread of its own, then call `done`; what goes wrong is said at the component."""

    def run() -> None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - on a thread nobody else hears of it, and the page would wait for ever
            if not isinstance(problem, LabError | OSError):
                _log.exception("Something a page asked for failed.")
            component.show_error(sentence(problem), code=code_of(problem))
        finally:
            done()

    threading.Thread(target=run, name="acestep_lab page", daemon=True).start()

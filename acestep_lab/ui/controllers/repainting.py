"""Repainting: regions on the waveform of the take in hand, new music in them, and the proof of what stayed."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError, LibraryError, sentence
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.noting import kept_notes
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.listen.notes import Notes
from acestep_lab.prompt.tasks import Repaint, keep_strength, source_id
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks, waveform_picker
from acestep_lab.ui.backend import Backend
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.controllers.composing import refusals
from acestep_lab.ui.marks import Link, Marks, captions_of

MOST_CHAINS = 50
"""Chains of repaints that are remembered, so that a result is compared with what the whole chain began with."""
_log = logging.getLogger(__name__)


class Repainting(Controller):
    """The waveform picker."""

    crossfades: Callable[[str, float], tuple[float, float]] | None = None
    picker: Any

    def build(self, made: Callable[..., Any]) -> None:
        self.picker = made(
            waveform_picker,
            "WaveformPicker",
            url=self.studio.url,
            standalone=False,
            crossfades=self.crossfades or crossfades_of,
            listen=self.backend.session.analyze,
            background=self.in_background,
            lyrics=self.studio.singing.without,
            notes=self.backend.session.notes,
        )
        self._shown: Chain | None = None

    def connect(self) -> None:
        connect(self.picker, repaint=self._repaint, changed=self.studio.composing.prompt.refresh)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.picker.adopt(refusals(name, can)["Repaint"] or "", can.fixed)
        self.picker.offer_codes(self._codes if can.codes else None)
        self.picker.offer_stems(can.vocabulary.stems if "Extract" in can.tasks else ())

    def _codes(self, sound: Take | Audio) -> tuple[int, ...]:
        """The audio codes of a sound, by the checkpoint of this page."""
        return self.backend.session.codes(sound, checkpoint=self.studio.checkpoint)

    def started(self, run: RenderRun) -> None:
        self.picker.show_error("")
        if self._shown is not None and run is not self._shown.run and self._shown.is_over:
            self._shown, self.picker.chain = None, ""

    def selected(self, sound: Take | Audio, title: str) -> None:
        chain, task = self._chain_of(sound), _repaint_of(sound)
        if chain is not None:
            self.picker.hand_on(chain.marks, sound.id)
        elif task is not None and not self.picker.has_marks(sound.id):
            self.picker.mark(task.regions, sound.id)
        self.picker.load(sound, lines=self.studio.singing.found(sound), notes=self._kept_notes(sound))
        if task is not None and isinstance(sound, Take):
            self.in_background(self.picker, lambda: self.compare(sound))

    def _kept_notes(self, sound: Take | Audio) -> Notes | None:
        """What was heard in a take before; nothing is listened to."""
        return kept_notes(self.backend.session.library, sound.id) if isinstance(sound, Take) else None

    def compare(self, take: Take) -> None:
        """Prove what a repaint did not change, from the first sound on where it is the last of several."""
        chain = self._chain_of(take)
        parents = take.parents[:1] if chain is None else chain.sources[:1]
        for id in parents:  # a file from elsewhere may name none
            self.picker.compare(self._source(id), take)

    def _source(self, id: str) -> Take | Audio:
        """What a take was made from; LibraryError where it is gone, or somebody else's: only the library can say that."""
        if id in self.backend.takes.binned(self.studio.owner):
            raise LibraryError("The take this one was made from is in the bin; bring it back to compare the two.")
        return self.backend.source(id, self.studio.owner)

    # -- chains of repaints --------------------------------------------------------------------------------------------

    def _repaint(self, take: Take | Audio, links: Sequence[Link], **how: Any) -> None:
        chosen = {name: value for name, value in how.items() if value is not None}
        seed = self.studio.composing.prompt.resolve_seed()
        chain = Chain(self, take, links, chosen, seed, self.picker.marks(take.id).copied())
        self._shown = chain
        chains_of(self.backend).append(chain)
        chain.begin()

    def tell_chain(self, chain: Chain, text: str, error: str = "") -> None:
        """How a chain of this page stands, in a sentence; only the one begun last is shown."""
        if chain is self._shown:
            self.picker.chain = text
            if error:
                self.picker.show_error(error)

    def _chain_of(self, sound: Take | Audio) -> Chain | None:
        mine = [chain for chain in chains_of(self.backend) if chain.owner == self.studio.owner]
        return next((chain for chain in reversed(mine) if chain.has_made(sound)), None)


class Chain:
    """Repaints in other words, one after another, each from the last one's result; it goes on without its page.

    Every one is a kept take with a recipe of its own. Where one is stopped or fails, those before it stay.
    """

    def __init__(
        self,
        page: Repainting,
        first: Take | Audio,
        links: Sequence[Link],
        how: dict[str, Any],
        seed: int,
        marks: Marks,
    ) -> None:
        self.page, self.links, self.how, self.seed, self.marks = page, list(links), how, seed, marks
        self.owner = page.studio.owner
        self._first: Take | Audio | None = first
        self._title_of_first = tracks.title_of(first, 60)
        self._caption = getattr(getattr(first, "recipe", None), "caption", "")
        self.sources: list[str] = []
        """The id of what each repaint begun so far starts from."""
        self.run: RenderRun | None = None
        self.is_over = False
        self._settled: RenderRun | None = None
        self._lock = threading.Lock()
        self._forget: Callable[[], None] = lambda: None

    @property
    def place(self) -> int:
        """Which of the repaints is under way, from 0 on."""
        return len(self.sources) - 1

    def begin(self) -> None:
        """Start the first repaint; LabError where that cannot be."""
        self._forget = self.page.backend.jobs.subscribe(self._on_event)
        first, self._first = self._first, None  # a remembered chain holds no sound
        if first is None:
            raise LabError("This chain of repaints has begun already.")
        try:
            self._start(first)
        except BaseException:
            self._end("")
            raise

    def has_made(self, sound: Take | Audio) -> bool:
        """Whether a take is a result of this chain, the last or one on the way."""
        task = _repaint_of(sound)
        return task is not None and any(
            source_id(task.source) == source and task.regions == link.regions
            for source, link in zip(self.sources, self.links, strict=False)
        )

    def _start(self, source: Take | Audio) -> None:
        self.sources.append(source.id)
        link, count = self.links[self.place], len(self.links)
        self.page.tell_chain(self, f"Repaint {self.place + 1} of {count}: {link.title}" if count > 1 else "")
        self.run = self.page.studio.start(self._recipe(source), title=self._title())
        self._look()

    def _recipe(self, source: Take | Audio) -> Any:
        caption = captions_of(self.links, self._caption)[self.place]
        words = {} if caption is None else {"caption": caption}
        task = Repaint(source, self.links[self.place].regions, **self.how)
        return self.page.backend.session.recipe_from(source, task, seed=self.seed, **words)

    def _title(self) -> str:
        which = f" {self.links[self.place].title}" if len(self.links) > 1 else ""
        return f"Repaint{which}: {self._title_of_first}"

    def _on_event(self, run: AnyRun | None, event: Event | None) -> None:
        if run is not None and run is self.run:
            self._look()

    def _look(self) -> None:
        """Go on where the repaint under way is over; it may have been over before it was known here."""
        run = self.run
        with self._lock:
            if run is None or not run.over or self._settled is run:
                return
            self._settled = run
        try:
            self._settle(run)
        except Exception as problem:  # noqa: BLE001 - on the worker's thread nobody else hears of it
            if not isinstance(problem, LabError | OSError):
                _log.exception("A chain of repaints broke.")
            self._fail(sentence(problem))

    def _settle(self, run: RenderRun) -> None:
        made = next(iter(run.made.values()), None)
        if run.state == "done" and made is not None:
            self._end("") if self.place + 1 == len(self.links) else self._start(made)
        elif run.state == "stopped":
            self._end(f"Stopped after {self.place} of {len(self.links)} repaints; what was made is kept.")
        else:
            self._fail(run.problem)

    def _fail(self, problem: str) -> None:
        if len(self.links) == 1:
            self._end("", problem)
            return
        which = self.links[min(self.place, len(self.links) - 1)].title
        self._end("", f"Region {which} was not repainted. {problem}"[:290])

    def _end(self, text: str, error: str = "") -> None:
        self.is_over = True
        self._forget()
        self.page.tell_chain(self, text if len(self.links) > 1 else "", error)
        del self.page  # a chain is remembered for longer than a page is open


def chains_of(backend: Backend) -> deque[Chain]:
    """The chains begun on any page of a backend, oldest first."""
    chains: deque[Chain] = vars(backend).setdefault("_chains", deque(maxlen=MOST_CHAINS))
    return chains


def _repaint_of(sound: Take | Audio) -> Repaint | None:
    """The repaint that a take is the result of."""
    task = getattr(getattr(sound, "recipe", None), "task", None)
    return task if isinstance(task, Repaint) else None


def crossfades_of(mode: str, strength: float) -> tuple[float, float]:
    """Seconds of crossfade of latents and of samples that a repaint has by itself."""
    keep = keep_strength(mode, strength)
    return keep.latent_seconds, keep.wave_seconds

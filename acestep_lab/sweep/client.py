"""A session without a model: library and queue are here, whatever needs a model is done elsewhere, by workers or other sessions.

It needs no torch, so that a laptop drives a cluster. Knows pools; no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from acestep_lab.errors import MachineError
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.verbs import Verbs
from acestep_lab.takes.library import library_at
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take

NO_MODEL = "This session has no model of its own; what it makes is made elsewhere, by lab.sweep(…, on=…) or lab.map_songs(…, on=…)."


class ClientSession(Verbs):
    """What drives a cluster, or several sessions, from a machine that runs no model.

    ::

        with ClientSession("tcp://127.0.0.1:8786", library="takes") as lab:
            lab.sweep(recipe, seed=range(300)).result()

    Measures of takes are taken where the models are, too.
    """

    adapters: tuple[tuple[str, str, float], ...] = ()
    """None: those that workers wear are theirs."""

    def __init__(self, on: Any, library: Any = None) -> None:
        """`on` is that of `lab.sweep`; `library` a folder or a Library, else this user's own."""
        self.on = on
        self.jobs = JobQueue()
        self._sounds = Sounds(library_at(library))

    def sweep(self, recipe: Any, *, on: Any = None, **how: Any) -> Any:
        """A sweep, made where this session has things made unless told otherwise."""
        return super().sweep(recipe, on=self.on if on is None else on, **how)

    def map_songs(self, work: Any, items: Any, *, on: Any = None, **how: Any) -> Any:
        """Work on many songs, done where this session has things done unless told otherwise."""
        return super().map_songs(work, items, on=self.on if on is None else on, **how)

    def label(self, songs: Any, *, on: Any = None, **how: Any) -> Any:
        """Labels for songs of this machine, which are sent there to be heard; what is said stays here."""
        from acestep_lab.train.labelling import begin

        asker: Any = self  # its queue and library: the listeners are elsewhere
        return begin(asker, songs, on=self.on if on is None else on, **how)

    def analyze(self, source: Any, bpm: float | None = None) -> Any:
        """What can be measured in a take or sound, measured elsewhere."""
        return self._elsewhere("analyze", source, bpm=bpm)

    def align(self, source: Any, lyrics: str | None = None, **options: Any) -> Any:
        """Where the words are sung, as a model elsewhere hears it."""
        return self._elsewhere("align", source, **({} if lyrics is None else {"lyrics": lyrics}), **options)

    def plan_score(self, source: Any, plan: Any = None, scale: float = 0.1) -> Any:
        """How well a sound agrees with a plan, in the judgement of a planner elsewhere."""
        return self._elsewhere("plan_score", source, plan=plan, scale=scale)

    def _elsewhere(self, verb: str, source: Any, **options: Any) -> Any:
        run = self.map_songs(verb, [source], **options)
        [found] = run.result()
        if run.failed:
            raise MachineError(run.failed[0].problem)
        return found

    def start(self, recipe: Any, plan: Any = None, *, adapters: Sequence[Any] | None = None) -> NoReturn:
        """MachineError: nothing is made here."""
        raise MachineError(NO_MODEL)

    def _verified(self, take: Take) -> Any:
        return self.verify(take, on=self.on)

    def close(self) -> None:
        """Stop what runs and waits; the workers go on."""
        self.jobs.close()

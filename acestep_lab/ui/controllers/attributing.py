"""Attributing: what each word of the take in hand did, found out on demand and shown beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, sentence
from acestep_lab.jobs.attributing import AttributionRun, kept_attribution
from acestep_lab.takes.take import Take
from acestep_lab.ui import attribution
from acestep_lab.ui.controllers.base import Controller, connect


class Attributing(Controller):
    """The view of what each word did."""

    def build(self, made: Callable[..., Any]) -> None:
        self.attribution = made(attribution, attribution.Attribution.__name__, finds=True)
        self._hand: Take | Audio | None = None

    def connect(self) -> None:
        connect(self.attribution, opened=self._look, find=self._find, at=self._hear)

    def selected(self, sound: Take | Audio, title: str) -> None:
        """Another take is in hand: what is known of it, a run of it that is under way, or nothing yet."""
        if self._hand is not None and self._hand.id == sound.id:
            return
        self._hand = sound
        self.attribution.hold(sound.id, sound.recipe.caption if isinstance(sound, Take) else "", sound.seconds)
        if (run := self._under_way(sound.id)) is not None:
            self.attribution.follow(run)
        elif self.attribution.opened:
            self._look()

    def _under_way(self, take: str) -> AttributionRun | None:
        """This person's run that finds it out."""
        mine = (run for run in self.backend.jobs.waiting if run.owner == self.studio.owner)
        return next((run for run in mine if isinstance(run, AttributionRun) and run.take.id == take), None)

    def _look(self) -> None:
        """Show what is kept of the take in hand, or what finding out would take."""
        sound = self._hand
        if sound is None or not self.attribution.over:
            return
        known = kept_attribution(self.backend.session.library, sound.id) if isinstance(sound, Take) else None
        if known is not None:
            self.attribution.tell(known)
        self.in_background(self.attribution, lambda: self._say_cost(sound))

    def _say_cost(self, sound: Take | Audio) -> None:
        try:
            cost = self.backend.session.attribute(self._as_made(sound), dry_run=True)
        except LabError as problem:
            self.attribution.tell_cost(sound.id, "", sentence(problem))
        else:
            self.attribution.tell_cost(sound.id, str(cost) if cost.renders else "")

    def _as_made(self, sound: Take | Audio) -> Take | Audio:
        """The sound, which starts from nothing that is somebody else's."""
        return self.backend.takes.to_remake(sound, self.studio.owner) if isinstance(sound, Take) else sound

    def _find(self) -> None:
        """Begin a run for the take in hand; the page goes on beside it."""
        sound = self._hand
        if sound is None:
            raise LabError("No take is in hand; choose one first.")
        with self.studio.client().acting():
            run = self.backend.session.attribute(self._as_made(sound))
        self.attribution.follow(run)

    def _hear(self, seconds: float) -> None:
        """Play the take in hand from a moment on."""
        self.studio.player.emit("seek", seconds=seconds)

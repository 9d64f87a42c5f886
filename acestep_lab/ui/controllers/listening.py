"""Listening: the player of the take in hand, and the head of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take
from acestep_lab.ui import player, topbar
from acestep_lab.ui.controllers.base import Controller, connect


class Listening(Controller):
    """The top bar and the player."""

    def build(self, made: Callable[..., Any]) -> None:
        self.top = made(topbar, "Topbar")
        self.player = made(player, "Player", url=self.studio.url)

    def connect(self) -> None:
        connect(self.top, retry=self._save_again)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.top.about = about(self.backend.session, name)

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.player.load(sound, title=title)

    def finished(self, run: AnyRun) -> None:
        if run.problem and run.state != "failed":
            self.top.banner = run.problem

    def refreshed(self) -> None:
        self.top.banner = self.top.banner or self.backend.takes.owners.problem

    def _save_again(self) -> None:
        self.top.banner = self.backend.takes.keep_unsaved()
        self.studio.list_takes()


def about(session: SessionLike, checkpoint: str) -> list[str]:
    """A few facts on what is loaded."""
    return [checkpoint, f"{session.tier.name} tier"]

"""Listening: the player of the take in hand, and the frame of the page: its head and its tabs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take
from acestep_lab.ui import player, tabs, topbar
from acestep_lab.ui.controllers.base import Controller, connect, start_thread


class Listening(Controller):
    """The top bar, the tabs of a narrow page, and the player bar."""

    def build(self, made: Callable[..., Any]) -> None:
        self.top = made(topbar, "Topbar")
        self.tabs = made(tabs, "Tabs")
        self.player = made(
            player, "Player", url=self.studio.url, open=self.studio.open, bar=True, lyrics=self.studio.singing.without
        )  # fmt: skip

    def connect(self) -> None:
        connect(self.top, retry=self._save_again)
        connect(self.player, star=self._star)
        connect(self.studio.gallery, mark=self._marked)
        self.player.exports = "export" in self.studio.components

    def adopted(self, name: str, can: Capabilities) -> None:
        self.top.about = about(self.backend.session, name)

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.player.load(sound, self.studio.singing.found(sound), title)
        self._show_star()
        if getattr(sound, "parents", ()):
            start_thread(self.player, self.player.find_parent)

    def listed(self) -> None:
        self._show_star()

    def finished(self, run: AnyRun) -> None:
        if run.problem and run.state != "failed":
            self.top.banner = run.problem
        watched = run is self.studio.watching.watched
        if isinstance(run, RenderRun) and run.made and (run.client.counted or watched):
            self.tabs.emit("arrived", title=self.studio.title_of(next(iter(run.made.values()))))

    def _star(self, id: str, on: bool) -> None:
        """Star the take in hand as the gallery does; where a search hides its card, it is marked all the same."""
        gallery = self.studio.gallery
        if any(card["id"] == id for card in gallery.cards):
            gallery.do_mark(id, star=on)
        else:
            self.backend.takes.mark(id, self.studio.owner, star=on, **({"reject": False} if on else {}))
            self._marked(id, {"star": on})

    def _marked(self, id: str, marks: dict[str, object]) -> None:
        """The gallery marked a take: the bar shows it where that take is in hand."""
        if id != self.player.track.get("id"):
            return
        if "star" in marks or marks.get("reject"):
            self.player.starred = bool(marks.get("star")) and not marks.get("reject")

    def _show_star(self) -> None:
        """Whether the take in hand is starred, as the list shows it, or else as the library has it."""
        id = self.player.track.get("id")
        if id is None or not self.player.starrable:
            return
        card = next((card for card in self.studio.gallery.cards if card["id"] == id), None)
        self.player.starred = bool(self._kept_star(id) if card is None else card.get("star"))

    def _kept_star(self, id: str) -> bool:
        library = self.backend.session.library
        mine = self.backend.takes.owner_of(id) == self.studio.owner
        return mine and library.knows(id) and bool(library.marks(id).get("star"))

    def refreshed(self) -> None:
        self.top.banner = self.top.banner or self.backend.takes.owners.problem

    def _save_again(self) -> None:
        self.top.banner = self.backend.takes.keep_unsaved()
        self.studio.list_takes()


def about(session: SessionLike, checkpoint: str) -> list[str]:
    """A few facts on what is loaded, and on which machine where that is another one."""
    where = urlsplit(str(getattr(session, "url", ""))).netloc
    return [checkpoint, f"{session.tier.name} tier", *([where] if where else [])]

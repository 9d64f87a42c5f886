"""The daemon's backends: which checkpoint of which family stands behind "ace_step" and "musicgen", and how one is fetched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from acestep_lab.engines import registry
from acestep_lab.engines.offered import OfferedCheckpoint, offered
from acestep_lab.errors import LabError, sentence, shown
from acestep_lab.models.download import Progress, fetch
from acestep_lab.serve.jsonrpc import RpcError
from acestep_lab.serve.track_request import refusal
from acestep_lab.session_like import SessionLike

FAMILIES: Mapping[str, str] = {"ace_step": "ace-step-1.5", "musicgen": "musicgen"}
"""The family of engines behind each backend."""
Tell = Callable[[str, Mapping[str, Any]], None]
Fetch = Callable[[str, Callable[[Progress], None]], object]


def fetch_checkpoint(name: str, on_progress: Callable[[Progress], None]) -> object:
    """Fetch a checkpoint of the catalogs; DownloadError."""
    return fetch(name, registry.download(name), on_progress=on_progress)


class Backends:
    """The checkpoints of a session, by the names that clients of the daemon know."""

    def __init__(
        self,
        lab: SessionLike,
        families: Mapping[str, str] = FAMILIES,
        catalog: Callable[[], Iterable[OfferedCheckpoint]] = offered,
        fetch: Fetch = fetch_checkpoint,
    ) -> None:
        self._lab, self._families, self._catalog, self._fetch = lab, families, catalog, fetch
        self._usual = lab.name
        self._lock = threading.Lock()
        self._fetching: dict[str, list[Tell]] = {}  # by backend, with everybody who hears of it
        self._problems: dict[str, str] = {}

    @property
    def busy(self) -> bool:
        """Whether something is being fetched."""
        return bool(self._fetching)

    def choose(self, asked: str | None) -> tuple[str, str]:
        """Backend and checkpoint for what a client asked for, opened where it is not yet; RpcError where there is none."""
        if asked is None:
            return self._backend_of(self._usual), self._usual
        if asked in self._lab.checkpoints:
            return self._backend_of(asked), asked
        backend = self._named(asked)
        opened = [self._usual, *self._lab.checkpoints]
        found = next((name for name in opened if self._backend_of(name) == backend), None)
        return backend, found or self._open(backend)

    def rows(self) -> list[dict[str, Any]]:
        """Every backend and how it stands."""
        offers = list(self._catalog())
        usual = self._backend_of(self._usual)
        return [self._row(name, offers) for name in dict.fromkeys([usual, *self._families])]

    def download(self, asked: str, tell: Tell) -> tuple[dict[str, Any], Callable[[], None]]:
        """The answer to who wants a backend fetched, and what begins it; `tell` hears how far it is, from another thread."""
        backend = self._named(asked)
        missing = [one for one in self._catalog() if one.family == self._family(backend) and one.missing]
        installed = [one for one in self._catalog() if one.family == self._family(backend) and not one.missing]
        published = [one for one in installed if one.name != "pocket"]  # the pocket checkpoint is always there
        if published or not missing:
            names = [one.name for one in published or installed] or [self._usual]
            return {"backend": backend, "checkpoint": names[0], "status": "ready"}, lambda: None
        name = missing[0].name
        answer = {"backend": backend, "checkpoint": name, "status": "downloading"}
        return answer, lambda: self._begin(backend, name, tell)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _family(self, backend: str) -> str:
        return self._families.get(backend, backend)

    def _backend_of(self, checkpoint: str) -> str:
        family = self._lab.capabilities_of(checkpoint).family
        return next((name for name, behind in self._families.items() if behind == family), family)

    def _named(self, asked: str) -> str:
        plain = asked.lower().replace("-", "_")
        backend = {"acestep": "ace_step", "music_gen": "musicgen"}.get(plain, plain)
        usual = self._backend_of(self._usual)
        if backend in self._families or usual in (asked, backend):
            return backend if backend in self._families else usual
        there = ", ".join(dict.fromkeys([*self._families, usual]))
        raise refusal("INVALID_BACKEND", f"There is no backend {shown(asked)}; there are {there}.")

    def _open(self, backend: str) -> str:
        """Open the first checkpoint of a backend that is on this machine, a published one before the pocket one."""
        offers = [one for one in self._catalog() if one.family == self._family(backend)]
        here = sorted((one for one in offers if not one.missing), key=lambda one: one.name == "pocket")
        if not here:
            why = offers[0].missing if offers else "No checkpoint of it is known."
            raise refusal("BACKEND_NOT_INSTALLED", f"{backend} is not on this machine. {why}"[:300])
        try:
            with self._lock:
                self._lab.use(here[0].name)
        except LabError as problem:
            raise refusal("MODEL_LOAD_FAILED", str(problem)) from None
        return here[0].name

    def _row(self, backend: str, offers: Iterable[OfferedCheckpoint]) -> dict[str, Any]:
        opened = [name for name in self._lab.checkpoints if self._backend_of(name) == backend]
        kin = [one for one in offers if one.family == self._family(backend)]
        here = [*dict.fromkeys([*opened, *(one.name for one in kin if not one.missing)])]
        status = "ready" if here else "error" if backend in self._problems else "not_installed"
        row = {
            "name": backend, "backend": backend, "checkpoints": here, "installed": bool(here),
            "status": "downloading" if backend in self._fetching else status,
            "default": backend == self._backend_of(self._usual),
        }  # fmt: skip
        return row | ({"problem": self._problems[backend]} if backend in self._problems else {})

    def _begin(self, backend: str, name: str, tell: Tell) -> None:
        """Fetch a backend's checkpoint, or hear of the fetching that is under way."""
        with self._lock:
            if backend in self._fetching:
                self._fetching[backend].append(tell)
                return
            self._fetching[backend] = [tell]
            self._problems.pop(backend, None)
        threading.Thread(target=self._download, args=(backend, name), daemon=True, name="download").start()

    def _download(self, backend: str, name: str) -> None:
        about = {"backend": backend, "checkpoint": name}
        told = ("", -1)

        def show(progress: Progress) -> None:
            nonlocal told
            share = progress.done / max(progress.total, 1)
            now = (progress.path, int(20 * share))
            if now != told:
                told = now
                for tell in tuple(self._fetching[backend]):
                    tell("download_progress", about | _how_far(progress, share))

        try:
            self._fetch(name, show)
            end: tuple[str, dict[str, Any]] = ("download_complete", {})
        except (LabError, OSError) as problem:
            self._problems[backend] = sentence(problem)
            error: RpcError = refusal("MODEL_DOWNLOAD_FAILED", sentence(problem))
            end = ("download_error", {"code": error.name, "message": error.message, "recovery": error.hint})
        finally:
            with self._lock:
                hearing = self._fetching.pop(backend)
        for tell in hearing:
            tell(end[0], about | end[1])


def _how_far(progress: Progress, share: float) -> dict[str, Any]:
    """How far a download is: this file, and all of them counted as if they were of one size."""
    overall = (progress.number - 1 + share) / max(progress.of, 1)
    return {
        "component": progress.path, "component_percent": round(100 * share), "overall_percent": round(100 * overall),
        "bytes_downloaded": progress.done, "bytes_total": progress.total,
    }  # fmt: skip

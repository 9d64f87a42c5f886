"""The daemon's backends: which checkpoint of which family stands behind "ace_step" and "musicgen", and how one is fetched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from acestep_lab.engines import registry
from acestep_lab.engines.offered import OfferedCheckpoint, offered
from acestep_lab.errors import LabError, NotFoundError, sentence, shown
from acestep_lab.models.download import Progress, fetch
from acestep_lab.serve.jsonrpc import RpcError
from acestep_lab.serve.track_request import refusal
from acestep_lab.session_like import SessionLike

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "ace_step": ("ace-step-v1", "ace-step-1.5"),
    "musicgen": ("musicgen",),
    "ace_step_v1": ("ace-step-v1",),
    "ace_step_1.5": ("ace-step-1.5",),
}
"""The families of engines behind each backend, the one that is meant first first: by "ace_step" clients that know one ACE-Step,
which was v1 when they were written, mean v1 where it is on this machine, else 1.5; the last two name one of them.
"""
POCKET = "pocket"
"""The checkpoint that is always there, and is used where nothing else is."""
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
        families: Mapping[str, tuple[str, ...]] = FAMILIES,
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
        """Backend and checkpoint for what a client asked for, opened where it is not yet; RpcError where there is none.

        A backend is named, or a checkpoint by any of its names. The checkpoint that the daemon was started with is taken before
        others of its backend; the pocket one only where there is no other.
        """
        if asked is None:
            return self._backend_of(self._usual), self._usual
        if asked in self._lab.checkpoints:
            return self._backend_of(asked), asked
        if (backend := self._backend_named(asked)) is None:
            return self._checkpoint_named(asked)
        best = self._best(backend)
        return backend, best if best in self._lab.checkpoints else self._open(backend, best)

    def rows(self) -> list[dict[str, Any]]:
        """Every backend and how it stands."""
        offers = list(self._catalog())
        usual = self._backend_of(self._usual)
        return [self._row(name, offers) for name in dict.fromkeys([usual, *self._families])]

    def download(self, asked: str, tell: Tell) -> tuple[dict[str, Any], Callable[[], None]]:
        """The answer to who wants a backend fetched, and what begins it; `tell` hears how far it is, from another thread."""
        backend = self._named(asked)
        offers = self._of(backend)
        missing, installed = [one for one in offers if one.missing], [one for one in offers if not one.missing]
        published = [one for one in installed if one.name != POCKET]
        if published or not missing:
            names = [one.name for one in published or installed] or [self._usual]
            return {"backend": backend, "checkpoint": names[0], "status": "ready"}, lambda: None
        name = missing[0].name
        answer = {"backend": backend, "checkpoint": name, "status": "downloading"}
        return answer, lambda: self._begin(backend, name, tell)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _behind(self, backend: str) -> tuple[str, ...]:
        """The families behind a backend."""
        return self._families.get(backend, (backend,))

    def _of(self, backend: str) -> list[OfferedCheckpoint]:
        """The catalog's checkpoints of a backend, those of its first family first."""
        order = self._behind(backend)
        return sorted((one for one in self._catalog() if one.family in order), key=lambda one: order.index(one.family))

    def _backend_of(self, checkpoint: str) -> str:
        family = self._lab.capabilities_of(checkpoint).family
        return next((name for name, behind in self._families.items() if family in behind), family)

    def _backend_named(self, asked: str) -> str | None:
        """The backend that a client calls so; None where it is none's name."""
        plain = asked.lower().replace("-", "_")
        plain = {"acestep": "ace_step", "music_gen": "musicgen", "ace_step_15": "ace_step_1.5"}.get(plain, plain)
        usual = self._backend_of(self._usual)
        return plain if plain in self._families else usual if usual in (asked, plain) else None

    def _named(self, asked: str) -> str:
        if (backend := self._backend_named(asked)) is not None:
            return backend
        there = ", ".join(dict.fromkeys([*self._families, self._backend_of(self._usual)]))
        raise refusal("INVALID_BACKEND", f"There is no backend {shown(asked)}; there are {there}.")

    def _checkpoint_named(self, asked: str) -> tuple[str, str]:
        """A checkpoint of the catalog by one of its names, and its backend; RpcError where it is unknown or not here."""
        name = registry.catalog_name(asked)
        found = next((one for one in self._catalog() if one.name == name), None)
        if found is None:
            return self._named(asked), name
        if found.missing and name not in self._lab.checkpoints:
            raise refusal("MODEL_NOT_FOUND", found.missing[:300])
        backend = next((one for one, behind in self._families.items() if found.family in behind), found.family)
        return backend, name if name in self._lab.checkpoints else self._open(backend, name)

    def _best(self, backend: str) -> str:
        """The checkpoint of a backend that is on this machine and meant first; RpcError where none is."""
        order = self._behind(backend)
        opened = [name for name in self._lab.checkpoints if self._lab.capabilities_of(name).family in order]
        if self._usual in opened and self._usual != POCKET:
            return self._usual
        offers = self._of(backend)
        here = [(self._lab.capabilities_of(name).family, name) for name in opened]
        here += [(one.family, one.name) for one in offers if not one.missing and one.name not in opened]
        if not here:
            why = offers[0].missing if offers else "No checkpoint of it is known."
            raise refusal("BACKEND_NOT_INSTALLED", f"{backend} is not on this machine. {why}"[:300])
        return min(here, key=lambda one: (one[1] == POCKET, order.index(one[0])))[1]

    def _open(self, backend: str, name: str) -> str:
        """Open a checkpoint, which the lab then has beside the others."""
        try:
            with self._lock:
                self._lab.use(name)
        except LabError as problem:
            failed = "MODEL_NOT_FOUND" if isinstance(problem, NotFoundError) else "MODEL_LOAD_FAILED"
            raise refusal(failed, str(problem)) from None
        return name

    def _row(self, backend: str, offers: Iterable[OfferedCheckpoint]) -> dict[str, Any]:
        order = self._behind(backend)
        opened = [name for name in self._lab.checkpoints if self._lab.capabilities_of(name).family in order]
        kin = [one for family in order for one in offers if one.family == family]
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

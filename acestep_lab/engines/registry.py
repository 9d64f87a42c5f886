"""A name, a folder, a hub id or an entry point becomes an engine. Knows families by name only, and loads none before it is asked for.

A family is a module with `NAMES` (catalog names, for completion and the nearest-name hint), `entry(name)` (what the catalog says
of one), `claims(name_or_folder)` (whether it is this family's, looking at names and small JSON files only),
`open_engine(name_or_folder, lm)` and `download(name, lm)` (which files a name stands for). Families of other packages announce
such a module under the entry point group "acestep_lab.engines"; they are asked after our own, so that none of them can answer for
"pocket", and whatever they raise is a sentence that names them and closes no other family. Asking for names and entries loads
neither torch nor numpy.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from acestep_lab.engines.catalog_entry import CatalogEntry
from acestep_lab.errors import CheckpointError, EngineWarning, LabError, MachineError, NotFoundError, shown, warn_caller

if TYPE_CHECKING:
    from acestep_lab.engines.base import Engine
    from acestep_lab.models.download import FileSelection

GROUP = "acestep_lab.engines"
OWN: Mapping[str, str] = {
    "musicgen": "acestep_lab.engines.musicgen",
    "ace-step-v1": "acestep_lab.engines.ace_v1",
    "ace-step-1.5": "acestep_lab.engines.ace15",
}
"""Our own families, in the order they are asked; the last one explains what it does not know."""
T = TypeVar("T")


class Family(Protocol):
    """What a family's module offers."""

    @property
    def NAMES(self) -> tuple[str, ...]: ...

    def entry(self, name: str) -> CatalogEntry: ...
    def claims(self, name: str | os.PathLike[str]) -> bool: ...
    def download(self, name: str, lm: str | None = None) -> tuple[FileSelection, ...]: ...
    def open_engine(
        self, name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None, precision: object = "auto"
    ) -> Engine: ...


@dataclass(frozen=True)
class ForeignFamily:
    """Another package's family: what it raises becomes a sentence, and the names of our own families are not among its own."""

    name: str
    module: Any

    @property
    def NAMES(self) -> tuple[str, ...]:
        own = {name for family in _own().values() for name in family.NAMES}
        names = self._asked("say which names it has", lambda: tuple(str(name) for name in self.module.NAMES))
        return tuple(name for name in names if name not in own)

    def entry(self, name: str) -> CatalogEntry:
        """What its catalog says of a name; CheckpointError where it cannot say."""
        found = self._asked(f"tell of {shown(name, 60)}", lambda: self.module.entry(name))
        if not isinstance(found, CatalogEntry):
            raise CheckpointError(
                f"The engine family {shown(self.name)} of another package has no CatalogEntry for {shown(name)}."
            )
        return found

    def download(self, name: str, lm: str | None = None) -> tuple[FileSelection, ...]:
        """Which files a name stands for; CheckpointError where it cannot say."""
        return self._asked(f"say what {shown(name, 60)} consists of", lambda: tuple(self.module.download(name, lm)))

    def claims(self, name: str | os.PathLike[str]) -> bool:
        """Whether it says that a name or folder is its own; CheckpointError where it cannot say."""
        return self._asked("look at a name", lambda: bool(self.module.claims(name)))

    def open_engine(
        self, name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None, precision: object = "auto"
    ) -> Engine:
        """Its engine; CheckpointError where what it gives is none."""
        found = self._asked(f"open {shown(str(name), 60)}", lambda: self.module.open_engine(name, lm, precision))
        missing = [part for part in ("name", "capabilities", "component_specs", "resolve") if not hasattr(found, part)]
        if missing:
            raise CheckpointError(
                f"The engine family {shown(self.name)} of another package gave {shown(found)}, which has no {missing[0]}: it is "
                "no engine."
            )
        engine: Engine = found
        return engine

    def _asked(self, what: str, ask: Callable[[], T]) -> T:
        """What the other package answers; CheckpointError for anything that is no sentence of ours."""
        try:
            return ask()
        except LabError:
            raise
        except (Exception, SystemExit) as reason:
            raise CheckpointError(
                f"The engine family {shown(self.name)} of another package could not {what}: {_reason(reason)}. Update or "
                "uninstall it."
            ) from reason


def open_engine(
    name: str | os.PathLike[str] = "pocket", lm: str | os.PathLike[str] | None = None, precision: object = "auto"
) -> Engine:
    """The engine of a catalog name, a folder or a hub id; light: JSON only. CheckpointError where there is none.

    `lm` names another planner than the checkpoint's own, `precision` is "auto" or "int8"; a family that has no such thing
    says so.
    """
    try:
        return family_of(name).open_engine(name, lm, precision)
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        raise MachineError(
            "torch, which runs the models, is not installed here: `pip install torch`, or work with the models of another "
            'machine by Session.connect("http://gpu-box:8001").'
        ) from None


def family_of(name: str | os.PathLike[str]) -> Family:
    """The family that claims a name or folder, our own before others'; where none does, the one that says what is known of
    folders and hub ids.

    CheckpointError where two claim it, and with the nearest names of all families for a bare name that is none of theirs.
    """
    families = all_families()
    for kin in ([key for key in families if key in OWN], [key for key in families if key not in OWN]):
        claiming = [key for key in kin if _claims(families[key], name)]
        if len(claiming) > 1:
            raise CheckpointError(
                f"{shown(str(name), 110)} is claimed by two families of engines, {claiming[0]} and {claiming[1]}; a folder holds "
                "the files of one checkpoint, and a name is one package's."
            )
        if claiming:
            return families[claiming[0]]
    if _is_bare_name(name):
        raise NotFoundError(f"No checkpoint is called {shown(name)}; {_nearest(str(name))}")
    return families["ace-step-1.5"]


def _claims(family: Family, name: str | os.PathLike[str]) -> bool:
    """Whether a family claims a name; one that cannot say is passed over, with a warning."""
    try:
        return family.claims(name)
    except CheckpointError as problem:
        warn_caller(str(problem), EngineWarning)
        return False


def _nearest(name: str) -> str:
    """Half a sentence naming what somebody may have meant."""
    close = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return "`acestep-lab checkpoints` lists those there are; a folder or a hub id in the cache will do as well."


def _is_bare_name(name: object) -> bool:
    """Whether something can be a catalog's name only: neither a path, nor a folder here, nor a hub id."""
    if not isinstance(name, str) or not name.strip() or set(name) & set("/\\"):
        return False
    try:
        return not Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name that no disk has
        return False


def names() -> tuple[str, ...]:
    """Every checkpoint's catalog name, of all families."""
    return tuple(dict.fromkeys(name for family in reversed(all_families().values()) for name in family.NAMES))


def entries() -> tuple[CatalogEntry, ...]:
    """What the catalogs of all families say of their checkpoints, in the order of `names()`."""
    return tuple(family.entry(name) for family in reversed(all_families().values()) for name in family.NAMES)


def catalog_name(name: str) -> str:
    """The catalog name of a checkpoint by any name it was published under; the name itself where no catalog knows it."""
    for family in all_families().values():
        try:
            return family.entry(name).name
        except CheckpointError:
            continue
    return name


def download(name: str, lm: str | None = None) -> tuple[FileSelection, ...]:
    """Which files of which repos a catalog name or hub id, and a planner's name, stand for; none for what ships with a package.

    CheckpointError offers the nearest names, and says where a family has no planner.
    """
    return family_of(name).download(name, lm)


@cache
def all_families() -> dict[str, Family]:
    """Every family by its name: those of other packages first, then our own. One that cannot be loaded is left out with a
    warning (`EngineWarning`).
    """
    theirs = dict(_foreign(point for point in metadata.entry_points(group=GROUP) if point.name not in OWN))
    return theirs | _own()


def _own() -> dict[str, Family]:
    return {name: importlib.import_module(module) for name, module in OWN.items()}


def _foreign(points: Iterable[Any]) -> Iterable[tuple[str, Family]]:
    for point in points:
        try:
            family = ForeignFamily(point.name, point.load())
            missing = [
                part
                for part in ("claims", "download", "open_engine")
                if not callable(getattr(family.module, part, None))
            ]
            if missing:
                raise CheckpointError(f"it has no {missing[0]}(…)")
            for name in family.NAMES:
                family.entry(name)
        except (Exception, SystemExit) as reason:  # noqa: BLE001 - an import of somebody else's may raise anything
            warn_caller(
                f"The engine family {shown(point.name)} of another package is left out: {_reason(reason)}",
                EngineWarning,
            )
        else:
            yield point.name, family


def _reason(problem: BaseException) -> str:
    """What somebody else's code raised, on one line."""
    return shown(f"{type(problem).__name__}: {' '.join(str(problem).split())}", 120).strip("'\"")

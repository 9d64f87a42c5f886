"""The engines a session has open, and the machine they share. Knows engines by their contract; no words, no run.

Opening reads small files only. Components that two engines have in common are one in memory; what opening costs is said before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from acestep_lab.engines import registry
from acestep_lab.engines.base import Attaches, Engine, Located
from acestep_lab.engines.copies import CardCopy, can_be_copied, copies_on
from acestep_lab.engines.offered import licence_note
from acestep_lab.engines.step import Step
from acestep_lab.errors import CheckpointError, MachineError, shown
from acestep_lab.jobs.client import acting
from acestep_lab.models.cards import Placement, asked_cards, cards_here, name_of, placed
from acestep_lab.models.memory_plan import MemoryPlan, budget
from acestep_lab.models.shared_memory_plan import CheckpointCost
from acestep_lab.models.tiers import Machine, Tier, asked_device, asked_dtype
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.settings import VARIABLES, planner
from acestep_lab.takes.take import Take
from acestep_lab.versions import version_of

if TYPE_CHECKING:
    import torch

    from acestep_lab.models.device_manager import DeviceManager, Mover
    from acestep_lab.models.several_cards import CardsManager

    Manager = DeviceManager | CardsManager
    Movers = Callable[[MemoryPlan], Mover]

PACKAGES = ("acestep_lab", "torch", "diffusers", "transformers")
"""Whose versions a take remembers."""


def checkpoint_set() -> str:
    """The checkpoint that is opened where nobody names one: as ACESTEP_LAB_CHECKPOINT or a file of settings says, else the pocket."""
    return VARIABLES.get("ACESTEP_LAB_CHECKPOINT") or "pocket"


def planner_set(checkpoint: str | os.PathLike[str]) -> str | None:
    """The planner that ACESTEP_LAB_LM or a file of settings names, for a checkpoint that can be given one; None: its own."""
    named = VARIABLES.get("ACESTEP_LAB_LM")
    if named is None or not registry.open_engine(checkpoint).capabilities.takes_lm:
        return None
    return planner(named)


def asked_engine(
    checkpoint: str | os.PathLike[str] | None,
    lm: str | os.PathLike[str] | None = None,
    precision: Any = "auto",
    tier: Tier | None = None,
    device: object = None,
    dtype: object = None,
    devices: object = None,
) -> Engine:
    """The engine of a checkpoint; a name, tier, device, dtype or wish for cards that makes no sense is refused before anything is opened.

    Without a checkpoint it is the one of the settings, with the planner of the settings; one that is named has its own.
    """
    checks.instance("A tier", tier, (Tier, NoneType), " Tier.for_memory(8) gives one.")
    if checkpoint is None:
        checkpoint = checkpoint_set()
        lm = planner_set(checkpoint) if lm is None else lm
    named = checks.place("A checkpoint", checkpoint), None if lm is None else checks.place("A planner (lm)", lm)
    asked_device(device), asked_dtype(dtype), _wish(devices, device)
    return registry.open_engine(*named, precision=precision)


class OpenEngines:
    """Engines by name, one of them in use, and the device manager that holds their components."""

    def __init__(
        self, engine: Engine, tier: Tier | None = None, devices: Manager | object = None, device: object = None,
        dtype: object = None, cards: Sequence[Machine] | None = None, mover: Movers | None = None,
    ) -> None:  # fmt: skip
        """`devices` is a wish for cards, or what holds the components; `cards` are those there are, `mover` what carries
        components to one. Both are stand-ins in a test.
        """
        wish = _wish(devices, device)
        placement = None if wish is None else _placed(engine, wish, tier, cards)
        machine = Machine.for_session(tier, asked_device(device)) if placement is None else placement.main
        self.placement = placement
        self.tier = (tier or Tier.for_machine(machine)).computing_in(asked_dtype(dtype))
        self.devices: Manager = _managed(engine, machine, self.tier, placement, mover) if _is_wish(devices) else devices  # type: ignore[assignment]
        self._copies: tuple[CardCopy, ...] = ()
        if placement is not None:
            self._copies = copies_on(placement.copies, self.tier, lambda twin, plan: _devices(twin, plan, mover))
        self.current = engine
        self._lock = threading.RLock()
        self._first = self.devices.checkpoints[0]
        self._engines: dict[str, Engine] = {self._first: engine}
        engine.connect(self.devices.of(self._first))

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are open, the first one first."""
        return tuple(self._engines)

    # -- several -------------------------------------------------------------------------------------------------------

    def cost(self, name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None) -> CheckpointCost:
        """What opening a checkpoint would cost: bytes more, bytes shared, what makes room; nothing is loaded. One that is
        open costs nothing more, but for another planner.
        """
        name = checks.place("A checkpoint", name)
        engine = (self._engines.get(name) if lm is None else None) or self._unopened(name, lm)
        with self._lock:
            if lm is not None and self._has_other_planner(engine):
                return self.devices.cost_of_exchange(
                    engine.name, engine.component_specs(), passes=engine.passes, longest=engine.capabilities.seconds[1]
                )
            if self._is_open(engine):
                return self.devices.cost_of_open(self._key(self._engines[engine.name]))
            return self._cost(engine)

    def use(self, name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None) -> Engine:
        """Make a checkpoint the one in use, opened where it is not yet; CheckpointError where there is none."""
        name = checks.place("A checkpoint", name)
        engine = (self._engines.get(name) if lm is None else None) or self._unopened(name, lm)
        with self._lock:
            exchanged = lm is not None and self._has_other_planner(engine)
            self.current = self._exchanged(engine) if exchanged else self._opened(engine)
        return self.current

    def _unopened(self, name: str, lm: str | os.PathLike[str] | None) -> Engine:
        """A checkpoint's engine with a planner, computing as the open one of that name does; not yet among the open ones."""
        lm = None if lm is None else checks.place("A planner (lm)", lm)
        precision = getattr(self._engines.get(name), "precision", "auto")
        return registry.open_engine(name, lm) if precision == "auto" else registry.open_engine(name, lm, precision)

    def _has_other_planner(self, engine: Engine) -> bool:
        """Whether this very checkpoint is open, with another planner."""
        known = self._engines.get(engine.name)
        if not (isinstance(engine, Located) and isinstance(known, Located)) or known is engine:
            return False
        return known.location[:1] == engine.location[:1] and known.location != engine.location

    def _exchanged(self, engine: Engine) -> Engine:
        """Let an engine with another planner take the place of the open one of its name; its adapters come along."""
        known, longest = self._engines[engine.name], engine.capabilities.seconds[1]
        specs = engine.component_specs()
        self.devices.exchange(engine.name, specs, engine.build, passes=engine.passes, longest=longest)
        engine.connect(self.devices.of(engine.name))
        self._engines[engine.name] = engine
        if isinstance(engine, Attaches) and isinstance(known, Attaches) and known.attached:
            engine.attach(known.attached)
        return engine

    def named(self, name: str) -> Engine:
        """An open engine; CheckpointError where none of that name is open."""
        if not isinstance(name, str) or name not in self._engines:
            raise CheckpointError(
                f"No checkpoint {shown(name)} is open here; open are {', '.join(self._engines)}. Open it: lab.use(…)."
            )
        return self._engines[name]

    def asked(self, name: str | None) -> Engine:
        """An open engine by its name, the one in use where none is named; CheckpointError where it is not open."""
        return self.current if name is None else self.named(name)

    def of(self, recipe: Recipe) -> Engine:
        """The engine that makes a recipe: the one it names, else the one in use.

        A name in a recipe may come out of anybody's file, so that it opens what the catalog knows and nothing else; a folder
        is opened by `use`; and for the host alone. CheckpointError for any other name.
        """
        name = recipe.checkpoint
        current = self.current  # which another thread may change
        if name is None or name == current.name:
            return current
        if name in self._engines:
            return self._engines[name]
        if name not in registry.names():
            raise CheckpointError(
                f"The recipe asks for the checkpoint {shown(name)}, which is not open here; open are "
                f"{', '.join(self._engines)}. Open it first: lab.use(…)."
            )
        if acting()[0].owner:
            raise CheckpointError(
                f"The recipe asks for the checkpoint {shown(name)}, which only the host can open; open are "
                f"{', '.join(self._engines)}."
            )
        return self._opened(registry.open_engine(name))

    def maker_of(self, made: Take | Step) -> Engine:
        """The engine that made a take or a step: of a take the one its recipe names, else the open one it was made with; where
        that is not open, the one in use.
        """
        if isinstance(made, Take) and made.recipe.checkpoint is not None:
            return self.of(made.recipe)
        name = made.made_with.get("checkpoint") if isinstance(made, Take) else made.checkpoint
        return (self._engines.get(name) if isinstance(name, str) else None) or self.current

    def _opened(self, engine: Engine) -> Engine:
        """Let another engine share the machine; one that is open already stays. CheckpointError where another has its name."""
        with self._lock:
            if self._is_open(engine):
                return self._engines[engine.name]
            specs, longest = engine.component_specs(), engine.capabilities.seconds[1]
            self.devices.add(engine.name, specs, engine.build, passes=engine.passes, longest=longest)
            engine.connect(self.devices.of(engine.name))
            self._engines[engine.name] = engine
            return engine

    def _is_open(self, engine: Engine) -> bool:
        """Whether an engine is open already; CheckpointError where another one of its name is."""
        other = self._engines.get(engine.name)
        if other is not None and other is not engine and not _is_same(engine, other):
            raise CheckpointError(
                f"Another checkpoint called {shown(engine.name)} is open, from another folder or with another planner. "
                "Recipes name checkpoints, so rename this folder, or open it in a session of its own."
            )
        return other is not None

    def _cost(self, engine: Engine) -> CheckpointCost:
        longest = engine.capabilities.seconds[1]
        return self.devices.cost(engine.name, engine.component_specs(), passes=engine.passes, longest=longest)

    # -- the machine, as one engine has it -----------------------------------------------------------------------------

    def memory_plan(self, engine: Engine) -> MemoryPlan:
        """How an engine's components share the memory."""
        holder, key = self._holder(engine)
        plan = holder.plan_of(key)
        return replace(plan, spread=str(self.placement)) if self.cards(engine) > 1 else plan

    def has_planner(self, engine: Engine) -> bool:
        """Whether an engine has a planner and this machine has room for it."""
        return engine.capabilities.plans and "lm" not in self.memory_plan(engine).left_out

    def longest(self, engine: Engine) -> float:
        """The longest song, in seconds, that this machine has room for."""
        return float(self.memory_plan(engine).longest_seconds)

    def batch(self, engine: Engine) -> int:
        """How many songs may share a loop."""
        return self.memory_plan(engine).batch

    def fit_to(self, engine: Engine, seconds: float, takes: int) -> None:
        """Take up the memory plan for songs of so many seconds."""
        holder, key = self._holder(engine)
        holder.fit_to(seconds, takes, key)

    def device(self, engine: Engine) -> torch.device:
        """Where an engine works."""
        holder, key = self._holder(engine)
        return holder.device_of(key)

    def _holder(self, engine: Engine) -> tuple[Manager, str]:
        """What holds an engine's components, and under which name: a copy's are on another card."""
        for copy in self._copies:
            if copy.holds(engine) and copy.devices is not None:
                return copy.devices, engine.name
        return self.devices, self._key(engine)

    def cards(self, engine: Engine) -> int:
        """Over how many cards an engine's takes are spread."""
        return 1 + len(self._copies) if can_be_copied(engine) else 1

    def lanes(self, engine: Engine) -> tuple[CardLane, ...]:
        """The cards over which an engine's takes are spread, each with its copy; none where one device does the work."""
        if self.cards(engine) == 1:
            return ()
        assert self.placement is not None
        found = [CardLane(engine, name_of(self.placement.main), *self._holder(engine))]
        for copy in self._copies:
            twin = copy.twin(engine)
            found.append(CardLane(twin, name_of(copy.card), *self._holder(twin)))
        return tuple(found)

    def free(self) -> None:
        """Give back the memory of all components, on every card."""
        self.devices.free()
        for copy in self._copies:
            copy.free()

    def notifying(self, on_message: Callable[[str], None]) -> AbstractContextManager[None]:
        """For a time, tell somebody of every change of the memory plan."""
        return self.devices.notifying(on_message)

    def on_device(self) -> tuple[str, ...]:
        """The components of the engine in use that are on the device now."""
        key = self._key(self.current)
        return tuple(name for checkpoint, name in self.devices.places_on_device if checkpoint == key)

    def summary(self) -> str:
        """The rate of the engine in use and how much machine there is, and its licence where that asks something, in a line."""
        can = self.current.capabilities
        terms = licence_note(can.licence)
        return f"{can.latent.rate} Hz, {self.tier.name} tier{'. ' + terms if terms else ''}"

    def loading(self) -> str:
        """The component whose weights are being read now; "" where none are."""
        return self.devices.loading

    def plan_for(self, recipe: Recipe | None) -> MemoryPlan:
        """How the engine in use fits this machine, or the one that makes a recipe, for a song of its length."""
        checks.instance("What is explained", recipe, (Recipe, NoneType))
        plan = self.memory_plan(self.current if recipe is None else self.of(recipe))
        return plan if recipe is None else plan.fit(recipe)

    def explain(self, engine: Engine) -> str:
        """How an engine fits this machine, as a sentence."""
        return self.memory_plan(engine).summary()

    def made_with(self, engine: Engine) -> dict[str, Any]:
        """What a take should remember of the engine and the machine, as plain data."""
        import torch

        facts: Mapping[str, Any] = engine.made_with()
        return {
            **facts,
            "tier": self.tier.name,
            "device": str(self.device(engine)),
            "dtype": self.memory_plan(engine).dtype_name,
            "threads": torch.get_num_threads(),
            "versions": {name: version_of(name) for name in PACKAGES},
        }

    def _key(self, engine: Engine) -> str:
        own = engine.name if engine.name in self._engines else self._first  # it was open, with another planner
        return next((key for key, one in self._engines.items() if one is engine), own)


@dataclass(frozen=True)
class CardLane:
    """A card that makes a share of a run's takes: its engine, its name, and what holds its components."""

    engine: Engine
    card: str
    devices: Any
    key: str

    def fit_to(self, seconds: float, takes: int) -> None:
        """Take up the memory plan for songs of so many seconds."""
        self.devices.fit_to(seconds, takes, self.key)

    @contextmanager
    def giving_up(self, gives_up: Callable[[], bool], say: Callable[[str], None]) -> Iterator[None]:
        """For a time, memory that runs out here ends the work instead of making it leaner, where `gives_up()`."""
        self.devices.gives_up = gives_up
        try:
            with self.devices.notifying(say):
                yield
        finally:
            self.devices.gives_up = lambda: False


def _is_wish(devices: object) -> bool:
    """Whether cards are asked for, instead of a manager handed over."""
    return devices is None or not hasattr(devices, "run_with_retry")


def _wish(devices: object, device: object) -> str | None:
    """Which cards are asked for; None where one device does the work. MachineError where `device` names another one."""
    if not _is_wish(devices):
        return None
    if devices is None and device is not None:  # what a call says goes before what the environment says
        return None
    wish = asked_cards(devices)
    if wish is not None and devices is not None and asked_device(device) != "auto":
        raise MachineError(
            f"devices={wish!r} names cards and device={str(device)!r} one device; name one of them, not both."
        )
    return wish


def _placed(engine: Engine, wish: str, tier: Tier | None, cards: Sequence[Machine] | None) -> Placement | None:
    """Which component works on which card, each card made as small as a tier."""
    found = cards_here() if cards is None else cards
    if tier is not None:
        found = [Machine.for_tier(tier, {}, lambda card=card: card) for card in found]  # type: ignore[misc]
    return placed(wish, found, engine.component_specs(), lambda card, specs: budget(card, specs, passes=engine.passes))


def _managed(
    engine: Engine, machine: Machine, tier: Tier, placement: Placement | None, mover: Movers | None
) -> Manager:
    """What holds an engine's components, on one card or several."""
    if placement is None or not placement.is_split:
        return _devices(engine, _plan(engine, machine, tier), mover)
    from acestep_lab.models.several_cards import CardsManager

    return CardsManager(
        engine.build, engine.component_specs(), placement, tier, mover=mover, checkpoint=engine.name,
        passes=engine.passes, longest=engine.capabilities.seconds[1],
    )  # fmt: skip


def _is_same(one: Engine, other: Engine) -> bool:
    """Whether two engines are one checkpoint with one planner: by where their files are, else by their components' sizes."""
    if isinstance(one, Located) and isinstance(other, Located):
        return one.location == other.location
    mine, theirs = ([(spec.name, spec.bytes) for spec in engine.component_specs()] for engine in (one, other))
    return type(one) is type(other) and mine == theirs


def _devices(engine: Engine, plan: MemoryPlan, mover: Movers | None = None) -> DeviceManager:
    """What holds an engine's components; with it comes torch, which whoever draws a session elsewhere lacks."""
    from acestep_lab.models.device_manager import DeviceManager

    return DeviceManager(engine.build, plan, mover, checkpoint=engine.name)


def _plan(engine: Engine, machine: Machine, tier: Tier) -> MemoryPlan:
    """How an engine fits a machine."""
    return budget(
        machine, engine.component_specs(), passes=engine.passes, tier=tier, longest=engine.capabilities.seconds[1]
    )

"""Several cards in one machine: what is asked for, and which component works on which card. Knows no weights and moves nothing.

::

    asked_cards("dit:0,lm:1")                     # as it is written; MachineError for what is no such wish
    placed("dit:0,lm:1", cards_here(), specs)     # Placement: whose card is whose
    placed("auto", cards_here(), specs)           # by memory: takes spread over cards alike, or the planner on another one

Forms, those of ACESTEP_GPU_MAPPING and one more: `auto`; `single:1`; `dit:0,vae:0,text_encoder:0,lm:1`, where what is not
named works where the model does; and `0,1`, cards alike over which the takes of a run are spread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from acestep_lab.errors import MachineError, shown
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.memory_plan import MemoryPlan, budget
from acestep_lab.models.tiers import OFFLOAD_LEVELS, Machine, Tier, describe_device, devices_here
from acestep_lab.settings import CARD_FORMS, CARDS, VARIABLES

MAPPING_VARIABLE = "ACESTEP_GPU_MAPPING"
"""Environment variable for what is asked for where a session is opened without `devices`."""
THEIR_NAMES = {"text_encoder": "text"}
"""Components that the reference calls otherwise."""
ROLE_OF = {"dit": "loop", "vae": "decoder", "lm": "planner"}
"""What its words mean to a checkpoint that has no component of that name."""
KINDS = ("cuda", "xpu")
"""Devices of which a machine may have several."""


def asked_cards(devices: object = None, environ: Mapping[str, str] = VARIABLES) -> str | None:
    """A wish for cards as one word, out of a word, {"dit": 0, "lm": 1}, [0, 1], or (None) ACESTEP_GPU_MAPPING; None where there
    is none. MachineError for what is no such wish, a component named twice, or a card listed twice.
    """
    given = environ.get(MAPPING_VARIABLE) if devices is None else devices
    if given is None or given == "":
        return None
    text = _written(given)
    where = f" (from {MAPPING_VARIABLE})" if devices is None else ""
    if not re.fullmatch(CARDS, text):
        raise MachineError(f"Cards are asked for as {CARD_FORMS}, not as {shown(given)}{where}.")
    pairs = list(_pairs(text))
    names = [name for name, _ in pairs if name]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MachineError(f"{shown(text)}{where} gives the {twice} two cards; it works on one.")
    if names and len(names) < len(pairs):
        raise MachineError(
            f"{shown(text)}{where} mixes two wishes: a list of cards spreads takes, dit:0,lm:1 places components."
        )
    listed = [card for name, card in pairs if not name]
    if twice := next((card for card in listed if listed.count(card) > 1), None):
        raise MachineError(f"{shown(text)}{where} lists the card {twice} twice; each takes a share of the takes once.")
    return text


def _written(given: object) -> str:
    """A wish as one word, whatever it was given as."""
    if isinstance(given, Mapping):
        return ",".join(f"{name}:{card}" for name, card in given.items()).lower()
    if isinstance(given, list | tuple | range):
        return ",".join(str(card) for card in given).lower()
    return str(given).replace(" ", "").lower() if isinstance(given, str | int) else ""


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Component and card of each piece of a wish, "" for a card alone; "cuda:1" and "1" are one card."""
    for piece in () if text == "auto" else text.split(","):
        name, _, card = piece.rpartition(":")
        first, _, last = name.rpartition(":")
        name, card = (first, f"{last}:{card}") if last in KINDS else (name, card)
        yield THEIR_NAMES.get(name, name), card


def cards_here(environ: Mapping[str, str] = VARIABLES) -> tuple[Machine, ...]:
    """The cards of this machine, in the order of their numbers, each made smaller where MAX_CUDA_VRAM or its kin say so; of a
    machine without one, none.
    """
    here = devices_here()
    kind = next((kind for kind in KINDS if here[kind]), None)
    if kind is None:
        found = Machine.detect(environ)
        return () if found.kind == "cpu" else (found,)
    return tuple(Machine.detect(environ, lambda at=at: describe_device(kind, at)) for at in range(here[kind]))  # type: ignore[misc]


@dataclass(frozen=True)
class Placement:
    """Whose card is whose."""

    main: Machine
    """Where the model's loop works, and whatever has no card of its own."""
    elsewhere: Mapping[str, Machine]
    """Components that work on another card."""
    copies: tuple[Machine, ...] = ()
    """Cards like the main one that hold the whole checkpoint once more, so that takes are spread."""
    named: Mapping[str, Machine] | None = None
    """The wish by component, for checkpoints that are opened later."""

    def card_of(self, component: ComponentSpec) -> Machine:
        """Where a component works, of this checkpoint or of one that is opened beside it."""
        named = self.named or {}
        by_role = next(
            (named[word] for word, role in ROLE_OF.items() if role == component.role and word in named), None
        )
        return self.elsewhere.get(component.name) or named.get(component.name) or by_role or self.main

    @property
    def is_split(self) -> bool:
        """Whether components work on several cards."""
        return any(card != self.main for card in (self.named or self.elsewhere).values())

    def __str__(self) -> str:
        """ "lm on cuda:1, the rest on cuda:0", or how takes are spread."""
        if self.copies:
            return f"the takes of a run are spread over {_listed([self.main, *self.copies])}"
        if not self.elsewhere:
            return f"all of it on {name_of(self.main)}"
        moved = [f"{', '.join(names)} on {card}" for card, names in _by_card(self.elsewhere).items()]
        return f"{'; '.join(moved)}; the rest on {name_of(self.main)}"


def name_of(card: Machine) -> str:
    """ "cuda:1", of a card that is only simulated too."""
    return f"{card.kind}:{card.index or 0}"


def _listed(cards: Sequence[Machine]) -> str:
    names = [name_of(card) for card in cards]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _by_card(elsewhere: Mapping[str, Machine]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, card in elsewhere.items():
        found.setdefault(name_of(card), []).append(name)
    return found


Planned = Callable[[Machine, Sequence[ComponentSpec]], MemoryPlan]
"""How so many components would fit a card."""


def placed(
    wish: str, cards: Sequence[Machine], components: Sequence[ComponentSpec], plan: Planned | None = None
) -> Placement | None:
    """Which component works on which of these cards; None where the wish is "auto" and there is no choice.

    MachineError for a card that is not here, a component this checkpoint does not have, and cards that are not alike where takes
    are to be spread.
    """
    if wish == "auto":
        return _by_memory(cards, components, plan or _usual) if len(cards) > 1 else None
    pairs = [(name, _card(card, cards, wish)) for name, card in _pairs(wish)]
    if len(pairs) == 1 and pairs[0][0] == "single":
        return Placement(pairs[0][1], {})
    if not pairs[0][0]:
        return _spread([card for _, card in pairs])
    named = dict(pairs)
    owners = {name: _owners(name, components, wish) for name in named}
    every = {one: named[name] for name, found in owners.items() for one in found}
    loop = next((one.name for one in components if one.role == "loop"), components[0].name)
    main = every.get(loop) or cards[0]
    return Placement(main, {name: card for name, card in every.items() if card != main}, named=named)


def _card(number: str, cards: Sequence[Machine], wish: str) -> Machine:
    """The card of a number; MachineError, naming those that are here, where there is none."""
    kind, _, index = number.rpartition(":")
    for card in cards:
        if (card.index or 0) == int(index) and kind in ("", card.kind):
            return card
    here = f"here there is {_listed(cards)}" if cards else "here there is none, and the work is done on the CPU"
    raise MachineError(f"{shown(wish)} asks for card {number}; {here}.")


def _owners(name: str, components: Sequence[ComponentSpec], wish: str) -> list[str]:
    """The components that a word of a wish means; MachineError where this checkpoint has none."""
    own = [one.name for one in components if one.name == name]
    own = own or [one.name for one in components if one.role == ROLE_OF.get(name)]
    if not own and name != "lm":  # a planner may be handed over later, or have been left out
        listed = ", ".join(one.name for one in components)
        raise MachineError(f"{shown(wish)} names the component {shown(name)}; this checkpoint has {listed}.")
    return own


def _spread(cards: Sequence[Machine]) -> Placement:
    """The takes of a run over several cards; MachineError where they are not alike."""
    first = cards[0]
    if twice := next((card for card in cards if cards.count(card) > 1), None):
        raise MachineError(f"The card {name_of(twice)} is listed twice; each takes a share of the takes once.")
    if odd := next((card for card in cards if not are_alike(card, first)), None):
        raise MachineError(
            f"Takes are spread over cards that are alike, and {name_of(odd)} ({odd.name or odd.label}) is another than "
            f"{name_of(first)} ({first.name or first.label}); place components instead: dit:0,lm:1."
        )
    return Placement(first, {}, tuple(cards[1:]))


def are_alike(one: Machine, other: Machine) -> bool:
    """Whether two cards compute the same from the same: one make, one size."""
    return (one.kind, one.name, one.memory_bytes, one.bf16) == (other.kind, other.name, other.memory_bytes, other.bf16)


def _usual(card: Machine, components: Sequence[ComponentSpec]) -> MemoryPlan:
    return budget(card, components)


def _by_memory(cards: Sequence[Machine], components: Sequence[ComponentSpec], plan: Planned) -> Placement:
    """Takes spread where a whole checkpoint stays loaded on cards alike; else the planner elsewhere, the model and its decoder
    together as far as that is possible.
    """
    largest = max(cards, key=lambda card: card.memory_bytes if card.free_bytes is None else card.free_bytes)
    if _stays(plan(largest, components)):
        alike = tuple(card for card in cards if card is not largest and are_alike(card, largest))
        return Placement(largest, {}, tuple(card for card in alike if _stays(plan(card, components))))
    return min(_splits(cards, components), key=lambda one: _leanness(one, components, plan))


def _splits(cards: Sequence[Machine], components: Sequence[ComponentSpec]) -> Iterator[Placement]:
    """Everything on one card, then more and more of it on another: the planner, what reads words, the decoder."""
    yield from (Placement(card, {}) for card in cards)
    for away in (("planner",), ("planner", "encoder"), ("planner", "encoder", "decoder")):
        names = [one.name for one in components if one.role in away]
        if names and len(names) < len(components):
            yield from (Placement(main, dict.fromkeys(names, other)) for main, other in permutations(cards, 2))


def _leanness(placement: Placement, components: Sequence[ComponentSpec], plan: Planned) -> tuple[int, int, int, int]:
    """How much has to be given up: what does not fit or is left out, how far down the ladder, what works apart from the model,
    how little the main card is left.
    """
    plans = plans_of(placement, components, plan)
    lost = sum(not one.fits for one in plans) + sum(len(one.without) for one in plans)
    levels = sum(OFFLOAD_LEVELS.index(one.level) for one in plans if one.level in OFFLOAD_LEVELS)
    return lost, levels, len(placement.elsewhere), plans[0].need_bytes - plans[0].have_bytes


def plans_of(placement: Placement, components: Sequence[ComponentSpec], plan: Planned) -> list[MemoryPlan]:
    """How each card is used, the main one's first."""
    by_card: dict[Machine, list[ComponentSpec]] = {placement.main: []}
    for one in components:
        by_card.setdefault(placement.card_of(one), []).append(one)
    return [plan(card, specs) for card, specs in by_card.items() if specs]


def _stays(plan: MemoryPlan) -> bool:
    """Whether everything stays loaded."""
    return plan.fits and not plan.without and plan.level.name == "all"


def tier_of(card: Machine, tier: Tier) -> Tier:
    """The row for a card, computing as another row does."""
    return Tier.for_machine(card).computing_in(tier.dtype)

"""What a plan for memory must know of a component, as a value that an engine gives. Knows no model, no file and no tensor.

The list of components is open: an engine names what it is made of, and each is budgeted, moved and verified by its traits
instead of its name::

    ComponentSpec("dit", 3_150_917_760, "loop", label="DiT", int8=0.52, fp8=0.54, streams=True)
    ComponentSpec("vae", 337_390_852, "decoder", label="VAE")
    ComponentSpec("lm", 3_700_000_000, "planner", label="LM", optional=True)
    ComponentSpec("t5", 438_000_000)                        # an encoder: read once before the loop

The estimates of working memory are traced: every component at its published size on a pretended card, by the engines' own code
(`python -m tests.benchmarks.tier_table`). Of a loop of 3.15 GB, each take and pass holds the keys and values of 769 states of words
in 24 layers (84 MB) and 32 MB for each minute, both growing with the root of the weights; of a decoder 14 thousandths of its weights
for each latent frame of a tile (the last stage's activation, worked out in float32); of a planner, for each take, the keys and values
of two rows (guidance) and those of the prompt they were made from: 115 kB a token, 300 tokens a minute. An engine that knows better
says so (`working`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from acestep_lab.errors import MachineError, shown
from acestep_lab.models.stored_content import StoredContent
from acestep_lab.prompt.checks import is_a

ROLES = ("encoder", "loop", "decoder", "planner")
"""What a component does in a render: reads words, sounds or codes once before the loop; works at every step of it; turns
latents into sound (wanted beside the loop by whoever listens to a step); writes the plan, token by token."""

LOOP_BYTES_PER_TAKE, LOOP_BYTES_PER_MINUTE, LOOP_MEASURED_AT = (
    84e6,
    32e6,
    3.15e9,
)  # for each pass, at so many bytes in bf16
DECODER_SHARE_PER_FRAME = 0.0138  # of a decoder's weights, for each latent frame of a tile
FRAMES_PER_SECOND = 25.0  # of the latents of a decoder that says nothing else
TOKEN_BYTES, TOKEN_SHARE = (
    114_688,
    1e-4,
)  # keys and values of a token (28 layers, 8 heads of 128), of a tiny planner such a share
ROWS, PROMPT_TOKENS, TOKENS_PER_MINUTE = 2, 950, 300
"""Of a planner: rows of a take, and tokens of each; half of the prompt's are the room it is read in, held while the rows are made."""
ENCODER_SHARE = 0.04  # of the weights, over a few hundred tokens


@dataclass(frozen=True)
class WorkingMemory:
    """Bytes a component takes besides its weights while it works, at two bytes a number."""

    fixed: float = 0.0
    per_minute: float = 0.0  # for each minute of each take and each pass of a step
    per_tile_frame: float = 0.0  # for each latent frame decoded in one go
    per_take: float = 0.0  # for each take and each pass of a step, however long it is
    frames_per_second: float = math.inf  # of a latent; a piece shorter than a tile is its own tile

    def bytes(self, seconds: float, takes: int, passes: int, tile_frames: int) -> float:
        """Bytes for so many takes of so many seconds, each step in so many passes, decoded in tiles of so many frames."""
        each = self.per_take + self.per_minute * seconds / 60
        return (
            self.fixed
            + each * takes * passes
            + self.per_tile_frame * min(tile_frames, seconds * self.frames_per_second)
        )

    @classmethod
    def usual(cls, role: str, size: int) -> WorkingMemory:
        """What a component of this role and of so many bytes (bf16) usually takes."""
        if role == "loop":
            larger = math.sqrt(size / LOOP_MEASURED_AT)
            return cls(per_minute=LOOP_BYTES_PER_MINUTE * larger, per_take=LOOP_BYTES_PER_TAKE * larger)
        if role == "decoder":
            return cls(per_tile_frame=size * DECODER_SHARE_PER_FRAME, frames_per_second=FRAMES_PER_SECOND)
        if role == "planner":
            return cls.of_cache(min(TOKEN_BYTES, size * TOKEN_SHARE))
        return cls(fixed=size * ENCODER_SHARE)

    @classmethod
    def of_cache(cls, token_bytes: float) -> WorkingMemory:
        """What a planner takes whose keys and values are so many bytes a token."""
        each = ROWS * token_bytes
        return cls(per_take=each * PROMPT_TOKENS, per_minute=each * TOKENS_PER_MINUTE)


@dataclass(frozen=True)
class ComponentSpec:
    """One component of a checkpoint for the planner of memory; components are given in the order a render uses them."""

    name: str  # by which `DeviceManager.on` is asked for it
    bytes: int  # at two bytes a number (bf16), whatever is stored
    role: str = "encoder"  # of ROLES
    label: str = ""  # in sentences: "DiT"; "": the name
    int8: float | None = None  # share of `bytes` when its linear layers are kept in int8; None: never kept so
    fp8: float | None = None  # share of `bytes` when it is cast layer by layer; None: never
    streams: bool = False  # works through its own `forward` only, so that hooks can bring its blocks one at a time
    halves: bool = (
        False  # on a card without bfloat16 computes in float16, with float32 where it has to (`models.islands`)
    )
    optional: bool = False  # may be left out where there is no room for it
    working: WorkingMemory | None = None  # None: what is usual for its role and size
    content: StoredContent | None = None  # which weights it is, for sharing; None: changed in place, so never shared

    def __post_init__(self) -> None:
        if not is_a(self.name, str) or not self.name.strip():
            raise MachineError(f"A component has a name such as 'vae', not {shown(self.name)}.")
        if type(self.bytes) is not int or self.bytes < 0:
            raise MachineError(f"The size of {self.name} is a whole number of bytes, not {shown(self.bytes)}.")
        if self.role not in ROLES:
            raise MachineError(
                f"{self.name} has the role {shown(self.role)}; a component is {', '.join(ROLES[:-1])} or {ROLES[-1]}."
            )
        for kept in (self.int8, self.fp8):
            if kept is not None and not 0 < kept <= 1:
                raise MachineError(f"Kept in eight bits, {self.name} is a share of its size, not {shown(kept)} of it.")

    @property
    def title(self) -> str:
        """How a sentence calls it."""
        return self.label or self.name

    def share(self, stored: str) -> float | None:
        """Which share of `bytes` it is when stored as "int8" or "fp8"; None where it is kept in full."""
        return {"int8": self.int8, "fp8": self.fp8}.get(stored)

    def working_bytes(self, seconds: float, takes: int, passes: int, tile_frames: int) -> float:
        """Bytes besides its weights while it works, at two bytes a number."""
        working = self.working or WorkingMemory.usual(self.role, self.bytes)
        return working.bytes(seconds, takes, passes if self.role == "loop" else 1, tile_frames)


def checked(components: Iterable[ComponentSpec]) -> tuple[ComponentSpec, ...]:
    """Components as a tuple; MachineError where there is none, one is something else, or two have one name."""
    found = tuple(components)
    for one in found:
        if not is_a(one, ComponentSpec):
            raise MachineError(f"A plan for memory is made from ComponentSpec values, not {shown(one)}.")
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MachineError(f"Two components are called {shown(twice)}; each needs a name of its own.")
    if not found:
        raise MachineError(
            "A plan for memory needs at least one component, such as ComponentSpec('dit', bytes, 'loop')."
        )
    return found

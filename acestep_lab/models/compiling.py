"""What torch's compiler makes quicker, where somebody asks for it: the blocks of a model, with a first look that says how long it
takes, or a whole step of fixed shapes. Knows no model.

    compiling = BlockCompiling(compile_block)        # None: nothing is compiled
    compiling.take(dit.layers)                       # once, after building
    compiling.warm_up(lambda: ask(dit), say)         # before the loop: compiles, says so, says how long it took

Every block of a kind shares what is compiled for the first of them. Where the compiler fails, the blocks run as they are, and the
reason is said.

The two differ in what changes. A block of a DiT sees songs of every length, so it is compiled for all of them, and its module keeps its
names. A language model's step has one shape and its places stay, so it is compiled for just these, and on CUDA its kernels go into graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor, nn

from acestep_lab.errors import LabError

Compiler = Callable[[nn.Module], None]
"""Has a block compiled, in place, at its first look."""
Say = Callable[[str], None]


def compile_block(block: nn.Module) -> None:
    """Have a block compiled at its first look, for every length of song; its names stay. Needs a C++ compiler on a CPU."""
    block.compile(dynamic=True)


def compiled_step(step: Callable[[], None], state: Sequence[Tensor], places: Sequence[Tensor]) -> Callable[[], None]:
    """A recorder (`models.recording`): the step compiled when it is first run. LabError where the compiler fails."""
    from torch._dynamo.exc import TorchDynamoException

    for tensor in (*state, *places):
        torch._dynamo.mark_static_address(tensor)
    made = torch.compile(step, mode="reduce-overhead", fullgraph=True, dynamic=False)

    def play() -> None:
        try:
            made()
        except TorchDynamoException as error:
            raise LabError(f'lm_step "compile" does not work here: {_said(error)}. Set it to "auto".') from error

    return play


def _said(error: Exception) -> str:
    """What a compiler says first, on one line."""
    return " ".join(str(error).split("\n\n")[0].split())[:160].rstrip(".") or type(error).__name__


@dataclass(eq=False)
class BlockCompiling:
    """What compiles the blocks of a model that may be built several times; a `compiler` of None compiles nothing."""

    compiler: Compiler | None
    clock: Callable[[], float] = perf_counter
    seconds: float = 0.0
    """How long the last first look took."""
    reason: str = ""
    """Why nothing is compiled though it was asked for; "" while it is."""
    _waiting: list[nn.Module] = field(default_factory=list)

    def take(self, blocks: Iterable[nn.Module]) -> None:
        """Have these blocks compiled at their first look."""
        if self.compiler is None or self.reason:
            return
        self._waiting = list(blocks)
        for block in self._waiting:
            self.compiler(block)

    def warm_up(self, look: Callable[[], object], say: Say) -> None:
        """Take the first look now, if there is one to take, and say what it costs."""
        from torch._dynamo.exc import TorchDynamoException

        if not self._waiting:
            return
        say(f"Compiling the {len(self._waiting)} blocks of the DiT; the first song waits for it…")
        begun = self.clock()
        try:
            look()
        except TorchDynamoException as error:
            self._undo(error)
            say(f"The DiT runs without being compiled: {self.reason}")
        else:
            self.seconds = self.clock() - begun
            say(f"Compiled in {self.seconds:.0f} s; other lengths of song need no more of it.")
        self._waiting = []

    def _undo(self, error: Exception) -> None:
        """Let the blocks run as they are."""
        self.reason = _said(error)
        for block in self._waiting:
            block._compiled_call_impl = None

"""Blocks of a model compiled where somebody asks for it, with a first look that says how long it takes. Knows no model.

    compiling = BlockCompiling(compile_block)        # None: nothing is compiled
    compiling.take(dit.layers)                       # once, after building
    compiling.warm_up(lambda: ask(dit), say)         # before the loop: compiles, says so, says how long it took

Every block of a kind shares what is compiled for the first of them. Where the compiler fails, the blocks run as they are, and the
reason is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter

from torch import nn

Compiler = Callable[[nn.Module], None]
"""Has a block compiled, in place, at its first look."""
Say = Callable[[str], None]


def compile_block(block: nn.Module) -> None:
    """Have a block compiled at its first look, for every length of song; its names stay. Needs a C++ compiler on a CPU."""
    block.compile(dynamic=True)


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
        self.reason = " ".join(str(error).split("\n\n")[0].split())[:200] or type(error).__name__
        for block in self._waiting:
            block._compiled_call_impl = None

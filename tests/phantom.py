"""A card that is not there: models of any size run on a pretended device, on shapes only, in seconds and without memory.

::

    with PhantomCard() as card:
        dit = card.holds(build_on_meta(), torch.bfloat16)     # parameters and buffers on the card, no numbers in them
        with card.counting() as count:
            velocity(dit, card.tensor(1, 750, 64), …)
    count.peak, count.launches, count.copies

What it shows: a tensor left on the wrong side raises, as on a real card; a number asked for on the host (`.item()`, `.tolist()`,
`if tensor:`) raises, where a real card would wait; copies between the card and the host, kernels launched, and the peak of bytes
that live on the card are counted. Attention is one fused kernel here, as it is on a real card, so that peaks are a card's; so is `rms_norm`.

`PhantomCard(real_host=True)` leaves the host its numbers, so that an engine's own code runs through: only what is on the card is
shapes, and what comes from there to the host is made up. Waits outside of a loop (a library's own) are answered by name and number:
`with card.answering(0, 1): …`; a wait nobody answers raises.

How: torch lets Python stand in for a device (privateuse1, here "card"); under FakeTensorMode tensors have shapes, dtypes and
devices and no numbers. "cuda" cannot be pretended on a build of torch without it.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

NAME = "card"
VIEWS = frozenset(
    "alias as_strided detach diagonal expand narrow permute select slice split split_with_sizes squeeze t transpose unbind "
    "unfold unsqueeze view _unsafe_view _reshape_alias view_as_real view_as_complex lift_fresh".split()
)
"""Operators that launch nothing: their result is another look at the same memory."""

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "convolution", "fused_attention", "conv1d"})
"""Operators that do the work, whose dtype is the one that is planned."""


@cache
def device() -> torch.device:
    """The pretended device; torch can be told of it once in a process."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)
    # Whoever asks this process for its card from now on hears of this one: gradient checkpointing, for its autocast.
    getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    return torch.device(NAME)


@dataclass
class Count:
    """What happened on the card while it was counted."""

    peak: int = 0
    """Bytes: the most that lived on the card at once and was made while counting (weights are not)."""
    peak_at: str = ""
    launches: Counter[str] = field(default_factory=Counter)
    """Kernels launched, by operator; a fused attention is one."""
    products: Counter[torch.dtype] = field(default_factory=Counter)
    """In which dtype products, convolutions and attention gave their answers."""
    copies: list[tuple[str, str, int]] = field(default_factory=list)
    """Copies between sides: from, to, bytes."""

    @property
    def kernels(self) -> int:
        """Kernels launched, all together."""
        return sum(self.launches.values())


class PhantomCard:
    """Everything made inside has a shape, a dtype and a side, and no numbers."""

    def __init__(self, real_host: bool = False) -> None:
        self.device = device()
        self._stack, self._counts = ExitStack(), list[Count]()
        self.fake, self.real_host = FakeTensorMode(allow_non_fake_inputs=True), real_host
        self._answers: list[object] = []

    def __enter__(self) -> PhantomCard:
        self._stack.enter_context(torch.no_grad())
        if not self.real_host:
            self._stack.enter_context(self.fake)
        functions = _CardFunctions(self._counts, self.fake if self.real_host else None, self._answers)
        self._stack.enter_context(functions)
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def tensor(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """A tensor on the card."""
        return torch.empty(shape, device=self.device, dtype=dtype)

    def holds(self, module: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
        """The module with its parameters and buffers on the card (in `dtype` where they are floats); build it on meta. What is
        one tensor under two names stays one.
        """
        made: dict[int, Tensor] = {}
        for part in module.modules():
            for name, value in list(part._parameters.items()):
                if value is not None and id(value) not in made:
                    made[id(value)] = nn.Parameter(self._like(value, dtype), requires_grad=False)
                part._parameters[name] = value if value is None else made[id(value)]  # type: ignore[assignment]
            for name, value in list(part._buffers.items()):
                if value is not None:
                    part._buffers[name] = self._like(value, dtype)
        return module

    @contextmanager
    def answering(self, *answers: object, all_asked: bool = True) -> Iterator[None]:
        """What the host is told where it waits for a number of the card, in order; all of them have to be asked for."""
        self._answers[:] = answers
        yield
        assert not (all_asked and self._answers), f"nobody waited for {self._answers}"
        self._answers.clear()

    def _like(self, value: Tensor, dtype: torch.dtype | None) -> Tensor:
        kind = dtype if dtype is not None and value.is_floating_point() else value.dtype
        return torch.empty(value.shape, device=self.device, dtype=kind)

    @contextmanager
    def counting(self, *standing: object) -> Iterator[Count]:
        """Count from here to the end of the block; memory of `standing` (modules, tensors) was there before and is not counted."""
        count = Count()
        self._counts.append(count)
        try:
            with _Ledger(count, _storages(standing)):
                yield count
        finally:
            self._counts.remove(count)


class PhantomLanes:
    """Lanes of a pretended card (`models/lanes.py`): every copy at once and in order, as much free as is said."""

    def __init__(self, card: PhantomCard, free: int = 24 * 10**9) -> None:
        self.card, self.free, self.watch = card, free, None

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype)

    def room(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.card.device)

    def holds(self, tensor: Tensor) -> bool:
        return tensor.device.type == NAME

    def free_bytes(self) -> int:
        return self.free

    def copy(self, what: str, pairs: Sequence[tuple[Tensor, Tensor]], after: Iterable[object] = ()) -> None:
        for into, source in pairs:
            into.copy_(source)

    def mark(self) -> None:
        """Nothing is ever on its way."""

    def work_after(self, mark: object) -> None:
        """It is done already."""

    def wait(self, mark: object) -> None:
        """It is done already."""

    def seconds(self, since: object, until: object) -> float:
        return 0.0


def _storages(standing: tuple[object, ...]) -> list[Any]:
    tensors: list[Tensor] = []
    for one in standing:
        tensors += (
            [*one.parameters(), *one.buffers()] if isinstance(one, nn.Module)
            else [leaf for leaf in tree_leaves(one) if isinstance(leaf, Tensor)]
        )  # fmt: skip
    return [tensor.untyped_storage() for tensor in tensors]


class _Ledger(TorchDispatchMode):
    """Writes down what every operator brings to the card, takes from it and leaves on it."""

    def __init__(self, count: Count, standing: list[Any]) -> None:
        super().__init__()
        self.count, self.live = count, 0
        self.seen = WeakIdKeyDictionary()
        for storage in standing:
            self.seen[storage] = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        for one in given:
            self._stands(one)
        found = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        made = [one for one in tree_leaves(found) if isinstance(one, Tensor)]
        self._note_copy(name, given, made)
        idle = name == "to" and found is args[0]  # already there: nothing is launched
        if name.rstrip("_") not in VIEWS and not idle and any(one.device.type == NAME for one in made):
            self.count.launches[name] += 1
            if name in PRODUCTS:
                self.count.products[made[0].dtype] += 1
        for one in made:
            self._hold(one, name)
        return found

    def _note_copy(self, name: str, given: list[Tensor], made: list[Tensor]) -> None:
        """Between which sides bytes went: `copy_` writes into its first argument, all else makes what it gives."""
        into, come = (given[:1], given[1:]) if name == "copy_" else (made[:1], given[:1])
        sides = [one.device.type for one in (*come[:1], *into)]
        if len(set(sides)) > 1 and NAME in sides:
            self.count.copies.append((sides[0], sides[1], into[0].nbytes))

    def _stands(self, tensor: Tensor) -> None:
        """What is handed in and was never made here was there before."""
        if tensor.device.type == NAME and (storage := tensor.untyped_storage()) not in self.seen:
            self.seen[storage] = 0

    def _hold(self, tensor: Tensor, name: str) -> None:
        if tensor.device.type != NAME or (storage := tensor.untyped_storage()) in self.seen:
            return
        size = storage.nbytes()
        self.seen[storage] = size
        self.live += size
        weakref.finalize(storage, self._free, size)
        if self.live > self.count.peak:
            self.count.peak, self.count.peak_at = self.live, name

    def _free(self, size: int) -> None:
        self.live -= size


@cache
def _fused() -> Any:
    """One operator for attention, as a card has it: what comes in, what goes out, nothing between."""
    device()
    library = torch.library.Library("phantom", "FRAGMENT")
    library.define("fused_attention(Tensor query, Tensor key, Tensor value, Tensor? mask) -> Tensor")
    shape = torch.library.register_fake("phantom::fused_attention", lib=library)
    shape(lambda query, key, value, mask: query.new_empty((*query.shape[:-1], value.shape[-1])))
    _kept.append(library)
    return torch.ops.phantom.fused_attention.default


@cache
def _fused_norm() -> Any:
    """One operator for a norm of root mean squares, as a card has it."""
    device()
    library = torch.library.Library("phantom", "FRAGMENT")
    library.define("fused_rms_norm(Tensor x, Tensor? weight=None) -> Tensor")
    torch.library.register_fake("phantom::fused_rms_norm", lib=library)(lambda x, weight=None: torch.empty_like(x))
    _kept.append(library)
    return torch.ops.phantom.fused_rms_norm.default


_kept: list[Any] = []


class _CardFunctions(TorchFunctionMode):
    """What torch cannot do on a pretended device: one kernel for attention, and tensors made of the host's numbers."""

    def __init__(self, counts: list[Count], fake: FakeTensorMode | None, answers: list[object]) -> None:
        super().__init__()
        self.counts, self.fake, self.answers = counts, fake, answers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is torch.nn.functional.rms_norm and args[0].device.type == NAME:
            return _norm(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and _is_card(kwargs.get("device")):
            return self._carried(func, *args, **kwargs)
        if func is Tensor.__getitem__ and isinstance(args[1], list) and args[0].device.type == NAME:
            args = args[0], self._carried(torch.tensor, args[1], device=device())  # a list of places goes there first
        if func is Tensor.data_ptr and args[0].device.type == NAME:
            return args[0].untyped_storage()._cdata  # as good an address as any
        if func is Tensor.__bool__ and args[0].device.type == "meta":
            return True  # weights that are built without numbers are nowhere zero
        if func in _WAITS and self.answers and args[0].device.type == NAME:
            return self.answers.pop(0)
        if func in _WAITS_FOR_A_SIZE and self.answers and args[0].device.type == NAME:
            return args[0].new_empty(self.answers.pop(0), dtype=torch.int64)
        return func(*args, **kwargs) if self.fake is None else self._beside_a_real_host(func, args, kwargs)

    def _beside_a_real_host(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What is for the card is done on shapes; what comes from there to the host is full of halves, zeros and True."""
        assert self.fake is not None
        if not any(map(_names_card, tree_leaves((args, kwargs)))):
            return tree_map(_with_numbers, func(*args, **kwargs))
        if func is torch.nn.functional.pad:  # how far, as transformers says it: numbers that are tensors of the host
            args = (args[0], *tree_map(int, args[1:2]), *args[2:])
        args, kwargs = tree_map(self._pretended, (args, kwargs))
        with self.fake:
            found = func(*args, **kwargs)
        return tree_map(_with_numbers, found)

    def _pretended(self, value: Any) -> Any:
        """A tensor of the host as the card's side knows it: a shape."""
        assert self.fake is not None
        return (
            self.fake.from_tensor(value) if isinstance(value, Tensor) and not isinstance(value, FakeTensor) else value
        )

    def _carried(self, func: Any, data: Any, *, device: Any, **kwargs: Any) -> Tensor:
        """A tensor of the host's numbers: made there and copied, as torch does for a real card."""
        if isinstance(data, Tensor):
            return data.to(device, kwargs.get("dtype") or data.dtype)
        made = func(data, **kwargs)
        for count in self.counts:
            count.copies.append(("cpu", NAME, made.nbytes))
        return torch.empty(made.shape, dtype=made.dtype, device=device) if self.fake is None else self._empty(made)

    def _empty(self, like: Tensor) -> Tensor:
        assert self.fake is not None
        with self.fake:
            return torch.empty(like.shape, dtype=like.dtype, device=device())


_WAITS = (Tensor.item, Tensor.__int__, Tensor.__bool__, Tensor.__float__, Tensor.__index__, Tensor.tolist)

_WAITS_FOR_A_SIZE = (torch.bincount,)


def _with_numbers(value: Any) -> Any:
    """A tensor that has come to a real host from the card."""
    if not isinstance(value, FakeTensor) or value.device.type != "cpu":
        return value
    half = 0.5 if value.dtype.is_floating_point else int(value.dtype == torch.bool)
    with torch.utils._python_dispatch._disable_current_modes():
        return torch.full(value.shape, half, dtype=value.dtype)


def _names_card(value: Any) -> bool:
    """Whether a value is on the card, or is the card itself."""
    return (
        value.device.type == NAME
        if isinstance(value, Tensor)
        else isinstance(value, str | torch.device) and _is_card(value)
    )


def _is_card(device: Any) -> bool:
    return device is not None and str(device).partition(":")[0] == NAME


def _norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """RMSNorm: one kernel over rows that lie together where all is of one dtype, several otherwise."""
    if weight is not None and weight.dtype != x.dtype:
        with torch._C.DisableTorchFunction():
            return torch.nn.functional.rms_norm(x, shape, weight, eps)
    return _fused_norm()(x.contiguous(), weight)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    plain = torch._C._nn.scaled_dot_product_attention
    if query.device.type != NAME:
        with torch._C.DisableTorchFunction():
            return plain(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if len({one.dtype for one in (query, key, value)}) > 1:
        raise RuntimeError(f"attention of several dtypes: {query.dtype}, {key.dtype}, {value.dtype}")
    if attn_mask is not None and attn_mask.dtype not in (torch.bool, query.dtype):
        raise RuntimeError(f"an attention mask of {attn_mask.dtype} for queries of {query.dtype}")
    return _fused()(query, key, value, attn_mask)

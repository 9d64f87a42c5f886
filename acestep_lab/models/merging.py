"""Adapters made part of a checkpoint: a folder in the checkpoint's own layout whose transformer is base + adapters.

For whoever opens checkpoints and knows no adapter. Weights are written as they are stored, one layer at a time in memory; every
other file is linked where the disk can (no second copy), else copied. Opened by `Session.open(folder)` like the base.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import weights
from acestep_lab.models.adapters import Adapter, apply, check_fits
from acestep_lab.models.assembly import empty, read
from acestep_lab.models.catalog import TEXT_FOLDER, VAE_FOLDER
from acestep_lab.models.components import maker
from acestep_lab.models.loading import DIFFUSERS_FOLDERS, Checkpoint
from acestep_lab.models.weights import Entry

NOTE = "merged.json"
SMALL = 2**20
"""Bytes up to which a file is copied and not linked: configs are edited by hand."""
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
_BLOCK = 2**24


@dataclass(frozen=True)
class Merged:
    """A merged checkpoint on disk; print it for a sentence."""

    folder: Path
    layers: int
    """Linear layers that are others than the base's."""
    written: int
    """Bytes of weights written anew."""
    linked: int
    """Bytes of files shared with the base: they take no room of their own."""
    copied: int
    """Bytes of files copied as they are."""
    rounding: float
    """Share of the adapters' change that the stored type rounds away, |stored - exact| / |change|."""

    def __str__(self) -> str:
        shares = [f"{size(self.written)} written"]
        shares += [f"{size(self.linked)} linked, shared with the base"] if self.linked else []
        shares += [f"{size(self.copied)} copied"] if self.copied else []
        lost = "" if self.rounding < 1e-6 else f" The stored type rounds {self.rounding:.2%} of the change away."
        return f"{self.folder.name}: {self.layers} layers merged; {', '.join(shares)}.{lost}"


@dataclass(frozen=True, eq=False)
class Base:
    """A checkpoint as something that adapters can be merged into."""

    name: str
    make: Callable[[], nn.Module]
    """Its transformer without weights, to see whether an adapter fits."""
    entries: Mapping[str, Entry]
    """The transformer's stored tensors by the names that its module gives them."""
    targets: Callable[[Path, str], Iterable[tuple[Path, Path]]]
    """Each of its folders and where it goes in a draft for a name."""
    verify: Callable[[Path], None]
    """CheckpointError where what was written is no checkpoint of the kind."""
    beside: Path | None = None
    """A folder whose own small files go along."""


def base_of(checkpoint: Checkpoint) -> Base:
    """An ACE-Step 1.5 checkpoint as something to merge into."""
    return Base(
        checkpoint.name, maker(checkpoint, "dit"), checkpoint._entries("dit"),
        lambda draft, name: _targets(checkpoint, draft, name), lambda draft: Checkpoint.open(draft).verify("dit"),
        checkpoint.folder if checkpoint.layout == "diffusers" else None,
    )  # fmt: skip


@dataclass
class _Work:
    """A merge under way."""

    base: Base
    wanted: Sequence[tuple[Adapter, float]]
    linking: bool
    exact: bool
    sizes: dict[str, int] = field(default_factory=lambda: {"written": 0, "linked": 0, "copied": 0})
    change: float = 0.0
    lost: float = 0.0


def merge(
    base: Base | Checkpoint,
    wanted: Sequence[tuple[Adapter, float]],
    folder: Path,
    link: bool = True,
    exact: bool = False,
) -> Merged:
    """Write base + adapters as a new checkpoint folder, whole or not at all.

    `exact` stores what changes in float32 where the checkpoint has half precision. CheckpointError where an adapter does not
    fit, the folder holds something already, or the disk refuses.
    """
    base = base if isinstance(base, Base) else base_of(base)
    acting = [(adapter, strength) for adapter, strength in wanted if strength != 0.0]
    if not acting:
        raise CheckpointError("There is nothing to merge; name an adapter, such as 'zafu' or ('zafu', 0.8).")
    module = empty(base.make)
    for adapter, _ in acting:
        check_fits(adapter, module)
    work = _Work(base, acting, link, exact)
    draft = folder.with_name(f".draft-{secrets.token_hex(4)}-{folder.name}")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CheckpointError(f"{shown(folder.name)} holds something already; name another folder.")
        draft.mkdir(parents=True)
        layers = _write_all(work, draft, folder.name)
        base.verify(draft)
        if folder.exists():
            folder.rmdir()  # it is empty
        draft.rename(folder)
    except OSError as problem:
        raise CheckpointError(f"The merged checkpoint cannot be written ({problem.strerror or problem}).") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    rounding = (work.lost / work.change) ** 0.5 if work.change else 0.0
    return Merged(folder, layers, rounding=rounding, **work.sizes)


def size(count: int) -> str:
    """Bytes as a person says them."""
    return (
        f"{count / 1e9:.1f} GB"
        if count >= 1e9
        else f"{count / 1e6:.1f} MB"
        if count >= 1e6
        else f"{count / 1e3:.0f} kB"
    )


# -- files -------------------------------------------------------------------------------------------------------------


def _write_all(work: _Work, draft: Path, name: str) -> int:
    """Every file of the checkpoint, the transformer's with other numbers; how many layers changed."""
    entries = work.base.entries
    changed = _changed(work, entries)
    by_file: dict[Path, dict[str, str]] = {}
    for tensor in changed:
        by_file.setdefault(entries[tensor].file, {})[entries[tensor].key] = tensor
    for place, target in work.base.targets(draft, name):
        for file in _files(place):
            into = target / file.relative_to(place)
            into.parent.mkdir(parents=True, exist_ok=True)
            if file in by_file:
                _rewrite(work, file, into, by_file[file], entries)
            else:
                _share(work, file, into)
    _root_files(work, draft)
    note = {"checkpoint": work.base.name, "adapters": {one.name: strength for one, strength in work.wanted}}
    (draft / NOTE).write_text(json.dumps(note, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return len({_layer(tensor) for tensor in changed})


def _targets(checkpoint: Checkpoint, draft: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """Each folder of the checkpoint, and where it goes; the published transformer's gets a name of its own."""
    places = checkpoint.places
    if checkpoint.layout == "diffusers":
        yield from ((place, draft / DIFFUSERS_FOLDERS[component]) for component, place in places.items())
        if (scheduler := checkpoint.folder / "scheduler").is_dir():
            yield scheduler, draft / "scheduler"
        return
    own = places["dit"]
    yield own, draft / (f"{own.name}-{name}" if _is_free(checkpoint) else own.name)
    yield places["vae"], draft / VAE_FOLDER
    yield places["text"], draft / TEXT_FOLDER
    if "lm" in places:
        yield places["lm"], draft / places["lm"].name


def _is_free(checkpoint: Checkpoint) -> bool:
    """Whether a published transformer is sampled by its config alone, whatever its folder is called."""
    from acestep_lab.models import catalog

    told = catalog.inferred(Path("another name"), checkpoint.config("dit"))
    return told.kind == checkpoint.row.kind


def _files(place: Path) -> list[Path]:
    """All files below a folder, without what is hidden."""
    found = sorted(one for one in place.rglob("*") if one.is_file())
    return [one for one in found if not any(part.startswith(".") for part in one.relative_to(place).parts)]


def _root_files(work: _Work, draft: Path) -> None:
    """What lies beside a diffusers checkpoint's components: its index, our own settings, a licence."""
    if work.base.beside is None:
        return
    for file in sorted(work.base.beside.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.name != NOTE and file.stat().st_size <= SMALL:
            _share(work, file, draft / file.name)


def _share(work: _Work, file: Path, into: Path) -> None:
    """A file as it is: linked where it is large and the disk can, else copied."""
    real = file.resolve()  # the hub's cache has links to its blobs
    count = real.stat().st_size
    if work.linking and count > SMALL:
        try:
            os.link(real, into)
            work.sizes["linked"] += count
            return
        except OSError:  # another disk, or one without links
            pass
    shutil.copyfile(real, into)
    work.sizes["copied"] += count


# -- numbers -----------------------------------------------------------------------------------------------------------


def _layer(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _changed(work: _Work, entries: Mapping[str, Entry]) -> list[str]:
    """Which stored tensors will be others."""
    layers = {layer for adapter, _ in work.wanted for layer in adapter.layers}
    biased = {layer for adapter, _ in work.wanted if adapter.biases for layer in adapter.layers}
    found = [f"{layer}.weight" for layer in layers] + [f"{layer}.bias" for layer in biased]
    missing = sorted(name for name in found if name not in entries)
    if missing:
        raise CheckpointError(
            f"{shown(missing[0])} is adapted and has no place in this checkpoint's files, so that it cannot be merged."
        )
    odd = sorted(name for name in found if entries[name].dtype not in DTYPES)
    if odd:
        raise CheckpointError(
            f"{shown(odd[0])} is stored as {entries[odd[0]].dtype}, into which nothing can be merged."
        )
    return found


def merged_layer(
    wanted: Sequence[tuple[Adapter, float]], name: str, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of one linear layer with adapters merged in, float32; whatever their kinds, since they act linearly."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight.data = weight
    if bias is not None:
        linear.bias.data = bias
    tree = _tree(name, linear)
    apply(tree, [(replace(one, layers={name: one.layers[name]}), s) for one, s in wanted if name in one.layers])
    with torch.inference_mode():
        adapted: Any = tree.get_submodule(name)
        offset = adapted(torch.zeros(1, weight.shape[1]))[0]
        found = (adapted(torch.eye(weight.shape[1])) - offset).T.contiguous()
    return found, None if bias is None else offset


def _tree(name: str, leaf: nn.Module) -> nn.Module:
    """A module that has one layer, by its name."""
    for part in reversed(name.split(".")):
        parent = nn.Module()
        parent.add_module(part, leaf)
        leaf = parent
    return leaf


def _new(work: _Work, tensor: str, entries: Mapping[str, Entry], dtype: torch.dtype) -> Tensor:
    """One tensor with the adapters in it, as it will be stored."""
    layer = _layer(tensor)
    names = [name for name in (f"{layer}.weight", f"{layer}.bias") if name in entries]
    stored = read({name: entries[name] for name in names}, torch.float32)
    table = stored[f"{layer}.weight"].flatten(1).clone()  # a convolution over single frames is one too
    weight, bias = merged_layer(work.wanted, layer, table, stored.get(f"{layer}.bias"))
    exact = weight.reshape(stored[f"{layer}.weight"].shape) if tensor.endswith(".weight") else bias
    assert exact is not None
    kept = exact.to(dtype)
    work.change += float((exact - stored[tensor]).double().square().sum())
    work.lost += float((kept.float() - exact).double().square().sum())
    return kept


def _rewrite(work: _Work, file: Path, into: Path, names: Mapping[str, str], entries: Mapping[str, Entry]) -> None:
    """A safetensors file with some of its tensors made anew, everything else byte for byte."""
    table, start, _ = weights.header_table(file)
    note = table.pop("__metadata__", None)
    order = sorted(table, key=lambda key: table[key]["data_offsets"])
    header, at = ({} if note is None else {"__metadata__": note}), 0
    for key in order:
        fact = dict(table[key])
        if key in names and work.exact and fact["dtype"] in ("F16", "BF16"):
            fact["dtype"] = "F32"
        first, last = table[key]["data_offsets"]
        count = (last - first) * (2 if fact["dtype"] != table[key]["dtype"] else 1)
        header[key], at = fact | {"data_offsets": [at, at + count]}, at + count
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head = head.ljust(-(-len(head) // 8) * 8)
    with file.open("rb") as old, into.open("wb") as new:
        new.write(len(head).to_bytes(8, "little") + head)
        for key in order:
            if key in names:
                tensor = _new(work, names[key], entries, DTYPES[header[key]["dtype"]])
                new.write(tensor.contiguous().view(torch.uint8).numpy().data)
            else:
                first, last = table[key]["data_offsets"]
                _pass_on(old, new, start + first, last - first)
        work.sizes["written"] += new.tell()
        new.flush()
        os.fsync(new.fileno())


def _pass_on(old: BinaryIO, new: BinaryIO, start: int, count: int) -> None:
    """So many bytes as they are."""
    old.seek(start)
    while count:
        block = old.read(min(_BLOCK, count))
        if not block:
            raise CheckpointError("The checkpoint's file ends early; fetch it again.")
        new.write(block)
        count -= len(block)

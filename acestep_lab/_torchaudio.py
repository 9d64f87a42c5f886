"""A broken torchaudio made harmless, and the one thing we ask of a working one.

It knows nothing of music or models. The wheel of torchaudio found next to a CPU build of torch (or next to a newer torch)
often cannot load its compiled half, and then `import torchaudio` raises `OSError`. Because transformers and diffusers
import torchaudio whenever it is *installed*, such a wheel takes both of them down with it. Nothing they or we use lives in
the compiled half, so `patch_torchaudio()` lets the Python half stand alone. `_libraries` calls it before it imports one of them;
nobody else has to.

A torchaudio that loads is left exactly as it is: the patch is a hook on the import of `torchaudio._extension` that first runs the
real thing and steps in only when that raises.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import MachineError

if TYPE_CHECKING:
    from torch import Tensor

_EXTENSION = "torchaudio._extension"
_log = logging.getLogger(__name__)


def patch_torchaudio() -> None:
    """Make `import torchaudio` succeed whether or not its compiled half loads.

    Cheap (no torch, no torchaudio is imported) and idempotent. Half-imported remains of an earlier, failed
    `import torchaudio` are dropped, so the next attempt starts afresh.
    """
    if "torchaudio" in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    for name in [name for name in sys.modules if name.startswith("torchaudio.")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder())


def state() -> str:
    """ "absent", "works" or "patched": how torchaudio stands on this machine (imports it, and torch, to know)."""
    patch_torchaudio()
    if importlib.util.find_spec("torchaudio") is None:
        return "absent"
    import torchaudio

    return "works" if torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE else "patched"


def mel(samples: Tensor, rate: int, bins: int = 128, window: int = 2048, hop: int = 512) -> Tensor:
    """Power mel spectrogram `[..., bins, frames]` of `[..., samples]`, on the device of the samples."""
    spectrogram = _torchaudio().transforms.MelSpectrogram(
        sample_rate=rate, n_fft=window, hop_length=hop, n_mels=bins, norm="slaney", mel_scale="slaney"
    )
    return spectrogram.to(samples.device)(samples)


def _torchaudio() -> Any:
    patch_torchaudio()
    if importlib.util.find_spec("torchaudio") is None:
        raise MachineError(
            "Mel spectrograms on the accelerator need torchaudio, which is not installed: "
            "`pip install torchaudio` (a wheel whose compiled half does not load is good enough)."
        )
    import torchaudio

    return torchaudio


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `torchaudio._extension` like Python does, and wraps its loader; blind to every other name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _EXTENSION:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Runs the real extension module; when its compiled half does not load, leaves the module saying so."""

    def __init__(self, real: importlib.abc.Loader):
        self.real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.real.exec_module(module)
        except (OSError, ImportError, RuntimeError) as reason:  # not loadable, not found, other CUDA version
            _log.info("torchaudio's compiled half does not load (%s); its Python half is used alone.", reason)
            _say_there_is_no_extension(module)


def _say_there_is_no_extension(module: ModuleType) -> None:
    """Give the module the names torchaudio looks up there, each saying "no extension"."""
    facts: dict[str, Any] = {
        "_IS_TORCHAUDIO_EXT_AVAILABLE": False,
        "_IS_ALIGN_AVAILABLE": False,
        "_IS_RIR_AVAILABLE": False,
        "_check_cuda_version": lambda: None,
        "_load_lib": lambda name: False,
        "fail_if_no_align": _refuse("forced alignment"),
        "fail_if_no_rir": _refuse("room impulse responses"),
    }
    module.__dict__.update(facts)


def _refuse(what: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """A decorator: the function it decorates only says why it cannot run."""

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        def refuse(*args: object, **kwargs: object) -> object:
            raise MachineError(
                f"torchaudio's {what} ({function.__name__}) needs its compiled half, which does not load on this "
                "machine: install the torchaudio that matches this torch."
            )

        return refuse

    return decorate

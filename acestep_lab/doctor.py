"""Looks a machine over: what works, what does not, and what helps. Every finding is a value; nothing here raises.

    for finding in examine("turbo"):
        print(finding)

Each check is a small function that returns findings; what it needs to know is handed in, so that a test can play a machine
that is broken in a certain way. Weights are looked at by their headers and never read, so a full-size checkpoint takes no longer
than a small one (unless `deep`, which reads every file for its checksum).
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from acestep_lab.errors import CheckpointError, LabError
from acestep_lab.settings import NOT_NEEDED, VARIABLES, Settings

if TYPE_CHECKING:
    from acestep_lab.engines.base import Engine
    from acestep_lab.models.component_spec import ComponentSpec
    from acestep_lab.models.memory_plan import MemoryPlan
    from acestep_lab.models.tiers import Machine, Tier

STATES = ("ok", "warn", "bad")
PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its state, what is so, and what would help."""

    name: str
    state: str  # of STATES
    message: str
    fix: str = ""

    def __str__(self) -> str:
        mark = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}[self.state]
        return f"{mark}  {self.name:<12} {self.message}" + (f"\n{'':>19}→ {self.fix}" if self.fix else "")


Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class DeviceRequest:
    """The device and dtype a session would be opened with; None: what the environment says."""

    device: str | None = None
    dtype: str | None = None
    devices: str | None = None

    def machine(self, environ: Mapping[str, str] = VARIABLES) -> Machine:
        """The device that is meant; MachineError where it is not here."""
        from acestep_lab.models.tiers import Machine, asked_device

        return Machine.on(asked_device(self.device, environ), environ)

    def tier(self, machine: Machine, environ: Mapping[str, str] = VARIABLES) -> Tier:
        """The row for a machine, computing in the dtype that is meant."""
        from acestep_lab.models.tiers import Tier, asked_dtype

        return Tier.for_machine(machine).computing_in(asked_dtype(self.dtype, environ))


def examine(
    checkpoint: str | Path = "pocket",
    deep: bool = False,
    checks: Sequence[Check] | None = None,
    requested: DeviceRequest | None = None,
) -> list[Finding]:
    """Everything that can be said of this machine and one checkpoint, the foundations first.

    `requested` is the device and dtype a session would be opened with; None: ACESTEP_DEVICE and ACESTEP_DTYPE.
    """
    whole: tuple[Check, ...] = (
        python,
        libraries,
        torch_build,
        torchaudio,
        partial(device, requested),
        partial(several_cards, requested, checkpoint),
        codecs,
        browser_modules,
        disk,
        partial(cached, deep),
        partial(checkpoint_files, checkpoint, requested=requested),
        partial(settings, requested),
        server,
        features,
    )
    usual = whole if find_spec("torch") is not None else _LAPTOP
    return [finding for check in (usual if checks is None else checks) for finding in _safely(check)]


_CHECK_ERRORS = (LabError, OSError, ImportError, RuntimeError, ValueError, TypeError, AttributeError, KeyError)


def _safely(check: Check) -> Iterator[Finding]:
    """What a check finds; that it could not look is a finding too."""
    name = getattr(check, "func", check).__name__
    try:
        yield from list(check())
    except LabError as error:
        yield Finding(name, "bad", str(error))
    except _CHECK_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        yield Finding(name, "bad", f"could not be examined ({type(error).__name__}: {reason})", _REINSTALL)


_REINSTALL = "Reinstall in a fresh environment: `pip install --upgrade acestep_lab`."


def python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Iterator[Finding]:
    """Whether this Python is new enough."""
    summary = f"Python {'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if version < (3, 11):
        yield Finding("python", "bad", summary, "Python 3.11 or newer is needed.")
    else:
        yield Finding("python", "ok", summary)


@dataclass(frozen=True)
class TorchBuild:
    """How torch was built and what is beside it."""

    version: str
    built_for: str  # "cpu", "CUDA 12.8", "ROCm 6.2", "Apple GPU", "Intel GPU"
    sees_device: bool
    has_nvidia_driver: bool
    capability: tuple[int, int] | None = None

    @classmethod
    def installed(cls) -> TorchBuild:
        """The torch of this environment."""
        import torch

        cuda, hip = torch.version.cuda, torch.version.hip
        built_for = f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "cpu"
        xpu = torch.version.xpu if hasattr(torch.version, "xpu") else None
        if torch.backends.mps.is_built():
            built_for = "Apple GPU"
        elif xpu:
            built_for = "Intel GPU"
        sees = torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()
        driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
        capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
        return cls(torch.__version__, built_for, sees, driver, capability)


def torch_build(build: TorchBuild | None = None) -> Iterator[Finding]:
    """Whether torch is built for what is in the machine."""
    build = build or TorchBuild.installed()
    summary = f"torch {build.version}, built for {build.built_for}"
    if build.built_for == "cpu" and build.has_nvidia_driver:
        fix = "Install the CUDA build of torch (pytorch.org, “Get Started”); everything runs on the CPU until then."
        yield Finding("torch", "warn", f"{summary}, though there is an NVIDIA driver", fix)
    elif build.built_for.startswith("CUDA") and not build.sees_device:
        fix = (
            "Check `nvidia-smi`; the driver may be too old for this build, or the card hidden by CUDA_VISIBLE_DEVICES."
        )
        state = "warn" if build.has_nvidia_driver else "ok"
        yield Finding("torch", state, f"{summary}, and sees no card", fix if state == "warn" else "")
    elif build.capability is not None and build.capability < (8, 0):
        older = f"{summary}; the card (compute capability {build.capability[0]}.{build.capability[1]}) has no bf16 of its own"
        yield Finding(
            "torch", "warn", older,
            "The DiT of ACE-Step 1.5 computes in float16; all else in float32, which doubles its size: choose a smaller LM.",
        )  # fmt: skip
    else:
        yield Finding("torch", "ok", summary)


def torchaudio(state: str | None = None) -> Iterator[Finding]:
    """The torchaudio trap: a wheel whose compiled half does not load takes diffusers and transformers down with it."""
    from acestep_lab import _torchaudio

    state = state or _torchaudio.state()
    findings = {
        "works": Finding("torchaudio", "ok", "loads whole"),
        "patched": Finding("torchaudio", "ok", "its compiled half does not load; made harmless, its Python half is used"),
        "absent": Finding(
            "torchaudio", "warn", "is not installed: no mel spectrograms on the accelerator",
            "`pip install torchaudio` (any version; one whose compiled half does not load will do).",
        ),
    }  # fmt: skip
    yield findings[state]


def libraries(
    requirements: Callable[[], Iterable[str]] | None = None, installed: Callable[[str], str | None] = metadata.version
) -> Iterator[Finding]:
    """Whether every library that this package was installed for is here, and neither too old nor too new."""
    try:
        required = (requirements or _requirements)()
    except metadata.PackageNotFoundError:
        summary = "acestep_lab was copied here and not installed, so nothing says which libraries it needs"
        yield Finding("libraries", "warn", summary, "`pip install .` in its folder.")
        return
    wrong = [(one, problem) for one in map(Requirement, required) if (problem := _problem(one, installed))]
    if wrong:
        names = " ".join(f"'{one.name}{one.specifier}'" for one, _ in wrong)
        summary = "; ".join(f"{one.name} {problem}" for one, problem in wrong)
        yield Finding("libraries", "bad", summary, f"`pip install --upgrade {names}`")
    else:
        told = {Requirement(one).name for one in required} & {"diffusers", "transformers"} or {"numpy", "panel"}
        named = ", ".join(f"{name} {installed(name)}" for name in sorted(told))
        yield Finding("libraries", "ok", named)


def _requirements() -> list[str]:
    """What `pip install acestep_lab` asks for, extras left out."""
    return metadata.requires("acestep_lab") or []


def _problem(requirement: Requirement, installed: Callable[[str], str | None]) -> str:
    """What is wrong with a library, after its name; "" where it is as required, or not required here."""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return ""
    try:
        version = installed(requirement.name)
    except metadata.PackageNotFoundError:
        return "is not installed"
    if not version:
        return "is installed, but its records are damaged"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{version} is not {requirement.specifier}"


MODEL_PACKAGES = (
    "accelerate", "diffusers", "hf-xet", "huggingface-hub", "llguidance", "peft", "torch", "torchaudio", "transformers",
)  # fmt: skip
"""What runs and fetches models: a machine that works with a session elsewhere has none of them (`binder/laptop.txt`)."""


def without_models() -> Iterator[Finding]:
    """Whether a machine without torch has what it takes to work with a session elsewhere."""
    yield Finding(
        "torch", "warn", 'is not installed: models run elsewhere, Session.connect("http://gpu-box:8001") works with them',
        "`pip install torch` and the rest of acestep_lab's libraries run them here.",
    )  # fmt: skip
    yield from libraries(lambda: [one for one in _requirements() if _runs_here(Requirement(one))])


def _runs_here(requirement: Requirement) -> bool:
    return requirement.name.lower().replace("_", "-") not in MODEL_PACKAGES


def device(requested: DeviceRequest | None = None) -> Iterator[Finding]:
    """What the work runs on, how much memory there is, and whether whole numbers could be quicker."""
    from acestep_lab.models.memory_plan import gb
    from acestep_lab.models.tiers import GB

    requested = requested or DeviceRequest()
    machine = requested.machine()
    tier = requested.tier(machine)
    free = "" if machine.free_bytes is None else f", {gb(machine.free_bytes)} free"
    simulated = " (simulated; the work runs on the CPU)" if machine.simulated else ""
    summary = f"{machine.name or machine.kind}{simulated}, {gb(machine.memory_bytes)}{free}; {tier.name} tier, LM up to {tier.lm}"
    if machine.free_bytes is not None and machine.free_bytes < 1.5 * GB:
        fix = "Close other programs or notebooks that hold memory (`session.free()` gives a session's back)."
        yield Finding("device", "warn", summary, fix)
    else:
        yield Finding("device", "ok", summary)
    yield from backend(machine)
    if machine.device == "cpu":
        yield from int8_support()


def backend(machine: Machine) -> Iterator[Finding]:
    """Which row of `models.backends` holds for a machine: what it computes in, by which attention, and what it cannot do."""
    from acestep_lab.models.backends import DeviceFacts, row_of

    row = row_of(DeviceFacts.of_machine(machine))
    yield Finding("backend", "ok", str(row), " ".join(row.notes))


def several_cards(
    requested: DeviceRequest | None = None, checkpoint: str | Path = "pocket", cards: Sequence[Machine] | None = None
) -> Iterator[Finding]:
    """Which component works on which card, of several; nothing where there is one and none was asked for."""
    from acestep_lab.engines import registry
    from acestep_lab.models.cards import asked_cards, cards_here, name_of, placed, plans_of
    from acestep_lab.models.memory_plan import budget

    requested = requested or DeviceRequest()
    wish, found = asked_cards(requested.devices), cards_here() if cards is None else cards
    if wish is None and len(found) < 2:
        return
    engine = registry.open_engine(checkpoint)
    specs, listed = (
        engine.component_specs(),
        ", ".join(f"{name_of(card)} ({card.name or card.label})" for card in found),
    )

    def plan(card: Machine, components: Sequence[ComponentSpec]) -> MemoryPlan:
        return budget(card, components, passes=engine.passes, longest=engine.capabilities.seconds[1])

    placement = placed(wish or "auto", found, specs, plan)
    if placement is None:
        return
    if wish is None:
        fix = 'Open a session with devices="auto", or set ACESTEP_GPU_MAPPING=auto.'
        yield Finding("cards", "ok", f"{listed}; the first one does the work, and with all of them {placement}", fix)
        return
    plans = plans_of(placement, specs, plan)
    ways = "; ".join(f"{', '.join(one.names)} on {one.device_title}: {one.way}" for one in plans)
    fits = all(one.fits for one in plans)
    fix = "" if fits else "Place fewer components on the card that is too small, or take a smaller LM."
    yield Finding("cards", "ok" if fits else "warn", f"{listed}; {placement} ({ways})", fix)


def int8_support(exact: bool | None = None) -> Iterator[Finding]:
    """Whether `precision="int8"` has a chance on this CPU; the first song measures it."""
    from acestep_lab.models.precision import int8_sums_are_exact

    if int8_sums_are_exact() if exact is None else exact:
        yield Finding(
            "int8", "ok", 'precision="int8" is measured on the first song, and kept where it is close and quicker'
        )
    else:
        yield Finding(
            "int8", "ok", 'this CPU has no instructions for int8 (VNNI): precision="int8" would not be quicker'
        )


def settings(
    requested: DeviceRequest | None = None, read: Callable[..., Settings] = Settings.read
) -> Iterator[Finding]:
    """Every setting with where it comes from; a name that nobody knows is warned of."""
    requested = requested or DeviceRequest()
    found = read(flags={"device": requested.device, "dtype": requested.dtype, "devices": requested.devices})
    for name, value in found.values.items():
        yield Finding("setting", "ok", f"{name} = {value}, from {value.source}: {value.setting.purpose}")
    for sentence in found.warnings:
        yield Finding("setting", "warn", sentence, "Give it the name of a setting listed above, or unset it.")
    for variable in sorted(found.unneeded):
        yield Finding("setting", "ok", f"{variable} is understood and not needed: {NOT_NEEDED[variable]}")


def server(variables: Mapping[str, str] = VARIABLES) -> Iterator[Finding]:
    """Whether the machine that ACESTEP_LAB_SERVER names answers, and takes the key; nothing where none is named."""
    from acestep_lab.remote.connection import Connection
    from acestep_lab.remote.session import Facts

    if not (address := variables.get("ACESTEP_LAB_SERVER")):
        return
    line = Connection(address, variables.get("ACESTEP_API_KEY", "")).in_a_hurry(3.0, 10.0)
    try:
        facts = Facts.read(line.get("/v1/lab"), line.url)
        yield Finding("server", "ok", f"{line.url} answers and takes the key: {facts.name}, {facts.tier.name} tier")
    finally:
        line.close()


def features() -> Iterator[Finding]:
    """Every feature flag, whether it is on, and who says so."""
    from acestep_lab.features import Feature, FeatureFlags

    for feature in Feature:
        on, source = FeatureFlags.look_up(feature)
        yield Finding(
            "feature", "ok", f"{feature.name} is {'on' if on else 'off'}, from {source}; it switches {feature.switches}"
        )


def codecs(formats: Iterable[str] | None = None) -> Iterator[Finding]:
    """Which kinds of sound files can be read and written."""
    if formats is None:
        import soundfile

        formats = soundfile.available_formats()
    missing = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name not in set(formats)]
    if "WAV" in missing or "FLAC" in missing:
        yield Finding("codecs", "bad", f"libsndfile lacks {', '.join(missing)}", "`pip install --upgrade soundfile`")
    elif missing:
        fix = "`pip install --upgrade soundfile` brings libsndfile 1.1 or newer; WAV and FLAC work meanwhile."
        yield Finding("codecs", "warn", f"libsndfile lacks {', '.join(missing)}", fix)
    else:
        yield Finding("codecs", "ok", "WAV, FLAC, OGG and MP3 can be read and written")


def browser_modules(folders: Sequence[Path] = (PACKAGE / "static", PACKAGE.parent / "widgets")) -> Iterator[Finding]:
    """Whether the widgets' browser halves are here."""
    modules = next((found for folder in folders if (found := sorted(folder.glob("*.js")))), [])
    empty = [file.name for file in modules if file.stat().st_size == 0]
    if not modules:
        yield Finding("browser", "bad", "the widgets' browser halves (*.js) are missing", _REINSTALL)
    elif empty:
        yield Finding("browser", "bad", f"{', '.join(empty)} in {modules[0].parent} is empty", _REINSTALL)
    else:
        yield Finding(
            "browser", "ok", f"{len(modules)} browser halves in {modules[0].parent.name}/, no internet needed"
        )


def disk(folder: Path | None = None, free_bytes: Callable[[Path], int] | None = None) -> Iterator[Finding]:
    """Room for checkpoints, and whether fetching is allowed."""
    from huggingface_hub import constants

    from acestep_lab.models import download
    from acestep_lab.models.memory_plan import gb

    folder = folder or download.hub_cache().root
    free = (free_bytes or download.free_disk)(folder)
    summary = f"{gb(free)} free for checkpoints in {folder}"
    if free < 10 * 2**30:
        fix = "A full-size checkpoint with its LM takes 10 GB; HF_HOME moves the cache, `--folder` one download."
        yield Finding("disk", "warn", summary, fix)
    else:
        yield Finding("disk", "ok", summary)
    if constants.is_offline_mode():
        yield Finding(
            "network", "ok", "offline mode is on (HF_HUB_OFFLINE): nothing is fetched, all that is here works"
        )


def cached(deep: bool = False) -> Iterator[Finding]:
    """Whether what `acestep-lab download` fetched is still whole."""
    from acestep_lab.engines import registry
    from acestep_lab.models import download

    store = download.hub_cache()
    names = {entry.repo: entry.name for entry in registry.entries()}
    for repo in store.recorded_repos():
        name = names.get(repo, repo)
        wrong = download.verify(repo, store, deep)
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            yield Finding(
                "downloads", "bad", wrong[0] + more, f"`acestep-lab download {name}` fetches what is wrong again."
            )
        else:
            yield Finding("downloads", "ok", f"{repo} is whole" + (", every checksum right" if deep else ""))


def checkpoint_files(
    checkpoint: str | Path = "pocket", environ: Mapping[str, str] = VARIABLES, requested: DeviceRequest | None = None
) -> Iterator[Finding]:
    """Whether a checkpoint's files fit its configs, and what this machine will make of it."""
    from acestep_lab.engines import registry
    from acestep_lab.engines.base import Verifies
    from acestep_lab.engines.offered import licence_note
    from acestep_lab.models.memory_plan import budget, gb

    try:
        engine = registry.open_engine(checkpoint)
        specs, can = engine.component_specs(), engine.capabilities
        if isinstance(engine, Verifies):
            for component in can.components:
                engine.verify(component)
    except LabError as error:
        yield Finding("checkpoint", "bad", str(error), _checkpoint_fix(str(checkpoint)))
        return
    known = "every shape right" if isinstance(engine, Verifies) else "its weights were not looked at"
    size = gb(sum(spec.bytes for spec in specs))
    yield Finding("checkpoint", "ok", f"{engine.name} ({can.family}): {', '.join(can.components)}; {size}, {known}")
    if note := licence_note(can.licence):
        yield Finding("licence", "ok", note)
    if can.vocabulary.lyrics:
        yield from _singing(engine)
    requested = requested or DeviceRequest()
    machine = requested.machine(environ)
    tier = requested.tier(machine, environ)
    plan = budget(machine, specs, passes=engine.passes, tier=tier, longest=can.seconds[1])
    fix = "" if plan.fits else "Close other programs, or take a smaller checkpoint or LM."
    summary = f"{plan.summary()}; computes in {plan.dtype_name} on {plan.device}"
    yield Finding("plan", "ok" if plan.fits else "warn", summary, fix)


def _singing(engine: Engine) -> Iterator[Finding]:
    """What a checkpoint lacks to sing, where it lacks something; asked by a song that is never made."""
    from acestep_lab.prompt.recipe import Recipe

    def find(source: Any) -> Any:
        return source  # this song has none

    try:
        engine.resolve(Recipe("a song", lyrics="[verse]\nla la"), None, find, engine.capabilities.seconds[1])
    except CheckpointError as error:
        yield Finding("lyrics", "warn", str(error), "Put the file there, or leave the words away.")


def _checkpoint_fix(checkpoint: str) -> str:
    """What helps a checkpoint: fetching it where that can be done."""
    from acestep_lab.engines import registry

    if checkpoint == "pocket":
        return _REINSTALL
    on_the_hub = checkpoint.count("/") == 1 and not checkpoint.startswith(("/", ".", "~"))
    if checkpoint in registry.names() or (on_the_hub and not Path(checkpoint).exists()):
        return f"`acestep-lab download {checkpoint}` fetches what is missing or wrong."
    return "Copy the folder anew, or name another checkpoint; `acestep-lab download turbo` fetches a published one."


_LAPTOP: tuple[Check, ...] = (python, without_models, codecs, browser_modules, settings, server, features)
"""What is looked at where no model can run."""

"""Flags of the reference's launchers: understood by `serve` and `api`, translated to ours, and said so in a line. Opens nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from acestep_lab.errors import LabError, shown
from acestep_lab.settings import OFF, ON, planner

MEANS = {
    "server_name": "address", "host": "address", "config_path": "checkpoint", "checkpoint_path": "checkpoint",
    "lm_model_path": "lm", "device_id": "device", "gpu_mapping": "devices", "bf16": "dtype", "auth_password": "token", "enable_api": "api",
}  # fmt: skip
"""Their flag → the option of ours that means the same."""
_CARD = "nothing here: what stays on the card is worked out from its memory"
_LOADS = "nothing here: models load when they are first asked for"
NOTHING = {
    "language": "nothing here: the page speaks the language that the browser asks for",
    "init_service": _LOADS,
    "init_llm": f"{_LOADS}, and whoever wants no planner says thinking=False",
    "no_init": _LOADS,
    "service_mode": "nothing here: --token gives every browser takes of its own",
    "auth_username": "nothing here: visitors need no name, the word alone",
    "share": "nothing here: no tunnel is dug; --address 0.0.0.0 lets in whoever reaches this machine and knows the token",
    **dict.fromkeys(("cpu_offload", "offload_to_cpu", "offload_dit_to_cpu", "overlapped_decode", "batch_size"), _CARD),
    "torch_compile": "nothing here: ACESTEP_COMPILE_MODEL compiles the blocks of the DiT",
    "use_flash_attention": "nothing here: torch picks the quickest exact attention",
    "backend": "nothing here: the planner has one way of running",
    "download_source": "nothing here: serving fetches nothing; `acestep-lab download` heeds ACESTEP_DOWNLOAD_SOURCE",
    "debug": "nothing here: what goes wrong is said as a sentence",
}
"""Their flags that need nothing here, each with the reason."""
SWITCHES = (
    "init_service", "init_llm", "no_init", "service_mode", "share", "cpu_offload", "offload_to_cpu", "offload_dit_to_cpu",
    "overlapped_decode", "bf16", "torch_compile", "use_flash_attention", "enable_api", "debug",
)  # fmt: skip
"""Flags that are also given without a word; then they are on. A planner's may also be left to the machine ("auto")."""
SECRETS = ("auth_password",)
NAMES = (*MEANS, *NOTHING)
OF_THE_PAGE = ("language", "share", "auth_username", "auth_password", "enable_api", "service_mode")
OF_THE_API = tuple(name for name in NAMES if name not in OF_THE_PAGE)
"""What the launcher of their server takes."""
SPELLINGS = frozenset(f"--{spelled}" for name in NAMES for spelled in (name, name.replace("_", "-")))
_ALSO_OURS = ("--port", "--api", "--api-key", "--device")
"""Flags of their launcher that `serve` has under the same name."""


def options(names: Sequence[str] = NAMES) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """The flags as options of a command, in both spellings, left out of its help."""

    def add(function: Callable[..., object]) -> Callable[..., object]:
        for name in names:
            spellings = sorted({f"--{name}", f"--{name.replace('_', '-')}"})
            more: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if name in SWITCHES else {}
            function = click.option(*spellings, name, hidden=True, help=_meaning(name), **more)(function)
        return function

    return add


def translate(given: dict[str, str | None], ours: dict[str, Any]) -> dict[str, Any]:
    """Our options with what their flags mean put in, a line on stderr for each; one of ours that is given stays."""
    result = dict(ours)
    for name, word in given.items():
        if word is None:
            continue
        if name in SWITCHES and word.lower() not in (*ON, *OFF, *(("auto",) if name == "init_llm" else ())):
            raise LabError(f"--{name} is {', '.join(ON)} or {', '.join(OFF)}, not {shown(word)}.")
        said, option = f"--{name}" if name in SECRETS else f"--{name} {word}", MEANS.get(name)
        if option is None:
            _say(f"{said} means {NOTHING[name]}.")
        elif ours[option]:
            _say(f"{said} is left out: --{option} is given.")
        else:
            result[option] = _ours(name, word)
            _say(f"{said} means {_written(name, option, result[option])}.")
    return result


def with_command(arguments: list[str]) -> list[str]:
    """Arguments that begin with one of these flags, as their launcher takes them, are `serve`'s."""
    begins = bool(arguments) and arguments[0].partition("=")[0] in {*SPELLINGS, *_ALSO_OURS}
    return ["serve", *arguments] if begins else arguments


def _meaning(name: str) -> str:
    """What a flag means here, in a sentence."""
    return f"The reference's launcher's; means {f'--{MEANS[name]}' if name in MEANS else NOTHING[name]}."


def _ours(name: str, word: str) -> Any:
    """A word of theirs in ours: a planner goes by its size, a card by its number."""
    if name in SWITCHES:
        on = word.lower() in ON
        return on if name == "enable_api" else "bfloat16" if on else "float32"
    return planner(word) if name == "lm_model_path" else f"cuda:{word}" if name == "device_id" else word


def _written(name: str, option: str, word: Any) -> str:
    """An option of ours as it would have been given."""
    if isinstance(word, bool):
        return f"--{option}" if word else f"no --{option}"
    return f"--{option}, with that word" if name in SECRETS else f"--{option} {word}"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)

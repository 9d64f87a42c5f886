"""Flags of the reference's launcher: understood by `serve`, translated to ours, and said so in a line. Opens nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from acestep_lab.errors import LabError, shown
from acestep_lab.settings import OFF, ON

MEANS = {"server_name": "address", "config_path": "checkpoint", "lm_model_path": "lm"}
"""Their flag → the option of ours that means the same."""
SWITCHES = ("init_service", "service_mode", "cpu_offload", "bf16", "torch_compile")
"""Flags that are also given without a word; then they are on."""
NOTHING = {
    "language": "nothing here: the page speaks the language that the browser asks for",
    "init_service": "nothing here: models load when they are first asked for",
    "service_mode": "nothing here: --token gives every browser takes of its own",
    "cpu_offload": "nothing here: what stays on the card is worked out from its memory",
    "torch_compile": "nothing here: no model is compiled",
}
NAMES = (*MEANS, *NOTHING, "bf16")
SPELLINGS = frozenset(f"--{spelled}" for name in NAMES for spelled in (name, name.replace("_", "-")))


def options(function: Callable[..., object]) -> Callable[..., object]:
    """The flags as options of a command, in both spellings, left out of its help."""
    for name in NAMES:
        spellings = sorted({f"--{name}", f"--{name.replace('_', '-')}"})
        more: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if name in SWITCHES else {}
        function = click.option(*spellings, name, hidden=True, help=_meaning(name), **more)(function)
    return function


def translate(given: dict[str, str | None], ours: dict[str, Any], explicit: Callable[[str], bool]) -> dict[str, Any]:
    """Our options with what their flags mean put in, a line on stderr for each; one of ours that is given stays."""
    result = dict(ours)
    for name, word in given.items():
        if word is None:
            continue
        if name in SWITCHES and word.lower() not in (*ON, *OFF):
            raise LabError(f"--{name} is {', '.join(ON)} or {', '.join(OFF)}, not {shown(word)}.")
        option = "dtype" if name == "bf16" else MEANS.get(name)
        if option is None:
            _say(f"--{name} {word} means {NOTHING[name]}.")
        elif explicit(option):
            _say(f"--{name} {word} is left out: --{option} is given.")
        else:
            result[option] = ("bfloat16" if word.lower() in ON else "float32") if name == "bf16" else _ours(name, word)
            _say(f"--{name} {word} means --{option} {result[option]}.")
    return result


def with_command(arguments: list[str]) -> list[str]:
    """Arguments that begin with one of these flags, as their launcher takes them, are `serve`'s."""
    begins = bool(arguments) and arguments[0].partition("=")[0] in SPELLINGS
    return ["serve", *arguments] if begins else arguments


def _meaning(name: str) -> str:
    """What a flag means here, in a sentence."""
    ours = "--dtype" if name == "bf16" else f"--{MEANS[name]}" if name in MEANS else NOTHING[name]
    return f"The reference's launcher's; means {ours}."


def _ours(name: str, word: str) -> str:
    """A word of theirs in ours: a planner goes by its size."""
    return planner(word) if name == "lm_model_path" else word


def planner(word: str) -> str:
    """ "acestep-5Hz-lm-0.6B" is "0.6B"; folders and hub ids stay."""
    return word.removeprefix("acestep-5Hz-lm-")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)

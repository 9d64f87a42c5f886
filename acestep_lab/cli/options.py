"""What commands have in common: kinds of values, what the shell completes for them, and groups of options.

Knows no session. Names that a shell completes are looked up when it asks; none of them takes torch.
"""

from __future__ import annotations

import glob
import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from acestep_lab.errors import shown

AnyCallable = TypeVar("AnyCallable", bound=Callable[..., object])
Decorator = Callable[[AnyCallable], AnyCallable]


def command(name: str | None = None) -> Callable[[Callable[..., object]], click.Command]:
    """A command that knows -h by itself: click asks the context it was first used in, whichever that was, and remembers."""
    return click.command(name, context_settings={"help_option_names": ["-h", "--help"]})


class InOrder(click.Group):
    """A group that lists its commands as they were added, and not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)


# -- kinds of values -----------------------------------------------------------------------------------------------------


class Number(click.ParamType):
    """A number."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; a sentence otherwise."""
        try:
            return float(value)
        except ValueError:
            self.fail(f"{shown(value)} is no number.", param, ctx)


class WholeNumber(click.ParamType):
    """A whole number, perhaps between limits."""

    name = "number"

    def __init__(self, lowest: int | None = None, highest: int | None = None) -> None:
        self.lowest, self.highest = lowest, highest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it; a sentence otherwise."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{shown(value)} is no whole number, such as 7.", param, ctx)
        if self.lowest is not None and self.highest is not None and not self.lowest <= number <= self.highest:
            self.fail(f"it lies between {self.lowest} and {self.highest}, not at {shown(number)}.", param, ctx)
        return number


class TextOrFile(click.ParamType):
    """Words as given, or out of the file named after an @."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The words; SourceError where the file cannot be read."""
        return text_or_file(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Files after an @."""
        files = glob.glob(f"{glob.escape(incomplete[1:])}*") if incomplete.startswith("@") else []
        return [CompletionItem(f"@{file}") for file in sorted(files)]


def text_or_file(value: str) -> str:
    """Words as given, or out of the file named after an @."""
    from acestep_lab.files import read_text

    return read_text(value[1:], "The text file") if value.startswith("@") else value


class Span(click.ParamType):
    """Two times in seconds with a colon between, such as 8:12."""

    name = "start:end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Start and end in seconds; whether they make a region, the task says."""
        if isinstance(value, tuple):
            return value
        start, colon, end = value.partition(":")
        try:
            if colon:
                return float(start), float(end)
        except ValueError:
            pass
        self.fail(f"{shown(value)} is no span; from 8 to 12 seconds is written 8:12.", param, ctx)


class Name(click.ParamType):
    """A word of which some are known: help and completion name those. Whether another will do, the verb says.

    `known`: gives the names, or the names each with a remark. `places`: what else it may be, "dir" or "file".
    """

    def __init__(
        self,
        name: str,
        known: Callable[[], Iterable[str] | Mapping[str, str]],
        places: str | None = None,
        listed: bool = False,
    ) -> None:
        self.name, self.known, self.places, self.listed = name, known, places, listed

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """How help writes the value: the names where they are few, else what kind of name it is."""
        return "|".join(self.known()) if self.listed else self.name.upper()

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so, and files or folders where it may be one."""
        known = self.known()
        remarks = known if isinstance(known, Mapping) else {}
        places = [CompletionItem(incomplete, type=self.places)] if self.places else []  # first: bash drops what it saw
        return places + [
            CompletionItem(name, help=remarks.get(name) or None) for name in known if name.startswith(incomplete)
        ]


# -- what is known -------------------------------------------------------------------------------------------------------


def _checkpoints() -> dict[str, str]:
    from acestep_lab.engines import registry
    from acestep_lab.engines.offered import FREE_LICENCES

    return {
        one.name: one.note if one.licence in FREE_LICENCES else f"{one.note} ({one.licence})"
        for one in registry.entries()
    }


def _planners() -> dict[str, str]:
    from acestep_lab.models.catalog import LMS

    return {row.name: row.note for row in LMS.values()}


def _downloads() -> dict[str, str]:
    from acestep_lab.engines import registry

    fetched = {one.name for one in registry.entries() if one.repo is not None}
    return {name: note for name, note in _checkpoints().items() if name in fetched}


def _in_prompt(module: str, *names: str) -> Callable[[], Iterable[str]]:
    """Looks up tuples of words of a module in `prompt/`."""

    def look_up() -> Iterable[str]:
        found = importlib.import_module(f"acestep_lab.prompt.{module}")
        return tuple(dict.fromkeys(word for name in names for word in getattr(found, name)))

    return look_up


CHECKPOINT = Name("checkpoint", _checkpoints, places="dir")
DOWNLOAD = Name("checkpoint", _downloads)
PLANNER = Name("planner", _planners, places="dir")
PLANNER_TO_FETCH = Name("planner", _planners)
SOURCE = Name("source", tuple, places="file")
STEM = Name("stem", _in_prompt("vocabulary", "STEMS"))
LANGUAGE = Name("code", _in_prompt("vocabulary", "LANGUAGES"))
METER = Name("meter", _in_prompt("vocabulary", "TIMESIGNATURES"), listed=True)
SOLVER = Name("solver", _in_prompt("sampling", "SOLVERS", "SOLVERS_V1"), listed=True)
REPAINT_MODE = Name("mode", _in_prompt("tasks", "REPAINT_MODES"), listed=True)
GUIDANCE = Name("guidance", _in_prompt("sampling", "GUIDANCE", "GUIDANCE_V1"), listed=True)
DEVICE = Name("device", lambda: ("auto", "cpu", "cuda", "mps", "xpu"))
DTYPE = Name("dtype", lambda: ("auto", "float32", "bfloat16", "float16"), listed=True)


# -- groups of options ---------------------------------------------------------------------------------------------------


def together(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Several options as one decorator; help lists them in this order."""
    return lambda command: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), command)


recipe_options = together(
    click.option("--lyrics", type=TextOrFile(), help="Words with section tags, or @file."),
    click.option(
        "--without-times", is_flag=True, help="Take the times of an LRC, SRT or WebVTT file off the lyrics."
    ),
    click.option("--language", type=LANGUAGE, help="Code of the lyrics' language, such as en."),
    click.option("--seed", type=WholeNumber(), help="The same seed gives the same take."),
    click.option("--bpm", type=WholeNumber(), help="Beats per minute."),
    click.option("--key", "keyscale", metavar="KEY", help="Such as 'F# minor'."),
    click.option("--meter", "timesignature", type=METER, help="Beats in a bar."),
    click.option("--steps", type=WholeNumber(), help="Flow models: sampling steps; fewer are faster."),
    click.option("--shift", type=Number(), help="Flow models: shift of the schedule."),
    click.option("--solver", type=SOLVER, help="Flow models: how a step is taken."),
    click.option("--guidance", type=GUIDANCE, help="Flow models: how the words are given more weight."),
    click.option("--guidance-scale", type=Number(), help="How much more weight the words are given; 1 is none."),
    click.option("--omega", type=Number(), help="ACE-Step v1: how far each step leaves its own mean, -100 to 100."),
    click.option("--guidance-share", type=Number(), help="ACE-Step v1: share of the steps, in their middle, that are guided."),
    click.option("--temperature", type=Number(), help="Token models: above 1 bolder, below 1 safer."),
    click.option("--top-k", type=WholeNumber(), help="Token models: draw among so many of the likeliest tokens."),
    click.option("--top-p", type=Number(), help="Token models: draw among the likeliest that have this probability."),
)  # fmt: skip
"""What a recipe may say besides caption and length, each option under the name of the recipe's field."""

recipe_file_option = click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path, exists=False), metavar="FILE",
    help="Settings as JSON or TOML, or out of one of our sounds; options given beside it win.",
)  # fmt: skip

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Say what was made as JSON, one line each; progress goes to stderr."
)

library_option = click.option(
    "--takes",
    "library",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the library, where takes are kept.",
)

checkpoint_option = click.option(
    "--checkpoint", type=CHECKPOINT, show_default="pocket",
    help="A catalog name such as turbo or musicgen-small, a folder, or a hub id (or ACESTEP_LAB_CHECKPOINT).",
)  # fmt: skip

machine_options = together(
    click.option("--device", type=DEVICE, help="Where the work runs: auto, cpu, cuda, cuda:1, mps or xpu (or ACESTEP_DEVICE)."),
    click.option(
        "--devices", metavar="CARDS",
        help="Of several cards: auto, dit:0,lm:1, or 0,1 to share the takes (or ACESTEP_GPU_MAPPING).",
    ),
    click.option("--dtype", type=DTYPE, help="What it computes in (or ACESTEP_DTYPE)."),
)  # fmt: skip

planner_option = click.option(
    "--lm",
    type=PLANNER,
    help="Another planner than the checkpoint's own: 0.6B, 1.7B, 4B, a folder or a hub id (or ACESTEP_LAB_LM).",
)

session_options = together(
    checkpoint_option,
    planner_option,
    library_option,
    click.option(
        "--precision", type=click.Choice(("auto", "int8")), default="auto",
        help="int8: kept where it is measured to be close and quicker.",
    ),
    machine_options,
)  # fmt: skip
"""How a session is opened."""

on_option = click.option(
    "--on", multiple=True, metavar="ADDRESS",
    help="Who does it: a Dask scheduler (tcp://127.0.0.1:8786), or doors of other machines (http://box:8001); may be repeated.",
)  # fmt: skip

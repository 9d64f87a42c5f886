"""What each word of a take did: attribute."""

from __future__ import annotations

import sys
from typing import Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import find_source, open_session, print_json
from acestep_lab.errors import RecipeError, shown


@options.command()
@click.argument("take", type=options.SOURCE, help="The id of a kept take, or one of our sound files.")
@click.option(
    "--what", multiple=True, type=click.Choice(["phrases", "tags", "sections", "fields"]), help="Only these; may be repeated."
)  # fmt: skip
@click.option(
    "--swap", "swaps", multiple=True, metavar="WORDS=OTHERS",
    help="Put other words in their place: 'warm pad=organ', 'bpm=140'. May be repeated.",
)  # fmt: skip
@click.option("--steps", type=options.WholeNumber(1), help="Steps of each render; by default few.")
@click.option("--attention", is_flag=True, help="Render nothing: only say where the model looks, which is no cause.")
@click.option("--anew", is_flag=True, help="Measure again what is known.")
@click.option("--dry-run", is_flag=True, help="Only say what it costs.")
@options.json_option
@options.session_options
def attribute(
    take: str, what: tuple[str, ...], swaps: tuple[str, ...], steps: int | None, attention: bool, anew: bool, dry_run: bool,
    as_json: bool, **session: Any,
) -> int:  # fmt: skip
    """Say what each word of a take did.

    Words are left out or swapped one at a time, on the same noise. For example: `acestep-lab attribute take-3f2a --swap "warm pad=organ"`."""
    with open_session(**session) as lab:
        asked: dict[str, Any] = {
            "what": what or None, "swap": _swaps(swaps) or None, "steps": steps, "anew": anew,
            "by": "attention" if attention else "change",
        }  # fmt: skip
        source = find_source(lab, take)
        if dry_run:
            cost = lab.attribute(source, **asked, dry_run=True)
            print_json(cost.to_json()) if as_json else print(cost)
            return 0
        run = lab.attribute(source, **asked)
        print(run.cost, file=sys.stderr)
        found = run.result()
        print_json(found.to_json()) if as_json else print(found)
    return 0


def _swaps(given: tuple[str, ...]) -> dict[str, Any]:
    """Words and what stands in their place; RecipeError for a swap without "="."""
    found: dict[str, Any] = {}
    for one in given:
        words, sign, others = one.partition("=")
        if not sign or not words.strip():
            raise RecipeError(f"A swap is WORDS=OTHERS, such as 'warm pad=organ', not {shown(one)}.")
        found[words.strip()] = int(others) if words.strip() == "bpm" and others.strip().isdecimal() else others.strip()
    return found

"""Many takes that differ in what is named: sweep, and workers. A sweep is `Session.sweep`; this reads the axes and tells the table."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import open_client, open_session, places_of, print_json
from acestep_lab.errors import RecipeError, shown

if TYPE_CHECKING:
    from acestep_lab.sweep.cells import Sweep
    from acestep_lab.sweep.run import SweepRun

PLACE = click.Path(path_type=Path, readable=False)


@options.command()
@click.argument(
    "recipe", help="Settings as JSON or TOML, one of our sounds, or the name of an earlier sweep, which goes on."
)
@click.option(
    "--axis", "axes", multiple=True, metavar="FIELD=VALUES",
    help="What to go over: shift=1,3,5 or seed=0..3; 1.0..5.0 is a span to draw from. May be repeated.",
)  # fmt: skip
@click.option("--random", "drawn", type=options.WholeNumber(1), help="Draw so many cells by chance.")
@click.option("--latin-hypercube", "spread", type=options.WholeNumber(1), help="Draw so many cells, spread evenly.")
@click.option("--draw-seed", type=options.WholeNumber(0), default=0, help="The same seed draws the same cells.")
@click.option("--adapter", "adapters", multiple=True, metavar="FILE", help="An adapter that all cells are made with.")
@click.option("--name", default="", metavar="NAME", help="What the sweep is called.")
@options.on_option
@click.option("--skip-refused", is_flag=True, help="Leave out cells that their engine refuses.")
@click.option("--dry-run", is_flag=True, help="Only say what it costs.")
@click.option("--report", type=PLACE, metavar="FILE", help="Write a page with players, table and versions.")
@click.option("--table", type=PLACE, metavar="FILE", help="Write the table as CSV.")
@click.option("--best", metavar="MEASURE", help="Rank the takes, such as by loudness or plan_score.")
@options.json_option
@options.session_options
def sweep(
    recipe: str, axes: tuple[str, ...], drawn: int | None, spread: int | None, draw_seed: int, adapters: tuple[str, ...], name: str,
    on: tuple[str, ...], skip_refused: bool, dry_run: bool, report: Path | None, table: Path | None, best: str | None, as_json: bool,
    **session: Any,
) -> int:  # fmt: skip
    """Make a take for every combination of values.

    It goes on where it ended. For example: `acestep-lab sweep recipe.json --axis shift=1,3,5 --axis seed=0..3 --table shift.csv`."""
    asked = _asked(recipe, axes, drawn, spread, draw_seed, adapters, name)
    elsewhere = places_of(on)
    with open_session(**session) if elsewhere is None else open_client(elsewhere, **session) as lab:
        made = lab.sweep(asked, on=elsewhere, dry_run=dry_run, skip_refused=skip_refused)
        if dry_run:
            print_json(made.to_json()) if as_json else print(made)
            return 0
        print(made.budget, file=sys.stderr)
        made.result()
        for message in made.messages[1:]:
            print(message, file=sys.stderr)
        if best is not None:
            made.measure(best)
        if table is not None:
            print(f"{made.to_csv(table)}: the table", file=sys.stderr)
        if report is not None:
            page = lab.report(made, report, measures=[best] if best else ())
            print(f"{page}: the report", file=sys.stderr)
        _tell(made, best, as_json)
        return 2 if made.failed else 0


def _asked(
    recipe: str, axes: tuple[str, ...], drawn: int | None, spread: int | None, draw_seed: int, adapters: tuple[str, ...], name: str
) -> Sweep | str:  # fmt: skip
    """The sweep as a value, or the name of an earlier one."""
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.sweep.cells import Sweep

    if not axes and not Path(recipe).exists():
        return recipe
    if drawn is not None and spread is not None:
        raise RecipeError("Cells are drawn either by chance (--random) or spread evenly (--latin-hypercube), not both.")
    found = dict(map(axis_of, axes))
    if len(found) < len(axes):
        raise RecipeError("An axis is named twice; give all its values at once, such as --axis shift=1,3,5.")
    grid = Sweep.grid(Recipe.read(recipe), adapters=list(adapters) or None, name=name, **found)
    if drawn is not None:
        return grid.random(drawn, draw_seed)
    return grid if spread is None else grid.latin_hypercube(spread, draw_seed)


def axis_of(text: str) -> tuple[str, Any]:
    """A field and its values out of FIELD=VALUES; RecipeError for anything else."""
    from acestep_lab.sweep.axes import from_text

    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise RecipeError(f"An axis is a field and its values, such as shift=1,3,5 or seed=0..3, not {shown(text)}.")
    return name.strip(), from_text(values)


def _tell(run: SweepRun, best: str | None, as_json: bool) -> None:
    """The table, the best first where that was asked for."""
    rows = run.to_records()
    if best is not None:
        rows.sort(key=lambda row: (row.get(best) is None, -(row.get(best) or 0.0)))
    if as_json:
        for row in rows:
            print_json(row)
        return
    for row in rows:
        cell = run.cells[row["cell"]]
        measure = "" if best is None or row.get(best) is None else f"  {best} {row[best]:.4g}"
        print(
            f"{row['take'] or row['state']:<24} {cell.cell.title}{measure}{'  ' + row['problem'] if row['problem'] else ''}"
        )


@options.command()
@click.option(
    "--local", "count", type=options.WholeNumber(1, 64), default=1, show_default=True, help="How many, on this machine."
)
@click.option(
    "--checkpoint", "checkpoints", multiple=True, type=options.CHECKPOINT, help="What they work with; may be repeated."
)
@click.option(
    "--threads", type=options.WholeNumber(1, 256), help="Threads each computes with; else the cores are shared out."
)
@click.option(
    "--port",
    type=options.WholeNumber(0, 65535),
    default=8786,
    show_default=True,
    help="Of the scheduler, on loopback; 0: any.",
)
def workers(count: int, checkpoints: tuple[str, ...], threads: int | None, port: int) -> None:
    """Start workers for sweeps on this machine.

    Their address is said; Ctrl-C ends them. On other machines: `dask worker ADDRESS --nthreads 1 --resources SONG=1 --preload acestep_lab.sweep.worker`."""
    from acestep_lab.sweep.local import local_cluster

    print(f"Opening {count} session{'s' * (count != 1)} …", file=sys.stderr)
    with local_cluster(count, checkpoints, threads=threads, port=port) as cluster:
        print(cluster.scheduler_address, flush=True)
        print("Ready: lab.sweep(…, on=this address). Ctrl-C ends them.", file=sys.stderr)
        threading.Event().wait()

"""What other tools need to read and write our files: schema."""

from __future__ import annotations

import click

from acestep_lab import schemas
from acestep_lab.cli import options


@options.command()
@click.argument("name", default="recipe", type=click.Choice(schemas.NAMES), help="recipe, plan or manifest.")
def schema(name: str) -> None:
    """Print the JSON schema of a recipe, a plan or a manifest."""
    print(schemas.text(name), end="")

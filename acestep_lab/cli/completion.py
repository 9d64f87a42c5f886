"""Completion by the shell: `--install-completion` and `--show-completion`, over click's own scripts.

The script goes into a file of its own, and the shell's start file reads it there: a shell starts as quickly as before,
also where the environment of this package is not active.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from acestep_lab.cli.options import Name
from acestep_lab.errors import LabError, shown

PROGRAM = "acestep-lab"
VARIABLE = "_ACESTEP_LAB_COMPLETE"
"""Through which the shell's script asks, as click names it."""

SHELLS = ("bash", "zsh", "fish", "powershell")
_THIS_SHELL = "this"

_ZSH_HEAD = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"
"""The script registers itself through compdef, which a bare zsh has not loaded."""


def answer(commands: click.Command, instruction: str) -> int:
    """Answer the shell's script: its own text ("bash_source"), or what may follow ("bash_complete")."""
    from click.shell_completion import shell_complete

    return shell_complete(commands, {}, PROGRAM, VARIABLE, instruction)


def options(command: Callable[..., object]) -> Callable[..., Any]:
    """The two options, which end the command line."""
    for name, act, help_text in (
        ("--show-completion", _show, "Write the completion script of this shell, or of the one named."),
        ("--install-completion", _install, "Let this shell, or the one named, complete commands, options and names."),
    ):
        command = click.option(
            name, type=Name("shell", lambda: SHELLS), is_flag=False, flag_value=_THIS_SHELL, is_eager=True, expose_value=False,
            callback=act, metavar="[SHELL]", help=help_text,
        )(command)  # fmt: skip
    return command


def _show(context: click.Context, option: click.Parameter, shell: str | None) -> None:
    if shell is None or context.resilient_parsing:
        return
    click.echo(script(context.find_root().command, _shell(shell)))
    context.exit()


def _install(context: click.Context, option: click.Parameter, shell: str | None) -> None:
    if shell is None or context.resilient_parsing:
        return
    click.echo(install(context.find_root().command, _shell(shell)))
    context.exit()


def _shell(asked: str) -> str:
    """The shell that was named, or the one of this user; LabError where completion is not known for it."""
    usual = Path(os.environ.get("SHELL", "")).name or ("powershell" if os.name == "nt" else "")
    name = usual if asked == _THIS_SHELL else asked
    if name in SHELLS:
        return name
    problem = f"Completion is not known for {shown(name)}" if name else "SHELL does not say which shell this is"
    raise LabError(f"{problem}; name one of {', '.join(SHELLS)}, such as --install-completion=bash.")


def script(commands: click.Command, shell: str) -> str:
    """The completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # an older click than the one asked for
        raise LabError(f"This click knows no completion for {shell}; `pip install --upgrade click` brings it.")
    return (_ZSH_HEAD if shell == "zsh" else "") + kind(commands, {}, PROGRAM, VARIABLE).source()


def install(commands: click.Command, shell: str, home: Path | None = None) -> str:
    """Write a shell's script and have its start file read it; returns what was done, as a sentence. Twice is as once."""
    home = home or Path.home()
    if shell == "powershell":
        raise LabError(
            f"Add what `{PROGRAM} --show-completion=powershell` writes to the file that $PROFILE names in PowerShell."
        )
    try:
        if shell == "fish":
            file = _config_folder(home) / "fish" / "completions" / f"{PROGRAM}.fish"
            _write(file, script(commands, shell))
            return f"Completion for fish is in {file}; new shells have it."
        file = _data_folder(home) / "acestep_lab" / f"completion.{shell}"
        _write(file, script(commands, shell))
        start, quoted = _start_file(shell, home), shlex.quote(str(file))
        _append_once(start, f"if [ -f {quoted} ]; then . {quoted}; fi")
    except (OSError, UnicodeError) as error:
        raise LabError(f"Completion could not be installed ({shown(str(error), 160)}).") from None
    return f"Completion for {shell} is in {file}, which {start} now reads; new shells have it."


def _config_folder(home: Path) -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")


def _data_folder(home: Path) -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")


def _start_file(shell: str, home: Path) -> Path:
    """What an interactive shell reads when it starts."""
    return Path(os.environ.get("ZDOTDIR") or home) / ".zshrc" if shell == "zsh" else home / ".bashrc"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _append_once(file: Path, line: str) -> None:
    """Add a line to a file that lacks it, leaving the rest as it is."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if line in text.splitlines():
        return
    start = "" if not text or text.endswith("\n") else "\n"
    with file.open("a", encoding="utf-8") as end:
        end.write(f"{start}{line}\n")

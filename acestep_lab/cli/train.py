"""Teach an adapter from songs: train. Teaching is `Session.train`; this reads options, and tells how far it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.compose import SESSION_OPTIONS
from acestep_lab.cli.dataset import FOLDER, TAG_POSITION, place_argument, scanned, tell_problems, with_tag
from acestep_lab.cli.render import open_session, print_json
from acestep_lab.errors import LabError, Stopped, shown

if TYPE_CHECKING:
    from acestep_lab.jobs.training import TrainingRun
    from acestep_lab.train.forecast import TrainingPlan
    from acestep_lab.train.ranks import Ranks

KINDS = ("lora", "dora", "rslora", "lokr")
OPTIMISERS = ("adamw", "prodigy", "schedule_free")
"""As the trainer knows them; it takes torch, and completion must not."""
PREVIEW_SECONDS = 10.0
RUN = "run.json"
"""What a training's folder says of it."""
GIVEN_AGAIN = ("repa", "processes")
"""What a training's folder remembers to compare with, and cannot bring back: encoders, and how many processes there are."""
OFTEN = 0.2
"""Seconds between two looks at a training that is under way."""

how_options = options.together(
    click.option("--steps", type=options.WholeNumber(), help="So many steps; 500 where nothing is said."),
    click.option("--rank", type=options.WholeNumber(), help="The adapter's rank, 8 where nothing is said."),
    click.option("--alpha", type=options.Number(), help="Its strength is alpha / rank; 16 where nothing is said."),
    click.option("--kind", type=options.Name("kind", lambda: KINDS, listed=True), help="What is taught."),
    click.option("--mlp", is_flag=True, default=None, help="Teach the layers between the attentions too."),
    click.option("--learning-rate", type=options.Number(), help="How far a step goes; else the checkpoint's rule."),
    click.option("--optimiser", type=options.Name("name", lambda: OPTIMISERS, listed=True), help="Who takes the steps."),
    click.option("--batch", type=options.WholeNumber(), help="Songs of one pass."),
    click.option("--accumulation", type=options.WholeNumber(), help="Passes before the weights move."),
    click.option("--crop-seconds", type=options.Number(), help="Learn so much of each song, from its start."),
    click.option("--held-out", type=options.Number(), help="Share of the songs that only tells what was learnt."),
    click.option("--patience", type=options.WholeNumber(), help="End after so many held-out losses without a better one."),
    click.option("--ema", type=options.Number(), help="Keep a running mean of the weights, such as 0.99."),
    click.option("--gradient-checkpointing", is_flag=True, default=None, help="Half the memory for a third more time."),
    click.option(
        "--repa", type=FOLDER, multiple=True, metavar="FOLDER",
        help="A HuBERT-like encoder's folder: draw the model's states towards what it hears. Can be given twice.",
    ),
    click.option("--repa-block", type=options.WholeNumber(), help="The block whose states those are; 8, or the middle."),
    click.option("--repa-coefficient", type=options.Number(), help="How much that weighs, 1 where nothing is said."),
    click.option("--seed", type=options.WholeNumber(), help="The same seed teaches the same adapter."),
    click.option("--save-every", type=options.WholeNumber(), help="Steps after which all is saved."),
    click.option("--preview-every", type=options.WholeNumber(), help="Steps after which a take is made with and without."),
)  # fmt: skip
"""Fields of a LoraConfig; what is not given is left to it."""


@options.command()
@place_argument
@click.option(
    "--out", type=FOLDER, metavar="FOLDER", help="Where the training is kept; by default a folder in the library."
)
@how_options
@click.option("--preview", type=options.TextOrFile(), help="What previews sound like; by default a song's own words.")
@click.option("--codes", is_flag=True, default=None, help="Also learn with each song's own audio codes for a plan.")
@click.option("--tag", help="A word that is to call the sound up later, for every song that has none.")
@click.option("--tag-position", type=TAG_POSITION, help="Where it stands: before the caption, behind it, in its place.")
@click.option("--resume", is_flag=True, help="Go on with the training in --out, with the options it was begun with.")
@click.option("--dry-run", is_flag=True, help="Only say what it would take; exit status 1 where it does not fit.")
@options.json_option
@options.session_options
@click.pass_obj
def train(
    ranks: Ranks | None, place: Path, out: Path | None, tag: str | None, tag_position: str | None, resume: bool,
    dry_run: bool, as_json: bool, **given: Any,
) -> int:  # fmt: skip
    """Teach an adapter a folder of songs.

    For example: `acestep-lab train songs --out zafu --tag zafu --steps 500`. Ctrl-C saves, and the same command goes on."""
    session = {name: given.pop(name) for name in SESSION_OPTIONS}
    known = _begun(out) if resume else {}
    songs = with_tag(scanned(place), known.get("tag") or None if tag is None else tag, tag_position)
    tell_problems(songs)
    if session["checkpoint"] is None:
        session["checkpoint"] = _listed(known.get("checkpoint"))
    with open_session(**session) as lab:
        wish = known.get("options", {}) | _asked(given, ranks)
        if dry_run:
            return _tell_plan(lab.train(songs, dry_run=True, folder=out, **wish), as_json)
        wish |= {} if ranks is None else {"ranks": ranks}
        run = lab.train(songs, folder=out, **wish)
        try:
            _follow(run, lab.jobs.progress, as_json)
        except (KeyboardInterrupt, Stopped):
            _say_how_to_go_on(run)
            raise
        finally:
            _say_messages(run)
        _tell_end(run, as_json)
    return 0


# -- what is asked for -------------------------------------------------------------------------------------------------


def _asked(given: dict[str, Any], ranks: Ranks | None = None) -> dict[str, Any]:
    """What was given of a training, as options of `lab.train`."""
    wish = {name: value for name, value in given.items() if value is not None}
    if encoders := wish.pop("repa", ()):
        wish["repa"] = list(encoders)
    if ranks is not None and ranks.accumulation is not None:
        wish.setdefault("accumulation", ranks.accumulation)
    if wish.pop("mlp", False):
        wish["targets"] = ("attention", "mlp")
    if wish.pop("codes", False):
        wish["roads"] = ("words", "codes")
    if "preview" in wish:
        from acestep_lab.prompt.recipe import Recipe

        if not wish.get("preview_every"):
            raise LabError("--preview says what previews sound like; say when there is one: --preview-every 100.")
        wish["preview"] = Recipe(wish["preview"], seconds=PREVIEW_SECONDS)
    return wish


def _begun(folder: Path | None) -> dict[str, Any]:
    """What the training in a folder was begun with: its options, tag and checkpoint; LabError where there is none."""
    from acestep_lab.errors import LibraryError
    from acestep_lab.files import read_json

    if folder is None:
        raise LabError("--resume goes on with the training of a folder; say which: --out FOLDER.")
    if not (folder / RUN).is_file():
        raise LabError(f"{shown(str(folder))} holds no training to go on with; without --resume one begins there.")
    found = read_json(folder / RUN, "The training's run.json", LibraryError)
    config, roads = (found.get(name) for name in ("config", "roads")) if isinstance(found, dict) else (None, None)
    if not isinstance(config, dict) or not isinstance(roads, list):
        raise LibraryError(f"The run.json in {shown(str(folder))} is damaged; begin anew in another folder.")
    config = {name: value for name, value in config.items() if name not in GIVEN_AGAIN}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    return {"options": values | {"roads": tuple(roads)}, "tag": found.get("tag"), "checkpoint": found.get("checkpoint")}


def _listed(name: object) -> str | None:
    """The name of a checkpoint where the catalog has it; None leaves it to the usual one."""
    from acestep_lab.engines import registry

    return next((one.name for one in registry.entries() if one.name == name), None)


# -- what is told ------------------------------------------------------------------------------------------------------


def _follow(run: TrainingRun, progress: bool | None, as_json: bool) -> None:
    """Wait for a training, with the line on stderr that whoever waits for a run sees; raises what made it fail."""
    from acestep_lab.jobs.progress import shown as shown_run

    news = _News(run)
    with shown_run(run, progress) as show:
        while not run.wait(OFTEN):
            if show is not None:
                show()
            if as_json:
                news.tell()
    if as_json:
        news.tell()
    if run.error is not None:
        raise run.error


class _News:
    """Tells what is new of a training as JSON, one line each."""

    def __init__(self, run: TrainingRun) -> None:
        self._run, self._saved = run, 0
        self._told = {"learnt": 0, "held_out": 0, "preview": 0}

    def tell(self) -> None:
        """Say what happened since the last time."""
        run = self._run
        for kind, found in (
            ("learnt", [one for one in run.losses if not one.held_out]),
            ("held_out", [one for one in run.losses if one.held_out]), ("preview", tuple(run.previews)),
        ):  # fmt: skip
            for one in found[self._told[kind] :]:
                print_json({"kind": kind, **_plain(one)})
            self._told[kind] = len(found)
        if run.saved_step != self._saved:
            self._saved = run.saved_step
            print_json({"kind": "saved", "step": self._saved})


def _plain(one: Any) -> dict[str, Any]:
    """A loss or a preview as plain data."""
    if hasattr(one, "take"):
        return {"step": one.step, "take": one.take.id, "bare": one.bare.id}
    aligned = {} if one.alignment is None else {"alignment": one.alignment}
    if one.held_out:
        losses = {str(t): loss for t, loss in (one.losses or {}).items()}
        return {"step": one.step, "loss": one.loss, "losses": losses, "best": one.best} | aligned
    return {"step": one.step, "loss": one.loss, "learning_rate": one.learning_rate} | aligned


def _say_how_to_go_on(run: TrainingRun) -> None:
    """Wait until what was learnt is on disk, and say so; another Ctrl-C waits no longer."""
    run.wait()
    where = f"What was learnt until step {run.saved_step} of {run.steps} is in {run.folder}"
    kept = where if run.saved_step else "Nothing was learnt yet"
    print(f"{kept}; the same command goes on.", file=sys.stderr)


def _say_messages(run: TrainingRun) -> None:
    for message in run.messages:
        print(message, file=sys.stderr)


def _tell_end(run: TrainingRun, as_json: bool) -> None:
    """Where the adapter is, what the songs that were held out say, which takes there are."""
    if as_json:
        print_json({**run.to_json(), "kind": "done", "folder": str(run.folder)})
        return
    print(f"{run.folder}: an adapter of {run.step} steps")
    curve = run.held_out_curve
    if curve:
        best = min(curve, key=lambda loss: loss.loss)
        print(
            f"held-out loss: {curve[0].loss:.3f} before, {curve[-1].loss:.3f} now, best {best.loss:.3f} at step {best.step}"
        )
    if aligned := run.alignment_curve:
        print(f"alignment (1 - cosine): {aligned[0].loss:.3f} before, {aligned[-1].loss:.3f} now")
    for preview in run.previews:
        print(f"step {preview.step}: {preview.take.id} with it, {preview.bare.id} without")


def _tell_plan(plan: TrainingPlan, as_json: bool) -> int:
    """What a training would take; 1 where there is no room for it."""
    if as_json:
        print_json(plan.to_json())
    else:
        print(plan)
    return 0 if plan.fits else 1

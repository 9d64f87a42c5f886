"""acestep_lab: a workbench for composing with music models, ACE-Step first.

The package, room by room; imports point down this list, never up::

    errors      what can go wrong, as sentences
    files       files and texts from outside, read at one boundary
    upstairs    what a room asks for that lies above it, by name
    prompt/     what a musician says: Recipe, tasks, Region, lyrics; no torch
    audio/      sound as a value: Audio, files, resampling, loudness, splicing
    diffusion/  the mathematics that flow models share: schedules, solvers, guidance
    models/     weights and where they live: catalog, loading, tiers, memory plan, device manager, adapters, the pocket checkpoint
    plan/       LM: Recipe → Plan
    takes/      finished pieces: Take, Library
    schemas/    JSON schemas of what is in our files
    listen/     what can be measured in a take
    jobs/       a render under way, the queue before it, the one thread that computes
    engines/    a folder for each model family (ace15, musicgen), behind the contract in base.py
    session     the verbs; session_like: the protocol of every session
    remote/     a session on another machine: the same verbs over HTTP, without torch
    sweep/      many takes that differ in what is named, here or on many machines
    pipeline/   the short way in: load, call, save, as diffusers' pipelines are called
    doctor      what works on this machine, and what helps
    train/      adapters taught by songs: data sets, lessons, training; and how the pocket checkpoint is made
    evaluate/   what a checkpoint can do, with chance and ceiling beside
    lessons/    exercises of the notebooks, and how an answer is checked
    ui/ serve/  what people see: widgets, formatters for notebooks, the studio page
    cli         the command line

In short::

    from acestep_lab import Recipe, Region, Session

    lab = Session.open()                                   # the pocket checkpoint, or "turbo", a folder, a hub id
    take = lab.make(Recipe("slow dub techno, tape hiss", seconds=20, seed=7))
    lab.repaint(take, Region(8, 12), "a flute")            # extend, cover, extract, lego, complete, edit, vary
    lab.stems(take, ["drums"]).residual                    # stems, and what is left without them
    lab.stitch([(take, Region(0, 8)), take])               # a song out of pieces
    take.export("dub.wav", bits=24), take.embed()          # a file for a DAW; a player in the notebook's own file
    lab.use("musicgen-small")                              # another checkpoint, of another family; lab.cost says what it takes

    load("pocket")("slow dub techno", duration=20, num_inference_steps=27, seed=42).save("dub.mp3")    # the same in short

Importing this package imports no torch: names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from acestep_lab import upstairs
from acestep_lab.ui import formatters

if TYPE_CHECKING:
    from acestep_lab.audio.audio import Audio
    from acestep_lab.audio.exporting import ExportOptions
    from acestep_lab.engines.step import Step
    from acestep_lab.errors import (
        CheckpointError,
        DownloadError,
        LabError,
        LibraryError,
        MachineError,
        RecipeError,
        SourceError,
        Stopped,
    )
    from acestep_lab.jobs.run import Run
    from acestep_lab.jobs.stems import Stems
    from acestep_lab.listen.analysis import Analysis, analyze
    from acestep_lab.listen.attribution import Attribution
    from acestep_lab.listen.comparison import TakeComparison
    from acestep_lab.listen.notes import Notes
    from acestep_lab.listen.scores import Scores
    from acestep_lab.listen.timed_lyrics import Alignment
    from acestep_lab.models.tiers import Tier
    from acestep_lab.pipeline.pipeline import Pipeline, load
    from acestep_lab.pipeline.result import Result
    from acestep_lab.plan.plan import Plan
    from acestep_lab.prompt.recipe import Planning, Recipe
    from acestep_lab.prompt.tasks import (
        Complete,
        Cover,
        Extend,
        Extract,
        FlowEdit,
        Lego,
        Piece,
        Region,
        Repaint,
        Retake,
        Stitch,
        Text2Music,
    )
    from acestep_lab.remote.session import RemoteSession
    from acestep_lab.session import Session
    from acestep_lab.sweep.axes import Between
    from acestep_lab.sweep.cells import Sweep
    from acestep_lab.sweep.run import SweepRun
    from acestep_lab.takes.library import Library
    from acestep_lab.takes.take import Take
    from acestep_lab.train.dataset import Dataset
    from acestep_lab.train.lora import LoraConfig
    from acestep_lab.ui.notebook import studio

__version__ = "0.1.0"

_HOMES = {
    "Alignment": "listen.timed_lyrics",
    "Attribution": "listen.attribution",
    "Analysis": "listen.analysis",
    "Audio": "audio.audio",
    "Between": "sweep.axes",
    "CheckpointError": "errors",
    "Complete": "prompt.tasks",
    "Cover": "prompt.tasks",
    "Dataset": "train.dataset",
    "DownloadError": "errors",
    "ExportOptions": "audio.exporting",
    "Extend": "prompt.tasks",
    "Extract": "prompt.tasks",
    "FlowEdit": "prompt.tasks",
    "LabError": "errors",
    "Lego": "prompt.tasks",
    "Library": "takes.library",
    "LibraryError": "errors",
    "LoraConfig": "train.lora",
    "MachineError": "errors",
    "Notes": "listen.notes",
    "Piece": "prompt.tasks",
    "Pipeline": "pipeline.pipeline",
    "Plan": "plan.plan",
    "Planning": "prompt.recipe",
    "Recipe": "prompt.recipe",
    "RecipeError": "errors",
    "Region": "prompt.tasks",
    "Repaint": "prompt.tasks",
    "RemoteSession": "remote.session",
    "Result": "pipeline.result",
    "Retake": "prompt.tasks",
    "Run": "jobs.run",
    "Scores": "listen.scores",
    "Session": "session",
    "SourceError": "errors",
    "Stems": "jobs.stems",
    "Step": "engines.step",
    "Stitch": "prompt.tasks",
    "Stopped": "errors",
    "Sweep": "sweep.cells",
    "SweepRun": "sweep.run",
    "Take": "takes.take",
    "TakeComparison": "listen.comparison",
    "Text2Music": "prompt.tasks",
    "Tier": "models.tiers",
    "analyze": "listen.analysis",
    "load": "pipeline.pipeline",
    "studio": "ui.notebook",
}
"""Where each public name lives."""

__all__ = [
    "Alignment",
    "Analysis",
    "Attribution",
    "Audio",
    "Between",
    "CheckpointError",
    "Complete",
    "Cover",
    "Dataset",
    "DownloadError",
    "ExportOptions",
    "Extend",
    "Extract",
    "FlowEdit",
    "LabError",
    "Lego",
    "Library",
    "LibraryError",
    "LoraConfig",
    "MachineError",
    "Notes",
    "Piece",
    "Pipeline",
    "Plan",
    "Planning",
    "Recipe",
    "RecipeError",
    "Region",
    "RemoteSession",
    "Repaint",
    "Result",
    "Retake",
    "Run",
    "Scores",
    "Session",
    "SourceError",
    "Stems",
    "Step",
    "Stitch",
    "Stopped",
    "Sweep",
    "SweepRun",
    "Take",
    "TakeComparison",
    "Text2Music",
    "Tier",
    "__version__",
    "analyze",
    "load",
    "studio",
]


upstairs.provide("sweep", lambda: importlib.import_module("acestep_lab.sweep.begin").sweep)
upstairs.provide("map_songs", lambda: importlib.import_module("acestep_lab.sweep.mapping").map_songs)
upstairs.provide("pool_for", lambda: importlib.import_module("acestep_lab.sweep.pools").pool_for)
upstairs.provide("label_on", lambda: importlib.import_module("acestep_lab.sweep.labels").label_on)
upstairs.provide("verify", lambda: importlib.import_module("acestep_lab.sweep.verifying").verify)
upstairs.provide("report", lambda: importlib.import_module("acestep_lab.sweep.report").report)
upstairs.provide("comparison_page", lambda: importlib.import_module("acestep_lab.ui.comparison_view").comparison_page)
upstairs.provide("serve", lambda: importlib.import_module("acestep_lab.serve.api_background").serve)


def __getattr__(name: str) -> Any:
    """A public name, looked up when it is first used; a notebook that runs is told by then how values are shown."""
    if name not in _HOMES:
        raise AttributeError(f"module 'acestep_lab' has no attribute {name!r}")
    formatters.register_if_running()
    value = getattr(importlib.import_module(f"acestep_lab.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext acestep_lab`: show values as players and pictures, for who imports no name from here."""
    formatters.register(shell)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

"""Composing: the words, the form, presets and sweeps; what the Make button does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError, MachineError, RecipeError, code_of, sentence
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
)
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.ids import is_sound_id
from acestep_lab.takes.take import Take
from acestep_lab.ui import lyrics_editor, prompt_editor, tracks
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.forms import FORMS, PLAIN_FIELDS, Form

Axis = tuple[str, Sequence[object]]
"""A field that a sweep goes over, and its values."""


_REGIONAL = ("Repaint", "Lego")
"""Tasks that regions are marked for."""


class Composing(Controller):
    """The prompt editor and the lyrics editor."""

    def build(self, made: Callable[..., Any]) -> None:
        self._locks: dict[str, list[str]] = {}
        self.lyrics = made(lyrics_editor, "LyricsEditor")
        self.prompt = made(
            prompt_editor,
            "PromptEditor",
            defaults=lambda task: defaults(self.backend.session, task, self.studio.checkpoint),
            presets=self._presets(),
            source=lambda: self.studio.selected,
            words=lambda: (self.lyrics.value, self.lyrics.chosen_language, self._regions()),
            elsewhere=self.repaint_settings,
            lyrics=self.lyrics.to_keep,
            kept_for=self._whose(),
            name_of=self._name_of,
        )
        self.lyrics.kept_for = self.prompt.kept_for

    def connect(self) -> None:
        connect(
            self.prompt,
            make=self._make,
            plan=self.studio.planning.plan_first,
            polish=self.studio.planning.polish,
            sweep=self._start_sweep,
            changed=self._prompt_changed,
            codes=self._take_codes,
            elsewhere=self._set_elsewhere,
            restored=self.lyrics.restore,
        )
        connect(self.lyrics, changed=self._lyrics_changed, lock=lambda on: self.prompt.do_lock("lyrics", on))

    def adopted(self, name: str, can: Capabilities) -> None:
        able = refusals(name, can)
        self.prompt.adopt(Form.of(can, plans=self.studio.plans), able)
        self.lyrics.adopt(can.vocabulary.languages, can.vocabulary.lyrics)

    def started(self, run: RenderRun) -> None:
        """What was said of the last click is over; what was locked now is remembered with the takes of this run."""
        self.prompt.clear_errors()
        locked = sorted(self.prompt.value.locked)
        if not locked:
            return
        self._locks[run.id] = locked
        for take in run.made.values():  # a quick run may have ended before this page heard of its beginning
            self._remember_locks(take, locked)
        if run.over:
            self._locks.pop(run.id, None)

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        locked = None if run is None else self._locks.get(run.id)
        if run is None or event is None or locked is None:
            return
        if event.kind == "take":
            self._remember_locks(event.value[1], locked)
        if run.over:
            self._locks.pop(run.id, None)

    def _remember_locks(self, take: Take, locked: list[str]) -> None:
        """Write down with a take what was locked; one that somebody else made before, word for word, keeps theirs."""
        takes = self.backend.takes
        if takes.owner_of(take.id) == self.studio.owner and take.id in self.backend.session.library:
            try:
                takes.mark(take.id, self.studio.owner, locks=locked)
            except LabError as problem:
                self.prompt.show_error(sentence(problem), code=code_of(problem))

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.prompt.refresh(title or tracks.title_of(sound, 60))

    def reuse(self, take: Take) -> None:
        """Load a take's recipe, as it was asked for, into the editors: words, task, sampling, planning, locks and regions.

        What is locked here stays.
        """
        recipe = getattr(take, "asked", None) or take.recipe
        self.prompt.load(recipe.replace(seed=take.recipe.seed), locks=self.locks_of(take))
        if "lyrics" not in self.prompt.value.locked:
            self.lyrics.load(recipe.lyrics, recipe.language)
        source = take.recipe.task.with_ids().sources().get("source")
        if source is not None:
            regions = getattr(recipe.task, "regions", ())
            self.in_background(self.prompt, lambda: self._take_up(str(source), regions))

    def _take_up(self, source: str, regions: Sequence[Region]) -> None:
        """Select what a take started from, and mark the regions it was repainted in."""
        self.studio.select(self._source_of(source))
        if regions:
            self.studio.repainting.picker.mark(regions)

    def _source_of(self, id: str) -> Take | Audio:
        """A take of this person, or a recording that one of their takes started from."""
        return self.backend.source(id, self.studio.owner)

    def locks_of(self, take: Take) -> list[str]:
        """What was locked when a take was made; nothing where it is not known, or somebody else's."""
        takes = self.backend.takes
        if takes.owner_of(take.id) != self.studio.owner or take.id not in self.backend.session.library:
            return []
        return list(self.backend.session.library.marks(take.id).get("locks", ()))

    def _regions(self) -> Sequence[Region]:
        """The regions on the waveform, where the task is about regions; RecipeError where they overlap."""
        prompt = vars(self).get("prompt")
        return self.studio.repainting.picker.value if prompt is not None and prompt.value.task in _REGIONAL else ()

    def _name_of(self, id: str) -> str:
        """What a take or a recording is called, of this person's; its id where that is not known here."""
        if is_sound_id(id):
            return self.backend.takes.recording_title(id, self.studio.owner) or id
        return self.backend.takes.titles(self.studio.owner).get(id) or id

    def repaint_settings(self) -> dict[str, Any]:
        """The fields of a repaint as the waveform panel has them, by their names in the form: its one home."""
        picker = self.studio.repainting.picker
        names = [name for name in (f.name for f in FORMS["Repaint"].fields) if name in picker.fields]
        return {f"Repaint.{name}": getattr(picker, name) for name in (*names, "caption")}

    def _set_elsewhere(self, values: Mapping[str, object]) -> None:
        """Hand the settings of a repaint that came with a take or a preset to the waveform panel."""
        for name, value in values.items():
            self.studio.repainting.picker.do_setting(name.partition(".")[2], value)

    def _take_codes(self, field: str, of: str) -> None:
        """Fill a field with the codes of the plan or of the take in hand; where they must be heard first, on a thread."""
        if of == "plan":
            self._fill_codes(field, _codes_of(self.studio.planning.plan.value))
            return
        sound = self.studio.selected
        if sound is None:
            raise RecipeError("There is no take in hand yet: make or pick one first.")
        known, session, checkpoint = _codes_of(sound), self.backend.session, self.studio.checkpoint
        if known:
            self._fill_codes(field, known)
        else:
            self.in_background(
                self.prompt, lambda: self._fill_codes(field, session.codes(sound, checkpoint=checkpoint))
            )

    def _fill_codes(self, field: str, codes: Sequence[int]) -> None:
        if not codes:
            raise RecipeError("There are no audio codes there: press Plan first, or pick a take that was planned.")
        self.prompt.fill({field: " ".join(str(code) for code in codes)})

    def _make(self, recipe: Recipe | list[Recipe]) -> None:
        """Make what the form says; a repaint whose regions have words of their own is the waveform panel's, as it stands."""
        one = recipe if isinstance(recipe, Recipe) else recipe[0]
        picker = self.studio.repainting.picker
        if isinstance(one.task, Repaint) and any(region.get("words") for region in picker.regions):
            picker.do_repaint()
        else:
            self.studio.start(recipe)

    def _start_sweep(self, x: Axis, y: Axis | None, recipes: list[list[Recipe]]) -> None:
        flat = [recipe for row in recipes for recipe in row]
        names = " and ".join(axis[0] for axis in (x, y) if axis)
        run = self.studio.start(flat, title=f"Sweep over {names}: {flat[0].caption}")
        self.studio.collecting.show_sweep(run, x, y, (len(recipes), len(recipes[0])))

    def _lyrics_changed(self) -> None:
        self.prompt.touch()
        self.prompt.refresh()

    def _prompt_changed(self) -> None:
        """The prompt changed: hold the lyrics' length against the new song's, and show whether they are locked."""
        self.lyrics.locked = "lyrics" in self.prompt.value.locked
        wrong, values = self.prompt.problems(), self.prompt.value.values
        seconds, bpm = (
            None if name in wrong else PLAIN_FIELDS[name].read(values.get(name)) for name in ("seconds", "bpm")
        )
        self.lyrics.compare_with(seconds, bpm)

    def _whose(self) -> str:
        """Under what name a browser keeps this person's draft, so that nobody else is shown it there."""
        owner = self.studio.owner
        return hashlib.sha256(owner.encode()).hexdigest()[:12] if owner else "host"

    def _presets(self) -> Path | None:
        """The file of this person's presets; the words in them are theirs as those of their takes are."""
        owner, folder = self.studio.owner, getattr(self.backend.session.library, "folder", None)
        whose = f"-{hashlib.sha256(owner.encode()).hexdigest()[:16]}" if owner else ""
        return folder / f"presets{whose}.yaml" if folder is not None else None


def _codes_of(what: object) -> Sequence[int]:
    """The audio codes of a plan, or of the plan of a take; none where there are none."""
    found = getattr(what, "codes", None) or getattr(getattr(what, "plan", None), "codes", None)
    return found if isinstance(found, tuple) else ()


def refusals(name: str, can: Capabilities) -> dict[str, str | None]:
    """For each task None, or why the checkpoint of this name cannot do it."""
    return {
        task: None if task in can.tasks else f"{name} cannot do this; another checkpoint may, see the list on top."
        for task in FORMS
    }


_EXAMPLES: tuple[Task, ...] = (
    Text2Music(),
    Repaint("a take", (Region(0, 1),)),
    Extend("a take", after=1.0),
    Cover("a take"),
    Retake("a take", 0.5, 1),
    Extract("a take", "drums"),
    Lego("a take", "drums"),
    Complete("a take", ("drums",)),
    FlowEdit("a take"),
)
"""A task of each kind, for what is decided whatever it starts from."""


def defaults(session: SessionLike, task: str, checkpoint: str | None = None) -> dict[str, object]:
    """What Auto means for the sampling's fields in a task of this name (a key of FORMS), where the checkpoint does it."""
    can = session.capabilities if checkpoint is None else session.capabilities_of(checkpoint)
    if task not in can.tasks:
        return {}
    example = next(one for one in _EXAMPLES if type(one).__name__ == task)
    try:
        sampling = session.defaults(example) if checkpoint is None else session.defaults(example, checkpoint)
    except MachineError:  # it computes elsewhere, and does not answer for now: the page stands, and Auto is Auto
        return {}
    found = {name: getattr(sampling, name) for name in type(sampling).names()}
    return found | ({"guidance_scale": None} if found.get("guidance") == "none" else {})

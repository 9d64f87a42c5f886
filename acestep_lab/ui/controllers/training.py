"""Training: songs in a table, settings, what that would take, and the training as it goes. For the host alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError, RecipeError, code_of, shown
from acestep_lab.features import Feature, is_feature_enabled
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.takes.take import Take
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.label import labelled
from acestep_lab.train.labelling import LabelRun
from acestep_lab.ui import dataset_table, training_form, training_view
from acestep_lab.ui.adapter_list import Slot
from acestep_lab.ui.controllers.base import Controller, connect, start_thread
from acestep_lab.ui.listeners import Listeners

PREVIEW_EVERY = 100
"""Steps after which a page makes a preview, unless told otherwise: a training is heard while it learns."""
FEW = ("kind", "rank", "steps", "learning_rate", "targets", "preview_every")
MORE = (
    "alpha", "crop_seconds", "batch", "accumulation", "held_out", "patience", "optimiser", "dropout", "ema", "gradient_checkpointing",
    "seed",
)  # fmt: skip
"""Settings of `LoraConfig` that a page offers: at once, and when asked for more."""
YES, NO = "yes", "no"
DATASETS = "datasets"
"""Where data sets lie in a library's folder."""


@runtime_checkable
class Teaches(Protocol):
    """A session that trains."""

    def train(self, songs: Any, config: Any = None, *, dry_run: bool = False, **options: Any) -> Any: ...


@dataclass(eq=False)
class TrainingDraft:
    """What a page is about to train, kept for the next page of the host, and shared by those that are open."""

    dataset: Dataset = field(default_factory=Dataset)
    settings: dict[str, str] = field(default_factory=dict)
    """As they were typed; those that are not here are as usual."""
    opened: bool = False
    labelling: LabelRun | None = None
    """The songs being listened to."""
    listeners: Listeners = field(default_factory=Listeners)


class Training(Controller):
    """The Train tab: its form, its table, its view."""

    def build(self, made: Callable[..., Any]) -> None:
        draft = self.backend.drafts.setdefault(("training", self.studio.owner), TrainingDraft())
        self._draft: TrainingDraft = draft
        self._stops: list[Callable[[], None]] = []
        self.train_form = made(training_form, "TrainingForm", standalone=False)
        home = None if self.studio.owner else self._home
        self.dataset_table = made(dataset_table, "DatasetTable", url=self.studio.url, standalone=False, home=home)
        self.training_view = made(
            training_view,
            "TrainingView",
            url=self.studio.url,
            standalone=False,
            songs=lambda: self.dataset_table.dataset,
        )

    def _home(self) -> Path:
        """Where the host's data sets are saved: in the library's folder; LabError where this page trains nothing."""
        if not self.train_form.offered:
            raise LabError(
                "Nothing is saved on this page: data sets are the host's. In a notebook, table.dataset.write(…) does."
            )
        return Path(self.backend.session.library.folder) / DATASETS

    def connect(self) -> None:
        form = self.train_form
        connect(
            form, folder=self._add_folder, takes=self._add_takes, clear=self._clear, setting=self._set,
            foretell=self._foretell, train=self._train, opened=self._open, label=self._label, halt=self._halt,
        )  # fmt: skip
        connect(self.training_view, weigh=self._weigh)
        if len(self.dataset_table.dataset):  # a component alone was handed one
            self._draft.dataset = self.dataset_table.dataset
        connect(self.dataset_table, changed=self._edited)
        self._stops = [
            self._draft.listeners.add(self._follow_draft),
            self.backend.adapters.listen(self._show_worn),
        ]
        form.opened = form.opened or self._draft.opened
        self._follow_draft()

    def adopted(self, name: str, can: Capabilities) -> None:
        """Training is offered to the host, where the checkpoint in use learns and it is the one of this page."""
        session = self.backend.session
        in_use = self.studio.checkpoint in (None, session.name)
        able = can.trains and isinstance(session, Teaches) and is_feature_enabled(Feature.LORA_TRAINING)
        self.train_form.offered = bool(not self.studio.owner and able and in_use)
        if self.train_form.offered:
            self._show_settings()
        self._attach()
        self._show()

    def selected(self, sound: Take | Audio, title: str) -> None:
        self._show_songs()

    def listed(self) -> None:
        self._show_songs()

    def refreshed(self) -> None:
        self._show_songs()

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        """A training that a notebook or another page began is followed here too."""
        if isinstance(run, TrainingRun) and run.owner == self.studio.owner and event is not None and not run.over:
            self._watch(run)

    def close(self) -> None:
        for stop in self._stops:
            stop()
        if self.studio.owner and not len(self._draft.dataset):  # a guest's form is never shown: nothing to leave behind
            self.backend.drafts.pop(("training", self.studio.owner), None)

    # -- what is shown -------------------------------------------------------------------------------------------------

    def watch(self, run: TrainingRun) -> None:
        """Show a training, opened."""
        self.training_view.follow(run)
        self._open(True)

    def _watch(self, run: TrainingRun) -> None:
        followed = self.training_view.followed
        if followed is not run and (followed is None or followed.over) and self.train_form.offered:
            self.training_view.follow(run)
            self._show()

    def _attach(self) -> None:
        """A page that (re)opens takes up the training under way, or the last one."""
        if self.training_view.followed is None and not self.studio.owner:
            runs = [one for one in self.backend.jobs.runs(self.studio.owner) if isinstance(one, TrainingRun)]
            live = next((run for run in runs if not run.over), runs[0] if runs else None)
            if live is not None:
                self.training_view.follow(live)

    def _open(self, on: bool) -> None:
        self.train_form.opened = self._draft.opened = on
        self._show()

    def _show(self) -> None:
        """The table and the view are open with the form; a training under way is shown whatever is folded or offered."""
        offered, opened = self.train_form.offered, self.train_form.opened
        run = self.training_view.followed
        live = run is not None and not run.over
        self.dataset_table.fold(not (offered and opened and len(self.dataset_table.dataset)))
        self.training_view.fold(not (live or (offered and opened and run is not None)))
        self.studio.listening.tabs.train = bool(offered or live)
        self._show_songs()
        self._show_worn()

    def _show_songs(self) -> None:
        if not self.train_form.offered:
            return
        data, cards = self._draft.dataset, self.studio.gallery.cards
        self.train_form.songs = {
            "n": len(data), "seconds": round(data.seconds, 1), "listed": len(cards),
            "starred": sum(bool(card.get("star")) for card in cards),
            "hand": int(isinstance(self.studio.selected, Take)),
        }  # fmt: skip

    def _follow_draft(self) -> None:
        """Another page of the host, or this one, changed what is to be learnt."""
        if self.dataset_table.dataset is not self._draft.dataset:
            self.dataset_table.become(self._draft.dataset)
        self._show()
        self._show_labelling()
        if self.train_form.offered:
            self._show_settings()

    def _edited(self) -> None:
        self.train_form.plan = {}  # it was of other songs
        if self._draft.dataset is not self.dataset_table.dataset:
            self._draft.dataset = self.dataset_table.dataset
            self._draft.listeners.tell()

    # -- what is learnt from -------------------------------------------------------------------------------------------

    def _add_folder(self, path: str) -> None:
        def work() -> None:
            self._add(Dataset.scan(path))
            self.train_form.emit("added", n=len(self._draft.dataset), path=path)

        self.aside(self.train_form, "scan", work)

    def _add_takes(self, which: str) -> None:
        takes = list(self._takes(which))
        if not takes:
            raise RecipeError("There is no such take.")

        def work() -> None:
            self._add(Dataset.of_takes(takes, self.backend.session.library))
            self.train_form.emit("added", n=len(self._draft.dataset), path="")

        self.aside(self.train_form, "scan", work)

    def _takes(self, which: str) -> Iterable[Take | str]:
        if which == "hand":
            return [self.studio.selected] if isinstance(self.studio.selected, Take) else []
        ids = [card["id"] for card in self.studio.gallery.cards if which == "listed" or card.get("star")]
        library = self.backend.session.library
        return [id if id in library else self.studio.open(id) for id in ids]

    def _add(self, more: Dataset) -> None:
        data = self._draft.dataset
        self.dataset_table.dataset = data.add(more) if len(data) else more
        self._show()

    def _clear(self) -> None:
        self.dataset_table.dataset = Dataset()
        self._show()

    # -- labels --------------------------------------------------------------------------------------------------------

    def _label(self) -> None:
        """Listen to the songs of the table; what was heard comes into it as one change, beside what is edited meanwhile."""
        draft, session = self._draft, self.backend.session
        if not len(draft.dataset):
            raise LabError("There is no song to learn from yet; add a folder or some takes.")
        if draft.labelling is not None and not draft.labelling.over:
            raise LabError("The songs are being listened to already.")
        with self.studio.client().acting():
            draft.labelling = run = session.label(draft.dataset)
        run.subscribe(partial(_labelled, draft, run))
        draft.listeners.tell()

    def _halt(self) -> None:
        if self._draft.labelling is not None:
            self._draft.labelling.stop()
            self._draft.listeners.tell()

    def _show_labelling(self) -> None:
        run = self._draft.labelling
        told: dict[str, Any] = {}
        if run is not None:
            told = {
                "id": run.id, "done": run.pace.done, "of": run.pace.whole, "over": run.over, "stopping": run.stopping,
                "failed": run.failed, "state": run.state, "said": run.problem or " ".join(run.messages),
            }  # fmt: skip
        self.train_form.labelling = told

    # -- how -----------------------------------------------------------------------------------------------------------

    def _show_settings(self) -> None:
        from acestep_lab.train.lora import KINDS  # with it comes torch, which a session that trains has anyway
        from acestep_lab.train.optimisers import NAMES

        choices: Mapping[str, Iterable[str]] = {
            "kind": KINDS, "optimiser": NAMES, "targets": ("attention", "attention+mlp"), "gradient_checkpointing": (NO, YES),
        }  # fmt: skip
        usual = _usual()
        self.train_form.settings = [
            {
                "name": name, "value": self._draft.settings.get(name, _text(usual[name])), "usual": _text(usual[name]),
                "choices": list(choices.get(name, ())), "more": name in MORE,
            }
            for name in (*FEW, *MORE)
        ]  # fmt: skip

    def _set(self, field: str, value: Any) -> None:
        """One setting as it was typed; where that is no value of it, a sentence at its field, and all is as before."""
        if field not in (*FEW, *MORE):
            raise RecipeError(f"{shown(field)} is no setting of a training.")
        typed = {name: text for name, text in self._draft.settings.items() if name != field}
        text = "" if value is None else str(value).strip()
        if text and text != _text(_usual()[field]):
            typed[field] = text
        try:
            _config(typed)
        except RecipeError as problem:
            self.train_form.show_error(str(problem), field, code_of(problem))
            return
        self._draft.settings = typed
        self.train_form.plan = {}
        self._draft.listeners.tell()

    def _ready(self) -> tuple[Teaches, Dataset, Any]:
        session, data = self.backend.session, self._draft.dataset
        if not len(data):
            raise LabError("There is no song to learn from yet; add a folder or some takes.")
        assert isinstance(session, Teaches)  # the form is only offered then
        return session, data, _config(self._draft.settings)

    def _foretell(self) -> None:
        session, data, config = self._ready()

        def work() -> None:
            plan = session.train(data, config, dry_run=True).to_json()
            words, *_ = str(plan["text"]).split("\n\n")
            kept = {name: plan[name] for name in ("fits", "advice", "memory")}
            self.train_form.plan = {"words": words.splitlines(), **kept}

        self.aside(self.train_form, "foretell", work)

    def _train(self) -> None:
        session, data, config = self._ready()
        self.aside(self.train_form, "train", lambda: self.watch(session.train(data, config)))

    # -- when it is done -----------------------------------------------------------------------------------------------

    def _weigh(self, strength: float) -> None:
        """Put the adapter that was trained on beside those that are on, for everybody; 0 takes it off."""
        run: TrainingRun = self.training_view.followed
        shared, owner, place = self.backend.adapters, self.studio.owner, str(run.folder)

        def work() -> None:
            slot = self._slot(run)
            if not strength:
                if slot is not None:
                    shared.remove(slot.name, owner)
                return
            if slot is None:
                shared.add(place, owner)
                slot = self._slot(run)
            if slot is None:
                return
            if not slot.on:
                shared.switch(slot.name, True)
            if slot.strength != strength:
                shared.weigh(slot.name, strength, owner)

        start_thread(self.training_view, work)

    def _slot(self, run: TrainingRun) -> Slot | None:
        """The adapter of a training among those of the session, put on here or by a notebook."""
        slots = self.backend.adapters.slots
        return next((one for one in slots if Path(one.place).is_relative_to(run.folder)), None)

    def _show_worn(self) -> None:
        run, shared = self.training_view.followed, self.backend.adapters
        if run is not None:
            slot = self._slot(run)
            self.training_view.wear(slot.strength if slot is not None and slot.on else 0.0, shared.waits)


def _labelled(draft: TrainingDraft, run: LabelRun, event: Event) -> None:
    """Tell every page how far the listening is; what was heard comes into the table once it is over, also after a stop."""
    if event.kind == "state" and run.over:
        draft.dataset = labelled(draft.dataset, run.events)
    if event.kind in ("state", "labelled", "message"):
        draft.listeners.tell()


def _usual() -> dict[str, Any]:
    """What a page trains with, unless told otherwise."""
    from dataclasses import asdict

    from acestep_lab.train.lora import LoraConfig

    return asdict(LoraConfig(preview_every=PREVIEW_EVERY))


def _config(typed: Mapping[str, str]) -> Any:
    """A `LoraConfig` out of what was typed; RecipeError for what is no value of a setting."""
    from acestep_lab.train.lora import LoraConfig

    usual = _usual()
    return LoraConfig(**{**usual, **{name: _read(name, text, usual[name]) for name, text in typed.items()}})


def _read(name: str, text: str, usual: Any) -> Any:
    """A setting out of its text, as its usual value is: yes or no, several words, a word, a number."""
    if isinstance(usual, bool):
        return text == YES
    if isinstance(usual, tuple):
        return tuple(text.split("+"))
    if isinstance(usual, str):
        return text
    try:
        return int(text) if isinstance(usual, int) else float(text.replace(",", "."))
    except ValueError:
        if isinstance(usual, int):
            raise RecipeError(f"This setting is a whole number, not {shown(text)}.") from None
        raise RecipeError(f"This setting is a number, not {shown(text)}.") from None


def _text(value: Any) -> str:
    """A setting as it stands in its field; "" where the checkpoint decides."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return YES if value else NO
    return "+".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)

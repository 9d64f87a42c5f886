"""How a notebook shows our values. Values know nothing of it: a running IPython is told here, by their
names.

Nothing is imported before it is shown. `acestep_lab` registers these when the first of its names is used while IPython
runs (`%load_ext acestep_lab` does it by hand); what somebody else registered for a type before stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from acestep_lab.errors import LabError, sentence

if TYPE_CHECKING:
    from acestep_lab.audio.audio import Audio
    from acestep_lab.engines.step import Step
    from acestep_lab.jobs.kinds import PlanRun, RenderRun
    from acestep_lab.jobs.stems import Stems
    from acestep_lab.jobs.training import TrainingRun
    from acestep_lab.listen.comparison import Comparisons, TakeComparison
    from acestep_lab.session import Session
    from acestep_lab.sweep.run import SweepRun
    from acestep_lab.takes.take import Take
    from acestep_lab.train.dataset import Dataset
    from acestep_lab.train.labelling import LabelRun

Bundle = dict[str, object] | tuple[dict[str, object], dict[str, object]]
"""A MIME bundle: data by MIME type, or a pair of data and metadata."""
STEP_WIDTH, STEP_HEIGHT = 640, 110
"""Pixels in which a step's picture is shown."""


class Displays(Protocol):
    """What is asked of IPython's shell."""

    display_formatter: Any


def sound_bundle(sound: Take | Audio) -> Bundle:
    """A player; nothing of the sound is stored in the notebook. Where there are no widgets, its repr."""
    from acestep_lab.ui.player import PlayerWidget
    from acestep_lab.ui.run_display import result_is_shown

    result_is_shown(sound)
    return _widget_bundle(PlayerWidget(sound), sound)


def run_bundle(run: RenderRun) -> Bundle:
    """A bar with Stop, the music as it forms, and at the end its player, in one output."""
    from acestep_lab.ui.run_display import run_widget

    return _widget_bundle(run_widget(run), run)


def plan_run_bundle(run: PlanRun) -> Bundle:
    """A bar with Stop."""
    from acestep_lab.ui.run_view import RunViewWidget

    return _widget_bundle(RunViewWidget(run), run)


def stems_bundle(stems: Stems) -> Bundle:
    """The stems and what is left as lanes with mute, solo and level, over one playhead."""
    from acestep_lab.ui.stems_view import RESIDUAL, Lane, StemsViewWidget

    view = StemsViewWidget()
    view.hold(stems.source, known=tuple(stems))
    lanes = [Lane(name, "stem", name, stems[name].id, stems.sound(name)) for name in stems]
    view.lay(*lanes, Lane(RESIDUAL, RESIDUAL, audio=stems.residual))
    view.opened = True
    return _widget_bundle(view, stems)


def training_bundle(run: TrainingRun) -> Bundle:
    """Its curves and pace with Stop, previews with and without, and at the end its strength."""
    from acestep_lab.ui.training_view import TrainingViewWidget

    return _with_html(_widget_bundle(TrainingViewWidget(run), run), run._repr_html_())


def sweep_bundle(run: SweepRun) -> Bundle:
    """Its cells as a grid of players, live; where there are no widgets, its table."""
    from acestep_lab.ui.sweep_view import SweepViewWidget

    return _with_html(_widget_bundle(SweepViewWidget(run), run), run._repr_html_())


def attribution_bundle(shown: Any) -> Bundle:
    """A heat strip under the words and along the song, live; where there are no widgets, its table."""
    from acestep_lab.ui.attribution import AttributionWidget

    found = getattr(shown, "attribution", None) if hasattr(shown, "result") else shown
    bundle = _widget_bundle(AttributionWidget(shown), shown)
    return bundle if found is None else _with_html(bundle, found._repr_html_())


def label_bundle(run: LabelRun) -> Bundle:
    """A bar with Stop; once it is over the table of its songs."""
    if run.over:
        return dataset_bundle(run.dataset)
    from acestep_lab.ui.run_view import RunViewWidget

    return _with_html(_widget_bundle(RunViewWidget(run), run), run._repr_html_())


def dataset_bundle(dataset: Dataset) -> Bundle:
    """A table to hear and edit it in, whose `dataset` is the edited one; where there are no widgets, the plain table."""
    from acestep_lab.ui.dataset_table import DatasetTableWidget

    table = DatasetTableWidget(dataset)
    table.hint = True
    return _with_html(_widget_bundle(table, dataset), dataset._repr_html_())


def session_bundle(session: Session) -> Bundle:
    """A card: checkpoint, components, memory, library, runs, next verbs. Nothing is loaded for it."""
    from acestep_lab.ui.session_card import card

    return {"text/html": card(session), "text/plain": repr(session)}


def comparison_bundle(found: TakeComparison) -> Bundle:
    """A table of what differs, words first, with the difference of the spectrograms; plain HTML where there are no widgets."""
    from acestep_lab.ui.comparison_view import ComparisonViewWidget, comparison_table

    return _with_html(_widget_bundle(ComparisonViewWidget(found), found), comparison_table(found))


def comparisons_bundle(found: Comparisons) -> Bundle:
    """The tables of several comparisons, one under another."""
    from acestep_lab.ui.comparison_view import comparison_table

    return {"text/html": "".join(map(comparison_table, found)), "text/plain": str(found)}


def step_bundle(step: Step) -> Bundle:
    """The estimate (x0) as a picture: rows are channels, columns are time; of a batch, item under item."""
    if step.estimate is None:
        return {"text/plain": repr(step)}
    import numpy as np

    from acestep_lab.ui.latent_image import picture, png_bytes

    items = list(step.estimate) if step.estimate.ndim == 3 else [step.estimate]
    if not items:
        return {"text/plain": repr(step)}
    image = png_bytes(np.concatenate([picture(item) for item in items]))
    size = {"width": STEP_WIDTH, "height": STEP_HEIGHT * len(items)}
    return {"image/png": image, "text/plain": repr(step)}, {"image/png": size}


def _with_html(bundle: Bundle, html: str) -> Bundle:
    """A bundle with what is shown where there are no widgets."""
    data, *rest = bundle if isinstance(bundle, tuple) else (bundle,)
    data = {"text/html": html, **data}
    return (data, *rest) if rest else data  # type: ignore[return-value]


def _widget_bundle(widget: Any, value: object) -> Bundle:
    """A widget's own bundle, with the repr of the value it shows as its text."""
    from acestep_lab.ui.stills import still

    shown = widget._repr_mimebundle_()
    data, *rest = shown if isinstance(shown, tuple) else (shown or {},)
    data = {**still(value), **data, "text/plain": repr(value)}
    return (data, *rest) if rest else data


FORMATTERS: Mapping[tuple[str, str], Callable[[Any], Bundle]] = {
    ("acestep_lab.audio.audio", "Audio"): sound_bundle,
    ("acestep_lab.engines.step", "Step"): step_bundle,
    ("acestep_lab.jobs.kinds", "PlanRun"): plan_run_bundle,
    ("acestep_lab.jobs.kinds", "RenderRun"): run_bundle,
    ("acestep_lab.jobs.stems", "Stems"): stems_bundle,
    ("acestep_lab.jobs.training", "TrainingRun"): training_bundle,
    ("acestep_lab.session", "Session"): session_bundle,
    ("acestep_lab.listen.comparison", "Comparisons"): comparisons_bundle,
    ("acestep_lab.listen.comparison", "TakeComparison"): comparison_bundle,
    ("acestep_lab.sweep.run", "SweepRun"): sweep_bundle,
    ("acestep_lab.jobs.attributing", "AttributionRun"): attribution_bundle,
    ("acestep_lab.listen.attribution", "Attribution"): attribution_bundle,
    ("acestep_lab.takes.take", "Take"): sound_bundle,
    ("acestep_lab.train.dataset", "Dataset"): dataset_bundle,
    ("acestep_lab.train.labelling", "LabelRun"): label_bundle,
}
"""Module and name of each value's class, and what shows it. Plans and profiles are tables: they write
their own.
"""


def register(shell: Displays | None) -> None:
    """Tell IPython's shell how the values are shown; once is enough, and no formatter of somebody else is replaced."""
    if shell is None or shell.display_formatter is None:
        return
    bundles = shell.display_formatter.mimebundle_formatter
    for (module, name), formatter in FORMATTERS.items():
        if f"{module}.{name}" not in bundles:
            bundles.for_type_by_name(module, name, or_text(formatter))
    from acestep_lab.jobs import progress

    progress.put_in_notebook(_waiting_cell)


def _waiting_cell() -> Any:
    """What a cell that waits for a run shows it in; nothing of it is imported before."""
    from acestep_lab.ui.run_display import waiting_cell

    return waiting_cell()


def or_text(formatter: Callable[[Any], Bundle]) -> Callable[[Any], Bundle]:
    """The formatter; where a value cannot be shown its repr is, with why: a cell's result is no place for a traceback."""

    def show(value: Any) -> Bundle:
        try:
            return formatter(value)
        except (LabError, OSError, ImportError) as problem:
            return {"text/plain": f"{value!r}\n{sentence(problem)}"}

    return show


def register_if_running() -> None:
    """Tell IPython if it runs in this process; elsewhere nothing is imported and nothing happens."""
    ipython = sys.modules.get("IPython")
    find_shell = getattr(ipython, "get_ipython", None)
    register(find_shell() if callable(find_shell) else None)

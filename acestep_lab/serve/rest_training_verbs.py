"""What the training routes of the REST door do: data sets, labels, lessons, trainings, exports. Plain functions, no web.

Each takes the desk and the fields of a request and gives the `data` of its answer, under the names of ACE-Step 1.5's own server as
Ace-Step-Wrangler reads them. What cannot be done raises a LabError, which becomes an HTTP status: a client that only looks at
that sees it. They may wait, and belong into a thread. Paths are read and written only where `rest_paths` lets the host.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

from acestep_lab.errors import LabError, LibraryError, RecipeError, SourceError, Stopped, sentence, shown
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.models.adapter_files import NAMED, PEFT_CONFIG
from acestep_lab.serve import rest_training_manifest as manifest
from acestep_lab.serve.rest_training_desk import (
    LABEL,
    PREPROCESS,
    BackgroundTask,
    Missing,
    Taught,
    Teaches,
    TrainingDesk,
)
from acestep_lab.serve.rest_training_fields import (
    Wish,
    edits,
    labeled,
    path_text,
    sample,
    unread,
    whole_of,
    whole_sample,
    wish,
)
from acestep_lab.serve.rest_verbs import Fields, is_on, planner_of, text_of
from acestep_lab.settings import planner
from acestep_lab.train.activation_tag import USUAL_POSITION, tagged
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.label import Lab, Labelled, Listeners, label, labelled
from acestep_lab.train.rows import OVERRIDES, by_genre, genre_share, override_of, split

MANIFEST = "manifest.json"
"""What stands in a folder of encoded songs: which songs they are, with everything said of them."""
ADAPTER, ADAPTER_FILES = "last", (PEFT_CONFIG, *NAMED)
HELD_OUT = 0.1
"""Share of the songs that `lab.train` holds out where nobody says otherwise."""
MOST_HISTORY = 1000
"""Losses that a status tells."""
SAVE_EVERY = 10.0
"""Seconds between two savings of a data set that is being described."""
NO_TRAINING = "The session behind this door teaches no adapters; open the door where the models are."


# -- the data set ------------------------------------------------------------------------------------------------------


def scan(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/scan`: `audio_dir`, and perhaps a name and a tag for the whole."""
    found = _opened(desk, path_text(fields, "audio_dir", "folder"))
    desk.open(_described(found, fields))
    aside = [f"{name} is left aside." for name in unread(fields, "stems_mode")]
    return _listing(desk, f"{len(found)} sounds found.", aside)


def load(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/load`: `dataset_path`, or `file_path` as Wrangler says; ACE-Step's JSON, a table or a folder."""
    place = path_text(fields, "dataset_path", "file_path")
    found = _opened(desk, place)
    file = desk.places.of_training(place)
    ours = file.suffix.lower() == ".json" and file.is_file() and desk.places.may_train_in(file, writes=True)
    desk.open(found, file if ours else None)
    return _listing(desk, f"{len(found)} sounds loaded.")


def save(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/save`: `save_path`, or `file_path` as Wrangler says."""
    place = path_text(fields, "save_path", "file_path")
    path = desk.places.of_training(place, writes=True)
    dataset = desk.change(lambda dataset: _described(dataset, fields))
    _make_folder(path.parent)
    dataset.write_reference_json(path)
    desk.saved_at = path
    folder = path.parent.resolve()
    outside = sum(song.path is None or not song.path.is_relative_to(folder) for song in dataset)
    words = f"{outside} of them lie outside the file's folder, and are not found from there." if outside else ""
    return {"message": f"{len(dataset)} sounds saved. {words}".strip(), "save_path": place}


def samples(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/samples`."""
    return _listing(desk, "")


def one_sample(desk: TrainingDesk, fields: Fields, index: str) -> dict[str, Any]:
    """`/v1/dataset/sample/{id}`."""
    dataset = desk.dataset
    number = _number(dataset, index)
    return whole_sample(dataset[number], number)


def change_sample(desk: TrainingDesk, fields: Fields, index: str) -> dict[str, Any]:
    """`PUT /v1/dataset/sample/{id}`: what is sent is written down, and what is not stays; theirs would be erased."""
    number = _number(desk.dataset, index)
    values, aside = edits(fields), [f"{name} is left aside." for name in unread(fields, "mood")]
    override = fields.get("prompt_override")
    if override not in (None, "", *OVERRIDES):
        raise RecipeError(f"prompt_override is caption, genre or null, not {shown(override)}.")

    def change(dataset: Dataset) -> Dataset:
        changed = dataset.edit(number, **values) if values else dataset
        return changed if "prompt_override" not in fields else _overridden(changed, number, override or None)

    song = desk.change(change)[number]
    return {"message": " ".join(["Changed.", *aside]), "sample": whole_sample(song, number)}


def _overridden(dataset: Dataset, number: int, override: object) -> Dataset:
    """With a song's prompt_override, which their trainer reads, and ours gives back."""
    songs = list(dataset.songs)
    songs[number] = replace(songs[number], given={**songs[number].given, "prompt_override": override})
    return replace(dataset, songs=tuple(songs))


def _number(dataset: Dataset, text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not 0 <= number < len(dataset):
        _missing(f"There is no sound {shown(text, 20)} in the data set; it has 0 to {len(dataset) - 1}.")
    return number


def _missing(text: str) -> NoReturn:
    raise Missing(text)


def _listing(desk: TrainingDesk, message: str, aside: list[str] | None = None) -> dict[str, Any]:
    dataset = desk.dataset
    left = [f"{len(dataset.problems)} files are left out, such as {dataset.problems[0]}"] if dataset.problems else []
    return {
        "message": " ".join([message, *left, *(aside or [])]).strip(), "dataset_name": str(dataset.about.get("name", "")),
        "num_samples": len(dataset), "labeled_count": labeled(dataset.songs),
        "samples": [sample(song, number) for number, song in enumerate(dataset)],
    }  # fmt: skip


def _opened(desk: TrainingDesk, place: str) -> Dataset:
    """The data set of a place where the host may train, whose sounds all lie in such places."""
    path = desk.places.of_training(place)
    if not path.exists():
        _missing(f"There is nothing at {shown(place)} on the server's machine; send its whole path.")
    return _all_inside(desk, Dataset.scan(path))


def _all_inside(desk: TrainingDesk, dataset: Dataset) -> Dataset:
    """The data set, where all its sounds lie where the host may train; RecipeError else."""
    for song in dataset:
        if song.path is not None and not desk.places.may_train_in(song.path.resolve()):
            raise RecipeError(
                f"The data set names {shown(song.path.name)}, which lies outside the folders this server trains in "
                "(ACESTEP_LAB_TRAINING)."
            )
    return dataset


def _described(dataset: Dataset, fields: Fields) -> Dataset:
    """With what a request says of the whole: its name, its tag, whether nobody sings."""
    about: dict[str, object] = {}
    if name := text_of(fields, "dataset_name"):
        about["name"] = name
    if (ratio := whole_of(fields, "genre_ratio", least=0)) is not None:
        if ratio > 100:
            raise RecipeError(f"genre_ratio is a percentage of the lessons, from 0 to 100, not {ratio}.")
        about["genre_ratio"] = ratio
    tag, position = text_of(fields, "custom_tag").strip(), text_of(fields, "tag_position")
    if tag:
        dataset = tagged(dataset, tag, position or USUAL_POSITION)
    elif position:
        about["tag_position"] = position
    if is_on(fields.get("all_instrumental")):
        bare = [song.name for song in dataset if song.may_fill("instrumental") and song.may_fill("lyrics")]
        dataset = dataset.edit(bare, instrumental=True) if bare else dataset
        about["all_instrumental"] = True
    return dataset.describe(**about) if about else dataset


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LibraryError(f"The folder {shown(folder.name)} cannot be made ({problem.strerror}).") from None


# -- labels ------------------------------------------------------------------------------------------------------------


def auto_label(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/auto_label`: describe, and wait."""
    return _waited(_begin_label(desk, fields))


def auto_label_async(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/auto_label_async`: describe in the background."""
    return _begun(_begin_label(desk, fields), "Describing the data set.")


def label_status(desk: TrainingDesk, fields: Fields, id: str | None = None) -> dict[str, Any]:
    """`/v1/dataset/auto_label_status`, of the latest or by id."""
    return _status_of(desk.task(LABEL, id))


def _begin_label(desk: TrainingDesk, fields: Fields) -> BackgroundTask:
    dataset, listeners = desk.dataset, _listeners(desk, fields)
    chosen = dataset.select(lambda song: not song.caption) if is_on(fields.get("only_unlabeled")) else dataset
    place = text_of(fields, "save_path").strip()
    path = desk.places.of_training(place, writes=True) if place else desk.saved_at
    if place and path is not None and path.suffix.lower() != ".json":
        raise RecipeError(f"save_path is ACE-Step's data set, a .json file, not {shown(path.name)}.")
    lyrics, aside = is_on(fields.get("transcribe_lyrics")), unread(fields, "format_lyrics", "stems_mode")

    def job(task: BackgroundTask) -> dict[str, Any]:
        return _label(desk, task, chosen, listeners, lyrics, path, aside)

    return desk.begin(
        LABEL, len(chosen), job, save_path=None if path is None else str(path), last_updated_index=None,
        last_updated_sample=None,
    )  # fmt: skip


def _listeners(desk: TrainingDesk, fields: Fields) -> Listeners:
    """The session's own; RecipeError for another planner than the one that is open."""
    asked, own = text_of(fields, "lm_model_path"), planner_of(desk.session, desk.session.name)
    if asked and own not in (asked, planner(asked)):
        raise RecipeError(
            f"The planner that is open is {own or 'none'}, not {shown(asked)}; /v1/init changes it, or leave lm_model_path away."
        )
    found = Listeners.of(cast("Lab", desk.session))
    return replace(found, analyze=None, extract=None) if is_on(fields.get("skip_metas")) else found


def _label(
    desk: TrainingDesk, task: BackgroundTask, chosen: Dataset, listeners: Listeners, lyrics: bool, path: Path | None,
    aside: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Describe song after song, each at once in the data set that is open; what is finished survives a kill."""
    failed, saved = 0, time.monotonic()
    progress = _progress_file(desk, path)
    for event in label(chosen, listeners, lyrics=lyrics, progress=progress, stop=task.stopping.is_set):
        dataset = desk.change(lambda dataset, event=event: labelled(dataset, [event]))  # type: ignore[misc]
        failed += event.failed
        _note(task, event, dataset)
        if path is not None and time.monotonic() - saved >= SAVE_EVERY:
            dataset.write_reference_json(path)
            saved = time.monotonic()
    if path is not None:
        _make_folder(path.parent)
        desk.dataset.write_reference_json(path)
    if task.stopping.is_set():
        raise Stopped(f"Stopped after {task.current} of {task.total} sounds; the same again goes on from there.")
    words = [f"{len(chosen) - failed} of {len(chosen)} sounds are described.", listeners.lacks]
    words += [f"{failed} could not be described whole; their remarks say why." if failed else ""]
    words += [f"{name} is left aside: lyrics are the person's own." for name in aside if name == "format_lyrics"]
    return _listing(desk, " ".join(filter(None, words)))


def _note(task: BackgroundTask, event: Labelled, dataset: Dataset) -> None:
    """Tell a poll how far it is."""
    task.current, task.said = event.done, f"{event.done} of {event.of}: {event.song.name}"
    number = next((n for n, song in enumerate(dataset) if song.name == event.song.name), None)
    if number is not None:
        task.more = task.more | {"last_updated_index": number, "last_updated_sample": sample(dataset[number], number)}


def _progress_file(desk: TrainingDesk, path: Path | None) -> Path | None:
    """Where it is kept what is finished: beside the data set's file, else in the library."""
    if path is not None:
        return path.with_name(f"{path.name}.autolabel.jsonl")
    library = getattr(desk.session.library, "folder", None)
    return None if library is None else Path(library) / "adapters" / "labels.jsonl"


def _begun(task: BackgroundTask, message: str) -> dict[str, Any]:
    if not task.total:
        message = "There is nothing left to do."
    return {"task_id": task.id, "message": message, "total": task.total}


def _waited(task: BackgroundTask) -> dict[str, Any]:
    """Wait for a task, and give what it gives; its error as one."""
    task.ended.wait()
    if task.result is None:
        raise LabError(task.error)
    return task.result


def _status_of(task: BackgroundTask | None) -> dict[str, Any]:
    if task is None:
        return {"task_id": None, "status": "idle", "progress": "", "current": 0, "total": 0}
    return task.told()


# -- lessons -----------------------------------------------------------------------------------------------------------


def preprocess(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/preprocess`: encode, and wait."""
    return _waited(_begin_preprocess(desk, fields))


def preprocess_async(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/dataset/preprocess_async`: encode in the background."""
    return _begun(_begin_preprocess(desk, fields), "Encoding the data set.")


def preprocess_status(desk: TrainingDesk, fields: Fields, id: str | None = None) -> dict[str, Any]:
    """`/v1/dataset/preprocess_status`, of the latest or by id."""
    return _status_of(desk.task(PREPROCESS, id))


def _begin_preprocess(desk: TrainingDesk, fields: Fields) -> BackgroundTask:
    """Lessons lie in the library, once for all trainings; the folder gets the data set they are of."""
    place = path_text(fields, "output_dir")
    folder, dataset, session = desk.places.of_training(place, writes=True), desk.dataset, teacher(desk)
    if (folder / MANIFEST).is_file() and not manifest.is_ours(folder / MANIFEST):
        raise LibraryError(f"{shown(folder.name)} holds another program's manifest.json; encode into another folder.")
    _make_folder(folder)

    def job(task: BackgroundTask) -> dict[str, Any]:
        task.run = run = cast("TrainingRun", session.train(dataset, lessons_only=True))
        if task.stopping.is_set():
            run.stop()
        run.wait()
        if run.error is not None:
            raise run.error if isinstance(run.error, LabError) else LabError(sentence(run.error))
        manifest.write(folder / MANIFEST, dataset, run.lessons)
        words = [f"{run.lessons} of {len(dataset)} sounds are encoded.", *run.messages]
        return {"message": " ".join(words), "output_dir": place, "num_tensors": run.lessons}

    return desk.begin(PREPROCESS, len(dataset), job)


def load_tensor_info(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/training/load_tensor_info`: what a folder of encoded sounds holds."""
    place = path_text(fields, "tensor_dir")
    found = manifest.head(_manifest_file(desk, place))
    message = f"{found['num_samples']} encoded sounds of {found['dataset_name']}."
    return {**found, "tensor_dir": place, "message": message}


def _manifest_file(desk: TrainingDesk, place: str) -> Path:
    """The manifest of a folder of encoded sounds; SourceError where there is none."""
    file = desk.places.of_training(place) / MANIFEST
    if not file.is_file():
        raise SourceError(
            f"{shown(place)} holds no sounds that were encoded here; /v1/dataset/preprocess writes such a folder. "
            "Tensors of other programs are not read."
        )
    return file


# -- trainings ---------------------------------------------------------------------------------------------------------


def teacher(desk: TrainingDesk) -> Teaches:
    """The session, where it teaches; NoTeacher else."""
    if not isinstance(desk.session, Teaches):
        raise NoTeacher(NO_TRAINING)
    return desk.session


class NoTeacher(LabError):
    """The session behind the door teaches nothing (HTTP 501)."""

    code = "TRAINING"
    status = 501


def start(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/training/start`: a LoRA."""
    return _start(desk, fields, wish(fields, "lora"))


def start_lokr(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/training/start_lokr`: a LoKr."""
    return _start(desk, fields, wish(fields, "lokr"))


def _start(desk: TrainingDesk, fields: Fields, asked: Wish) -> dict[str, Any]:
    session, tensors = teacher(desk), text_of(fields, "tensor_dir").strip()
    output = text_of(fields, "output_dir", "lora_output_dir").strip()
    folder = desk.places.of_training(output, writes=True) if output else None
    dataset = _dataset_of(desk, tensors)
    learnt = sum(song.repeat for song in split(dataset, HELD_OUT, asked.values["seed"])[0])
    options = asked.counted(learnt)
    with desk.lock:
        if desk.taught is not None and not desk.taught.run.over:
            raise RecipeError("A training is under way already; stop it first, or wait until it is done.")
        if folder is not None:
            options["folder"] = folder / _name(desk, dataset, options)
        run = cast("TrainingRun", session.train(dataset, **options))
        desk.taught = Taught(run, asked, learnt, tensors, folder)
    words = [f"Training begins: {run.steps} steps, in {run.folder.name}.", *asked.notes]
    return {
        "message": " ".join(words), "tensor_dir": tensors, "output_dir": output or str(run.folder),
        "config": asked.told(), "run_id": run.id,
    }  # fmt: skip


def _dataset_of(desk: TrainingDesk, tensors: str) -> Dataset:
    """The songs of a folder of encoded sounds; without one those that are open."""
    if not tensors:
        return desk.dataset
    return _all_inside(desk, manifest.read(_manifest_file(desk, tensors)))


def _name(desk: TrainingDesk, dataset: Dataset, options: Mapping[str, Any]) -> str:
    """A training's own folder in its output folder: the same training again goes on, another one lies beside it."""
    kept = {name: value for name, value in options.items() if name != "save_every"}
    told: list[Any] = [dataset.hash, desk.session.name, kept]
    if wordings := {song.name: said for song in dataset if (said := override_of(song))}:
        told.append(wordings)
    if by_genre(dataset):
        told.append(genre_share(dataset))
    text = json.dumps(told, sort_keys=True)
    return f"{options['kind']}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def stop(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/training/stop`: what was learnt is kept."""
    taught = desk.taught
    if taught is None or taught.run.over:
        return {"message": "No training is in progress."}
    taught.run.stop()
    return {"message": "Stopping the training; what was learnt is kept."}


def training_status(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/training/status`: step, loss, pace and time to go, under their names, and a little more."""
    taught = desk.taught
    told: dict[str, Any] = {
        "is_training": False, "should_stop": False, "current_step": 0, "total_steps": 0, "current_loss": None,
        "status": "Idle", "config": {}, "tensor_dir": "", "loss_history": [], "tensorboard_url": None,
        "tensorboard_logdir": None, "training_log": "", "start_time": None, "current_epoch": 0, "steps_per_second": 0.0,
        "estimated_time_remaining": 0.0, "error": None,
    }  # fmt: skip
    return told if taught is None else told | _status(taught)


def _status(taught: Taught) -> dict[str, Any]:
    run, asked = taught.run, taught.wish
    curve, held_out = run.curve, run.held_out_curve
    per_epoch = asked.per_epoch(taught.songs)
    history = [{"step": one.step, "loss": one.loss} for one in curve if math.isfinite(one.loss)]
    failed = run.problem if run.state == "failed" else None
    return {
        "is_training": not run.over, "should_stop": run.stopping and not run.over, "current_step": run.step,
        "total_steps": run.steps, "current_loss": history[-1]["loss"] if history else None, "status": _said(run),
        "config": asked.told(), "tensor_dir": taught.tensor_dir, "loss_history": history[-MOST_HISTORY:],
        "training_log": "\n".join([*run.messages, _said(run)]), "start_time": run.facts.created,
        "current_epoch": min(asked.epochs, math.ceil(run.step / per_epoch)),
        "steps_per_second": run.steps_per_second or 0.0, "estimated_time_remaining": run.eta or 0.0, "error": failed,
        "run_id": run.id, "fraction": run.fraction, "saved_step": run.saved_step, "output_dir": str(run.folder),
        "held_out_history": [
            {"step": one.step, "loss": one.loss} for one in held_out[-MOST_HISTORY:] if math.isfinite(one.loss)
        ],
    }  # fmt: skip


def _said(run: TrainingRun) -> str:
    """How a training stands, in a line."""
    if run.state == "done":
        return f"Training completed: {run.step} steps."
    if run.state == "failed":
        return f"Training failed: {run.problem}"
    if run.state == "stopped":
        return f"Training stopped after step {run.step}. {run.what_is_kept()}"
    return f"{run.doing[:1].upper()}{run.doing[1:]}"


# -- export ------------------------------------------------------------------------------------------------------------


def export(desk: TrainingDesk, fields: Fields) -> dict[str, Any]:
    """`/v1/training/export`: copy the newest adapter of an output folder to where it is loaded from."""
    place, output = path_text(fields, "export_path"), text_of(fields, "lora_output_dir", "output_dir").strip()
    target = desk.places.of_training(place, writes=True)
    if not desk.places.may_train_in(target.parent, writes=True):
        raise RecipeError(f"{shown(place)} is a whole folder of adapters; name a folder in it for this one.")
    source = _newest(desk, output)
    if target != source:
        _copy(source, target)
    return {"message": "The adapter is exported.", "export_path": place, "source": str(source)}


def _newest(desk: TrainingDesk, output: str) -> Path:
    """The adapter that was written last in a folder of trainings, or by the door's own last training."""
    if output:
        folder = desk.places.of_training(output)
        found = [folder / ADAPTER, *folder.glob(f"*/{ADAPTER}")]
    else:
        found = [] if desk.taught is None else [desk.taught.run.folder / ADAPTER]
    written = [(_written(one), one) for one in found if _written(one)]
    if not written:
        _missing("There is no adapter yet: nothing was trained there, or nothing was saved so far.")
    return max(written)[1]


def _written(folder: Path) -> float:
    """When an adapter was written last, in seconds since 1970; 0 where there is none."""
    try:
        return max((one.stat().st_mtime for one in folder.iterdir() if one.name in ADAPTER_FILES), default=0.0)
    except OSError:
        return 0.0


def _copy(source: Path, target: Path) -> None:
    """Put a copy in a folder's place, whole or not at all; LibraryError where something else than an adapter is there."""
    if target.exists() and not _is_adapter(target):
        raise LibraryError(f"{shown(target.name)} is there already and is no adapter; export under another name.")
    draft, old = (target.with_name(f".{target.name}.{word}") for word in ("new", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(source, draft)
        if target.exists():
            target.rename(old)
        draft.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as problem:
        shutil.rmtree(draft, ignore_errors=True)
        raise LibraryError(f"The adapter cannot be copied ({problem.strerror}).") from None


def _is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no folders, or nothing."""
    if not folder.is_dir():
        return False
    inside = list(folder.iterdir())
    return not inside or (any(one.name in ADAPTER_FILES for one in inside) and all(one.is_file() for one in inside))

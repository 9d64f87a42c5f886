"""A training from songs to an adapter, on the session's worker: songs become lessons, the encoders leave, steps are made.

The work gives way after every song, step and preview. What a stop or a crash leaves in the folder is gone on from by the same
call. Knows engines by their contract; no page.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import ShowsHidden, Trains, able
from acestep_lab.engines.opened import OpenEngines
from acestep_lab.errors import LabError, LibraryError, MachineError, RecipeError, SourceError, Stopped, shown
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.rendering import Renderer
from acestep_lab.jobs.training import ENCODE, PREVIEW, TRAIN, Loss, Preview, TrainingRun
from acestep_lab.models.adapters import opened as open_adapters
from acestep_lab.models.device_manager import is_out_of_memory
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED
from acestep_lab.takes.library import Problem
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take
from acestep_lab.train.alignment import Alignment, block_of
from acestep_lab.train.cache import ROADS, CachedLessons, Failed, Kept, LessonCache, TrainableEngine
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.forecast import TrainingPlan, foretold
from acestep_lab.train.lora import UNTOLD, HeldOut, LoraConfig, Trainer, check_rank, ends_of
from acestep_lab.train.loss_history import LossHistory
from acestep_lab.train.model_card import Card
from acestep_lab.train.optimisers import must_be_here
from acestep_lab.train.ranks import Ranks
from acestep_lab.train.repa import FeatureCache, HeardSongs, KeptFeatures, SoundEncoder, encoders_of
from acestep_lab.train.rows import (
    LEAST_SPLIT,
    by_genre,
    captioned,
    genre_share,
    has_words,
    opened,
    recipe_of,
    split,
    tag_of,
)
from acestep_lab.train.run_folder import RunFacts, RunFolder
from acestep_lab.train.run_memory import checkpoint_of, recall, write_changes, write_previews
from acestep_lab.train.run_memory import opened as opened_run
from acestep_lab.train.song import Song
from acestep_lab.train.wordings import Wordings

NOT_TAUGHT = "cannot be taught an adapter; open a checkpoint that can, such as 'pocket' or 'turbo'"
NOT_LOOKED_INTO = "cannot be looked into between its blocks, as repa needs; train without it"
PREVIEW_SECONDS = 10.0
"""Length of a preview, unless a recipe for it says otherwise."""
MOST_NAME = 40
MOST_NAMED = 10
"""Files left out that are named one by one."""
TRAININGS, LESSONS = "adapters", "lessons"
"""Where trainings lie in a library's folder, and their lessons beside them."""


@dataclass(frozen=True)
class Asked:
    """A training as it was asked for, everything checked."""

    engine: TrainableEngine
    rows: tuple[Song, ...]
    """To learn from."""
    held_out: tuple[Song, ...]
    config: LoraConfig
    roads: tuple[str, ...]
    folder: Path
    preview: Recipe
    title: str
    tag: str
    encoders: tuple[SoundEncoder, ...] = ()
    """Whose features the model's states are drawn towards (REPA)."""
    ranks: Ranks = field(default_factory=Ranks)
    """Which of the processes this is that teach together."""
    genres: tuple[Song, ...] = ()
    """Those to learn from that are also taught by their genre."""
    genre_share: float = 0.0
    """Share of their lessons that is."""
    left_out: tuple[Problem, ...] = ()
    """Files that scanning left out, where the training scanned; nobody else has told of them."""

    @property
    def name(self) -> str:
        """What its previews are called by."""
        return self.tag[:MOST_NAME] or "preview"


@dataclass(eq=False)
class Training:
    """A training under way."""

    run: TrainingRun
    asked: Asked
    lessons: list[Kept] = field(default_factory=list)
    held_out: list[Kept] = field(default_factory=list)
    heard: dict[str, list[KeptFeatures]] = field(default_factory=dict)
    """Of each song what each encoder hears in it."""
    genres: list[Kept] = field(default_factory=list)
    bare: Take | None = None
    """The preview without the adapter: the same each time."""
    before: LossHistory = field(default_factory=LossHistory)
    """Losses of the runs that this one goes on from."""

    @cached_property
    def folder(self) -> RunFolder:
        """Where it is kept; made when it is first asked for."""
        return RunFolder(self.asked.folder)


class Teaching:
    """Begins trainings, and does them on the queue's thread."""

    def __init__(self, engines: OpenEngines, renderer: Renderer, sounds: Sounds, queue: JobQueue) -> None:
        self.engines, self.renderer, self.sounds, self.queue = engines, renderer, sounds, queue

    def begin(
        self, songs: Any, config: Any = None, dry_run: bool = False, lessons_only: bool = False, **how: Any
    ) -> TrainingRun | TrainingPlan:  # fmt: skip
        """Queue a training, or (`dry_run`) say what it would take; RecipeError for what cannot be learnt, before any work.

        `lessons_only` reads the songs and ends there: a training of them then begins with its first step.
        """
        self.queue.must_be_open()
        asked = self.asked(songs, config, **how)
        if checks.truth("dry_run", dry_run):
            self.queue.refuse_to_wait()
            return self.queue.call(partial(self._foretell, asked))
        steps, every = asked.config.steps, asked.config.preview_every
        seconds = sum(row.seconds for row in asked.rows)
        previews = -(-steps // every) if every else 0
        songs_read = (len(asked.rows) + len(asked.held_out)) * (len(asked.roads) + len(asked.encoders))
        songs_read += len(asked.genres) * len(asked.roads)
        if checks.truth("lessons_only", lessons_only):
            title = f"reading {songs_read} song{'s' * (songs_read != 1)} to learn from"
            run = TrainingRun(title, 0, songs_read, 0, self.home / LESSONS, seconds)
            return self.queue.submit(run, partial(self.read, asked=asked))
        run = TrainingRun(asked.title, steps, songs_read, previews, asked.folder, seconds)
        self._equip(run, asked.engine.name)
        run.sounds = partial(_sounds, asked.rows)
        for sentence in _not_scanned(asked.left_out):
            run.message(sentence)
        return self.queue.submit(run, partial(self.work, asked=asked))

    def look(self, folder: Any) -> TrainingRun:
        """A training as its folder shows it: the one under way there, else one that is over; nothing is trained.

        `folder` is a path, or the name of one in the library. LibraryError where there is no training.
        """
        place = Path(checks.place("A training's folder", folder, LibraryError)).expanduser()
        if not place.exists() and (self.home / place).exists():
            place = self.home / place
        known = (one for one in self.queue.runs() if isinstance(one, TrainingRun) and not one.over)
        live = next((one for one in known if one.folder.resolve() == place.resolve()), None)
        if live is not None:
            return live
        run = opened_run(place, self.sounds.load)
        self._equip(run, checkpoint_of(place))
        return run

    def _equip(self, run: TrainingRun, checkpoint: str) -> None:
        """Let a run put its adapter on, and measure what that changes."""
        run.put_on = lambda strength: self.renderer.attach([(run.folder, strength)] if strength else [])
        run.bare = partial(self._bare, checkpoint)
        run.keep_changes = partial(write_changes, run.folder)

    def _bare(self, checkpoint: str, recipes: Sequence[Recipe]) -> list[Take]:
        """Takes without any adapter, of which none is kept; RecipeError where the checkpoint that was taught is not open."""
        if checkpoint not in self.engines.names:
            raise RecipeError(f"What changed is measured with {shown(checkpoint)}, which was taught; open it first.")
        before = set(self.sounds.library.ids())
        takes = self.renderer.begin(recipes, engine=self.engines.named(checkpoint), adapters=[]).takes()
        for take in takes:
            if take.id not in before and take.id in self.sounds.library:
                self.sounds.library.bin(take.id)
        return takes

    def asked(
        self, songs: Any, config: Any = None, folder: Any = None, roads: Any = ("words",), preview: Any = None,
        repa: Any = (), ranks: Any = None, **options: Any,
    ) -> Asked:  # fmt: skip
        """What is asked for, with everything checked that needs no weights; `repa` are encoders of sound to align with."""
        engine = able(self.engines.current, Trains, NOT_TAUGHT, self.engines.current.capabilities.trains)
        trainable = cast("TrainableEngine", engine)
        settled, said, found = _config(config, options), opened(songs), _roads(roads)
        rows = captioned(said)
        if "codes" in found and not trainable.capabilities.codes:
            raise RecipeError(f"{trainable.name} has no audio codes to learn from; train with roads=('words',).")
        check_rank(settled, engine.training_rule.most_rank)
        ends_of(settled.targets, engine.training_rule.targets)
        must_be_here(settled.optimiser)
        encoders = _encoders(trainable, repa, settled)
        together = checks.instance("ranks", ranks, (Ranks, type(None))) or Ranks()
        learnt, held_out = split(rows, settled.held_out, settled.seed)
        wanted = checks.instance("A preview", preview, (Recipe, type(None)), " Such as Recipe('zafu', seconds=10).")
        usual = _usual_preview((*held_out, *learnt))
        wanted = wanted or usual
        if wanted.seed is None:
            wanted = wanted.replace(seed=settled.seed % (MAX_SEED + 1))
        tag = tag_of(rows)
        title = f"{tag or 'an adapter'}, taught by {len(learnt)} song{'s' * (len(learnt) != 1)}"
        names = {row.name for row in learnt}
        genres, share = tuple(one for one in by_genre(said) if one.name in names), genre_share(said)
        asked = Asked(
            trainable, learnt, held_out, settled, found, Path(), wanted, title, tag, encoders, together, genres, share,
            () if isinstance(songs, Dataset) else said.problems,
        )  # fmt: skip
        return replace(asked, folder=self._folder(folder, asked))

    def _folder(self, folder: Any, asked: Asked) -> Path:
        """The folder asked for; else one in the library, named by what is trained, so that the same call finds it again."""
        if folder is not None:
            return Path(checks.place("A training's folder", folder, LibraryError)).expanduser()
        songs, config = [_named(row) for row in (*asked.rows, *asked.held_out)], asked.config
        told: list[Any] = [songs, repr(config), list(asked.roads), asked.engine.training_mark]
        if asked.encoders:
            told.append([[one.key for one in asked.encoders], config.repa_block, config.repa_coefficient])
        if asked.genres:
            told.append([asked.genre_share, [_named(row) for row in asked.genres]])
        text = json.dumps(told, sort_keys=True)
        name = re.sub(r"[^\w.-]+", "-", asked.engine.name).strip("-.") or "checkpoint"
        return self.home / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def home(self) -> Path:
        """Where trainings lie."""
        return Path(self.sounds.library.folder) / TRAININGS

    @property
    def cache(self) -> LessonCache:
        """Where lessons are kept, of all trainings."""
        return LessonCache(self.home / LESSONS)

    @property
    def features(self) -> FeatureCache:
        """Where what encoders hear is kept, of all trainings."""
        return FeatureCache(self.home / LESSONS)

    # -- on the worker thread ------------------------------------------------------------------------------------------

    def work(self, run: TrainingRun, asked: Asked) -> Iterator[None]:
        """The whole of a training, in pieces."""
        training = Training(run, asked)
        with training.folder.locked() if asked.ranks.is_main else nullcontext():
            yield from self._begin(training)
            self.engines.devices.free()  # encoders and autoencoder, before the transformer comes a second time
            yield from self._teach(training)
        run.finish()

    def read(self, run: TrainingRun, asked: Asked) -> Iterator[None]:
        """A lesson for every song, and no step; the encoders leave at the end."""
        yield from self._encode(Training(run, asked))
        self.engines.devices.free()
        run.finish()

    def _begin(self, training: Training) -> Iterator[None]:
        """Lessons, and the folder claimed: by the main process; the others read what it made, or hear why there is nothing."""
        ranks, problem = training.asked.ranks, None
        if ranks.is_main:
            try:
                yield from self._encode(training)
                training.folder.claim(self._facts(training))
            except LabError as found:
                problem = found
        said = ranks.gathered("" if problem is None else str(problem))[0]
        if problem is not None:
            raise problem
        if said:
            raise MachineError(said)
        if not ranks.is_main:
            yield from self._encode(training)

    def _encode(self, training: Training) -> Iterator[None]:
        """A lesson for every song; one that cannot be read is left out and named."""
        run, asked = training.run, training.asked
        longest = max(row.seconds for row in (*asked.rows, *asked.held_out))
        room = self.engines.longest(asked.engine)
        self.engines.fit_to(asked.engine, min(longest, room), 1)
        failed: list[Failed] = []
        for rows, into in (
            (asked.rows, training.lessons), (asked.held_out, training.held_out), (asked.genres, training.genres),
        ):  # fmt: skip
            making = self.cache.make(asked.engine, rows, asked.roads, room, run.stop_event)
            for _ in range(len(rows) * len(asked.roads)):
                self._begin_song(training)
                began = time.monotonic()
                with self.engines.notifying(run.message):
                    found = next(making)
                if isinstance(found, Failed):
                    failed.append(found)
                    learnt = "is left out" if rows is not asked.genres else "is not learnt by its genre"
                    run.message(f"{found.name} {learnt}: {found.why}")
                else:
                    run.lessons += 1
                    into.append(found)
                run.did(ENCODE, time.monotonic() - began)
                yield
            into[:] = _in_order(into, rows, asked.roads)
        for encoder in asked.encoders:
            yield from self._hear(training, encoder, failed)
        if asked.config.held_out and not training.held_out:
            run.message(_none_held_out(len(asked.rows) + len(asked.held_out)))
        if not training.lessons:
            why = f" ({failed[0].name}: {failed[0].why})" if failed else ""
            raise RecipeError(f"None of the songs can be learnt from{why}")

    def _begin_song(self, training: Training) -> None:
        """Be at the songs; where processes teach together, only the first is stopped here, and tells the others."""
        if training.asked.ranks.is_main and training.asked.ranks.wish.is_set():
            training.run.stop()
        training.run.begin(ENCODE)

    def _hear(self, training: Training, encoder: SoundEncoder, failed: list[Failed]) -> Iterator[None]:
        """What an encoder hears in every song that has a lesson; a song that it cannot hear is left out and named."""
        run, asked = training.run, training.asked
        for row in {one.name: one for one in (*asked.rows, *asked.held_out)}.values():
            self._begin_song(training)
            began = time.monotonic()
            if any(one.name == row.name for one in (*training.lessons, *training.held_out)):
                found = next(self.features.make(encoder, [row], run.stop_event))
                if isinstance(found, Failed):
                    failed.append(found)
                    run.message(f"{found.name} is left out: {found.why}")
                    for lessons in (training.lessons, training.held_out):
                        lessons[:] = [one for one in lessons if one.name != row.name]
                else:
                    training.heard.setdefault(row.name, []).append(found)
            run.did(ENCODE, time.monotonic() - began)
            yield

    def _teach(self, training: Training) -> Iterator[None]:
        """Steps, from wherever the folder's training is."""
        run, asked, folder = training.run, training.asked, training.folder
        facts = self._facts(training)
        run.begin(TRAIN)
        with _memory_told(asked.config):
            trainer = self._trainer(training)
            run.goes_on(folder.resume(trainer))
        if run.step:
            run.message(f"It goes on after step {run.step}.")
        training.before = LossHistory.read(folder.folder).until(run.step)
        recall(run, folder.folder, run.step, self.sounds.load, asked.preview)
        yield
        try:
            yield from self._steps(training, trainer, facts)
        except Stopped:
            if trainer.step:
                self._keep(training, trainer, facts, folder.save)
            raise run.stopped() from None
        except MachineError:  # no number any more: the last good weights, but not the state that led there
            if trainer.has_good:  # else what lies there is older, and better
                self._keep(training, trainer, facts, folder.save_adapter)
            raise
        self._keep(training, trainer, facts, folder.save)

    def _keep(
        self, training: Training, trainer: Trainer, facts: RunFacts, save: Callable[[Trainer, RunFacts], object]
    ) -> None:
        """Write how it ended; of processes that teach together the first alone does."""
        if training.asked.ranks.is_main:
            save(trainer, facts)
            training.run.saved(trainer.step)
            self._tell(training, trainer, facts)

    def _steps(self, training: Training, trainer: Trainer, facts: RunFacts) -> Iterator[None]:
        run, config = training.run, training.asked.config
        events, heard = trainer.run(partial(self._check, training)), max((one.step for one in run.previews), default=-1)
        previews = config.preview_every if training.asked.ranks.is_main else 0
        while True:
            run.begin(TRAIN)
            began = time.monotonic()
            with _memory_told(config):
                event = next(events, None)
            if event is None:
                break
            if isinstance(event, HeldOut):
                told = Loss(event.step, event.total, True, dict(event.losses), event.best, alignment=event.alignment)
                run.held_out(told)
                continue
            run.learnt(Loss(event.step, event.loss, learning_rate=event.learning_rate, alignment=event.alignment))
            run.did(TRAIN, time.monotonic() - began)
            if event.step % config.save_every == 0 and event.step < config.steps and training.asked.ranks.is_main:
                self._save(training, trainer, facts)
            yield
            if previews and event.step % previews == 0:
                heard = event.step
                yield from self._preview(training, trainer, facts)
        if previews and heard != trainer.step:
            yield from self._preview(training, trainer, facts)

    @staticmethod
    def _check(training: Training) -> None:
        """Raise Stopped where somebody asked to stop: of processes that teach together any of them, and all at once."""
        ranks = training.asked.ranks
        if any(ranks.gathered(ranks.wish.is_set())):
            training.run.stop()
        training.run.check()

    def _save(self, training: Training, trainer: Trainer, facts: RunFacts) -> None:
        """Keep how far it is; a full disk costs a sentence, and what was kept before stays."""
        try:
            training.folder.save(trainer, facts)
            training.run.saved(trainer.step)
            self._history(training).write(training.folder.folder)
        except LibraryError as problem:
            training.run.message(f"{problem} Training goes on; free some space before it ends.")

    def _history(self, training: Training) -> LossHistory:
        """All losses so far, those of earlier runs included."""
        return training.before.and_of((*training.run.curve, *training.run.held_out_curve))

    def _tell(self, training: Training, trainer: Trainer, facts: RunFacts) -> None:
        """Write the adapter's README and the curve; what goes wrong there costs a sentence, the adapter is kept."""
        run, folder, history = training.run, training.folder, self._history(training)
        try:
            history.write(folder.folder)
            Card(facts.adapter(trainer.step), history, run.previews[-1] if run.previews else None).write(folder.adapter)
        except LabError as problem:
            run.message(f"The adapter is kept, but not all that is told of it: {problem}")

    def _facts(self, training: Training) -> RunFacts:
        asked = training.asked
        kept: list[Any] = [[one.key for one in lessons] for lessons in (training.lessons, training.held_out)]
        if training.genres:
            kept.append([asked.genre_share, *(one.key for one in training.genres)])
        return RunFacts.of(
            asked.config, asked.encoders, asked.ranks.count, data=hashlib.sha256(json.dumps(kept).encode()).hexdigest(), checkpoint=asked.engine.name,
            mark=asked.engine.training_mark, dtype=str(self._dtype(asked)).removeprefix("torch."), roads=asked.roads,
            tag=asked.tag, songs=len({one.name for one in training.lessons}), family=asked.engine.capabilities.family,
        )  # fmt: skip

    def _trainer(self, training: Training) -> Trainer:
        lessons, held_out = (CachedLessons(self.cache, kept) for kept in (training.lessons, training.held_out))
        names = [one.name for one in training.lessons]
        asked = training.asked
        alignment = self._alignment(training) if asked.encoders else None
        worded = self._wordings(training, lessons) if training.genres else None
        return Trainer(
            asked.engine, lessons, asked.config, held_out, names, self._dtype(asked), alignment, asked.ranks, worded
        )

    def _alignment(self, training: Training) -> Alignment:
        """What the encoders heard, lesson by lesson."""
        encoders, cache = training.asked.encoders, self.features
        heard = [
            HeardSongs(cache, [training.heard[one.name] for one in lessons])
            for lessons in (training.lessons, training.held_out)
        ]
        names, marks, widths = zip(*((one.name, one.key, one.width) for one in encoders), strict=True)
        return Alignment(names, marks, widths, *heard)

    def _wordings(self, training: Training, lessons: CachedLessons) -> Wordings:
        """The lessons with the genre as their words, beside those with the caption."""
        at = {(one.name, one.road): place for place, one in enumerate(training.genres)}
        pairs = ((place, at.get((one.name, one.road))) for place, one in enumerate(training.lessons))
        other_at = {place: other for place, other in pairs if other is not None}
        others, asked = CachedLessons(self.cache, training.genres), training.asked
        return Wordings(lessons, others, other_at, asked.genre_share, asked.config.seed)

    def _dtype(self, asked: Asked) -> torch.dtype:
        """What the frozen weights compute in: bfloat16 on a card that renders in it; the adapter itself is in float32."""
        if asked.ranks.dtype is not None:
            return asked.ranks.dtype
        wanted = self.engines.memory_plan(asked.engine).torch_dtype
        on_card = self.engines.device(asked.engine).type == "cuda"
        return torch.bfloat16 if on_card and wanted == torch.bfloat16 else torch.float32

    # -- previews ------------------------------------------------------------------------------------------------------

    def _preview(self, training: Training, trainer: Trainer, facts: RunFacts) -> Iterator[None]:
        """The same recipe and seed without the adapter (once) and with it as of now; what goes wrong costs a sentence."""
        run, asked = training.run, training.asked
        run.begin(PREVIEW)
        began = time.monotonic()
        try:
            if training.bare is None:
                training.bare = self._take(training, [], f"{asked.name}, without")
            place = training.folder.folder / f"step-{trainer.step}"
            training.folder.write(place, trainer, facts)
            take = self._take(training, [(place, 1.0)], f"{asked.name}, step {trainer.step}")
            run.preview(Preview(trainer.step, take, training.bare))
            write_previews(training.folder.folder, run.previews, asked.preview)
        except Stopped:
            raise
        except LabError as problem:
            run.message(f"There is no preview of step {trainer.step}: {problem}")
        self.engines.devices.free()  # the next preview's adapter would come on top of this one's
        run.did(PREVIEW, time.monotonic() - began)
        yield

    def _take(self, training: Training, adapters: Sequence[tuple[Path, float]], title: str) -> Take:
        """A take of the preview's recipe with these adapters and no others, kept under a title."""
        run = training.run
        item = self.renderer.resolve(training.asked.preview, None, training.asked.engine)
        with run.client.acting(title):
            aside = _Aside(run, [item.request.recipe])
        self.renderer.render(aside, [item], adapters=open_adapters(adapters))
        for sentence in aside.messages:
            run.message(sentence)
        take = aside.made[0]
        if take.id in self.sounds.library:
            self.sounds.library.mark(take.id, title=title, batch=run.id)
        return take

    # -- beforehand ----------------------------------------------------------------------------------------------------

    def _foretell(self, asked: Asked) -> TrainingPlan:
        rows, held_out = ([row for row in some if has_words(row)] for some in (asked.rows, asked.held_out))
        plan = foretold(self.engines, self.cache, asked.engine, (rows, held_out), asked.config, asked.roads,
                        asked.folder, self._dtype(asked), (self.features, asked.encoders))  # fmt: skip
        more = sum(not self.cache.has(asked.engine, row, road) for row in asked.genres for road in asked.roads)
        return replace(plan, to_read=plan.to_read + more) if more else plan


class _Aside(RenderRun):
    """A render inside a training: whoever stops the one stops the other."""

    def __init__(self, beside: TrainingRun, recipes: Sequence[Recipe]) -> None:
        super().__init__(recipes)
        self._stop = beside.stop_event


@contextmanager
def _memory_told(config: LoraConfig) -> Iterator[None]:
    """Too little memory becomes a sentence that says what would make it fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        ways = ["" if config.gradient_checkpointing else "gradient_checkpointing=True", "a shorter crop_seconds"]
        ways += [f"batch=1 with accumulation={config.batch}"] if config.batch > 1 else []
        raise MachineError(
            f"There is too little memory for a step of this training. Try {', '.join(way for way in ways if way)}; "
            "lab.train(…, dry_run=True) says what it takes."
        ) from problem


def _config(config: Any, options: Mapping[str, Any]) -> LoraConfig:
    """A config with some of its values given by name."""
    known = (
        checks.instance("A config", config, (LoraConfig, type(None)), " Such as LoraConfig(rank=16).") or LoraConfig()
    )
    checks.known_fields("A training", options, tuple(LoraConfig.__dataclass_fields__))
    return known.replace(**options)


def _encoders(engine: TrainableEngine, repa: Any, config: LoraConfig) -> tuple[SoundEncoder, ...]:
    """The encoders to align with, each asked once whether it hears at all."""
    found = encoders_of(repa)
    if not found:
        asked = next((name for name, usual in UNTOLD.items() if getattr(config, name) != usual), None)
        if asked is not None:
            raise RecipeError(f"{asked} says how a training is aligned; hand in an encoder too: repa=[my_model].")
        return ()
    block_of(config.repa_block, able(engine, ShowsHidden, NOT_LOOKED_INTO).hidden_shape[0])
    for one in found:
        one.width  # noqa: B018 - RecipeError where it gives no features
    return found


def _roads(roads: Any) -> tuple[str, ...]:
    listed = (roads,) if checks.is_a(roads, str) else checks.sequence("roads", roads, len(ROADS))
    found = tuple(dict.fromkeys(checks.choice("road", one, ROADS) for one in listed))
    if not found:
        raise RecipeError(f"roads are one or both of {', '.join(ROADS)}.")
    return found


def _in_order(lessons: Sequence[Kept], rows: Sequence[Song], roads: Sequence[str]) -> list[Kept]:
    """Lessons by road and song, each as often as its song is visited: in whichever order they were made or found."""
    made = {(one.road, one.name): one for one in lessons}
    wanted = ((made.get((road, row.name)), row.repeat) for road in roads for row in rows)
    return [one for one, repeat in wanted if one is not None for _ in range(repeat)]


def _not_scanned(problems: Sequence[Problem]) -> list[str]:
    """Sentences on files that were left out when a folder was scanned: on the first of them, and how many more there are."""
    told = [f"{one.name} is left out: {one.sentence}" for one in problems[:MOST_NAMED]]
    more = len(problems) - MOST_NAMED
    return [*told, f"{more} more files are left out; Dataset.scan(…).problems names them."] if more > 0 else told


def _none_held_out(songs: int) -> str:
    """Why there is no held-out loss to judge by."""
    if songs >= LEAST_SPLIT:
        return "No song could be held out, so only the running loss tells how it goes."
    few = "With one song" if songs == 1 else f"With {songs} songs"
    return (
        f"{few} none is held out ({LEAST_SPLIT} are enough), so only the running loss tells how it goes, which falls too while "
        "songs are learnt by heart. Previews tell more."
    )


def _named(row: Song) -> list[Any]:
    """A song by its sound and its words."""
    return [row.sound_hash, recipe_of(row, row.seconds).to_json() if has_words(row) else None]


def _sounds(rows: Sequence[Song]) -> Iterator[Audio]:
    """The sounds of songs, each read when it is asked for; those that cannot be read are none of them."""
    for row in rows:
        try:
            yield row.audio()
        except SourceError:
            continue


def _usual_preview(rows: Sequence[Song]) -> Recipe:
    """The words of the first song that has any; RecipeError where none has."""
    first = next((row for row in rows if has_words(row)), None)
    if first is None:
        raise RecipeError(
            "None of these songs has words, so nothing could call up what is learnt; give them a tag, songs.edit(tag='zafu'), "
            "or let them be labelled: lab.label(songs)."
        )
    return recipe_of(first, min(first.seconds, PREVIEW_SECONDS)).replace(seed=None)

"""Labels for many songs, on whichever machines there are: the road of a sweep. What is said of each is told as it comes.

Knows data sets, and sessions by their verbs. A song's sound travels with it; what was said stays here, in the asker's file, so that the
same call goes on after a stop or a kill.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, Stopped, sentence
from acestep_lab.jobs.client import at_priority
from acestep_lab.sweep.work import MODEST, Job, News, Pool, Watch
from acestep_lab.takes.take import Take
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.label import GUESSED, HEARD, Labelled, Listeners, label
from acestep_lab.train.label_progress import Finished, LabelProgress
from acestep_lab.train.labels import Remark
from acestep_lab.train.song import Song


def label_song(
    lab: Any, watch: Watch, song: Song, sound: Take | Audio, seeds: int, lyrics: bool
) -> Finished:  # fmt: skip
    """What a session says of one song, by what its checkpoint can do."""
    with at_priority(MODEST), tempfile.TemporaryDirectory(prefix="acestep-lab-") as folder:
        here = _with_sound(song, sound, Path(folder))
        events = list(label(Dataset((here,)), Listeners.of(lab), seeds=seeds, lyrics=lyrics, stop=watch.stopped))
    if not events:
        raise Stopped("The listening was stopped.")
    return dict(events[0].labels), events[0].remarks


def _with_sound(song: Song, sound: Take | Audio, folder: Path) -> Song:
    if isinstance(sound, Take):
        return replace(song, held=sound, path=None)
    return replace(song, held=None, path=sound.write(folder / "song.wav"))


def label_on(
    pool: Pool, songs: Dataset, tell: Callable[[Labelled], None], stop: Callable[[], bool], *, seeds: int, lyrics: bool,
    progress: Path | None,
) -> None:  # fmt: skip
    """Have songs labelled by a pool, and tell after each one; those that are finished already are told at once."""
    _Labelling(pool, songs, tell, stop, seeds, lyrics, LabelProgress(progress)).run()


class _Labelling:
    """One run over a data set."""

    def __init__(
        self, pool: Pool, songs: Dataset, tell: Callable[[Labelled], None], stop: Callable[[], bool], seeds: int, lyrics: bool,
        progress: LabelProgress,
    ) -> None:  # fmt: skip
        self._pool, self._songs, self._tell, self._stop = pool, tuple(songs), tell, stop
        self._how, self._progress, self._done = {"seeds": seeds, "lyrics": lyrics}, progress, 0
        self._keys: dict[int, str] = {}

    def run(self) -> None:
        """Until all are done, or somebody stops."""
        self._pool.run(self._jobs(), self._hear, self._stop)

    def _jobs(self) -> Iterator[Job]:
        for place, song in enumerate(self._songs):
            try:
                self._keys[place] = _key(song, self._pool.checkpoint, self._how)
            except (LabError, OSError) as problem:
                self._failed(place, problem)
                continue
            known = self._progress.get(self._keys[place])
            if known is not None:
                self._say(place, known, resumed=True)
            else:
                yield Job(place, label_song, partial(self._arguments, song))

    def _arguments(self, song: Song) -> Mapping[str, Any]:
        sound = song.held if song.held is not None else song.audio()
        return {"song": replace(song, held=None, path=None), "sound": sound, **self._how}

    def _hear(self, news: News) -> None:
        if news.kind == "done":
            labels, remarks = news.value
            if not any(remark.kind == "label" for remark in remarks):
                self._progress.add(self._keys[news.place], self._songs[news.place].name, labels, remarks)
            self._say(news.place, (labels, remarks))
        elif news.kind == "failed":
            self._failed(news.place, news.value)

    def _failed(self, place: int, problem: BaseException) -> None:
        self._say(place, ({}, (Remark("label", f"It cannot be listened to: {sentence(problem)}"),)))

    def _say(self, place: int, said: Finished, resumed: bool = False) -> None:
        self._done += 1
        labels, remarks = said
        song = self._songs[place].filled(labels)
        self._tell(Labelled(self._done, len(self._songs), song, labels, remarks, resumed))


def _key(song: Song, checkpoint: str, how: Mapping[str, Any]) -> str:
    """A name for a song's sound, who listens, and what a person said that is listened with."""
    fields = [*HEARD, *GUESSED, "lyrics"]
    given = {name: song.labels[name].value for name in fields if name in song.labels and not song.may_fill(name)}
    text = json.dumps([song.sound_hash, "elsewhere", checkpoint, dict(how), given], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]

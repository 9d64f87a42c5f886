"""Processes that teach together: their batches side by side are one batch, they stop at once, and the first alone writes."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from acestep_lab import Recipe, Session
from acestep_lab.errors import LabError, MachineError, RecipeError
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train.__main__ import last_line, take_own_card
from acestep_lab.train.lora import HeldOut, LoraConfig, Trainer
from acestep_lab.train.ranks import AcceleratedRanks, Ranks
from tests.test_train_lora import lesson

CONFIG = LoraConfig(rank=2, steps=4, learning_rate=1e-2, warm_up=0, seed=3, held_out_every=2, accumulation=2)
LESSONS = [lesson(frames=24 + 6 * seed, seed=seed, tokens=5 + seed) for seed in range(5)]


class Meeting:
    """Where threads that stand in for processes meet: each says something, and all hear everything."""

    def __init__(self, count: int) -> None:
        self.count, self._said, self._door = count, [None] * count, threading.Barrier(count)

    def of(self, number: int, value: Any) -> list[Any]:
        """What all of them said, in order."""
        self._said[number] = value
        self._door.wait(60)
        heard = list(self._said)
        self._door.wait(60)
        return heard


class ThreadRanks(Ranks):
    """One of several that train together, in a thread of this process."""

    def __init__(self, meeting: Meeting, number: int) -> None:
        super().__init__()
        self._meeting, self.number, self.count = meeting, number, meeting.count

    def gathered(self, value: Any) -> list[Any]:
        return self._meeting.of(self.number, value)

    def average(self, tensors: Sequence[Tensor]) -> None:
        heard = self.gathered([one.clone() for one in tensors])
        for place, one in enumerate(tensors):
            one.copy_(torch.stack([each[place] for each in heard]).mean(dim=0))


def together(count: int, make: Callable[[Ranks], Trainer]) -> list[Any]:
    """Each one's adapter and events, or its error. Made one after another: threads share torch's generator, processes do not."""
    meeting, found = Meeting(count), list[Any]([None] * count)
    trainers = [make(ThreadRanks(meeting, number)) for number in range(count)]

    def one(number: int) -> None:
        try:
            found[number] = (list(trainers[number].run()), trainers[number].adapter_state())
        except LabError as problem:
            found[number] = problem

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found


@pytest.fixture(scope="module")
def lab(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


def trainer(lab: Session, config: LoraConfig, ranks: Ranks | None = None, lessons: Any = LESSONS) -> Trainer:
    return Trainer(lab.engine, lessons, config, LESSONS[:3], ranks=ranks)  # type: ignore[arg-type]


def test_two_with_a_batch_of_one_teach_what_one_with_a_batch_of_two_does(lab: Session) -> None:
    one_alone = trainer(lab, CONFIG.replace(batch=2))
    told, alone = list(one_alone.run()), one_alone.adapter_state()
    (events, first), (_, second) = together(2, lambda ranks: trainer(lab, CONFIG, ranks))
    assert all(torch.equal(one, second[name]) for name, one in first.items())
    furthest = max(float((one - first[name]).abs().max()) for name, one in alone.items())
    assert furthest < 1e-4  # of weights up to 0.3
    pairs = list(zip(told, events, strict=True))
    for one, other in pairs:
        both = [sum(e.losses.values()) if isinstance(e, HeldOut) else e.loss for e in (one, other)]
        assert both[0] == pytest.approx(both[1], rel=1e-4)


def test_a_loss_that_is_no_number_stops_all_and_names_the_song(lab: Session) -> None:
    broken = [*LESSONS[:4], lesson(seed=9)]
    broken[4].target[:] = float("nan")
    found = together(2, lambda ranks: trainer(lab, CONFIG, ranks, broken))
    assert all(isinstance(one, MachineError) and "lesson 5" in str(one) for one in found)


def test_shares_of_a_batch_are_disjoint_and_whole(lab: Session) -> None:
    places = []
    for number in range(3):
        ranks = Ranks()
        ranks.number, ranks.count = number, 3
        one = Trainer(lab.engine, LESSONS, CONFIG.replace(batch=2), ranks=ranks)  # type: ignore[arg-type]
        places.append(one._places(4)[ranks.share(2)])
    assert len({len(one) for one in places}) == 1
    assert [place for one in places for place in one] == one._places(4)


def test_one_process_alone_says_what_the_launcher_does_and_changes_no_tensor() -> None:
    class Alone:
        process_index, num_processes, mixed_precision, gradient_accumulation_steps = 0, 1, "bf16", 4

    ranks, tensor = AcceleratedRanks(cast(Any, Alone())), torch.ones(2)
    ranks.average([tensor])
    ranks.from_main([tensor])
    assert (ranks.dtype, ranks.accumulation, ranks.gathered("word")) == (torch.bfloat16, 4, ["word"])
    assert ranks.is_main
    assert torch.equal(tensor, torch.ones(2))
    Alone.mixed_precision = "fp16"
    with pytest.raises(MachineError, match="no or bf16, not 'fp16'"):
        AcceleratedRanks(cast(Any, Alone()))


@pytest.mark.parametrize(
    ("given", "card"),
    [
        ({"LOCAL_RANK": "1"}, "1"),
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4,6"}, "6"),
        ({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "4,6"}, "4,6"),
        ({"LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": ""}, ""),
    ],
)
def test_each_process_sees_its_own_card(given: dict[str, str], card: str) -> None:
    take_own_card(given)
    assert given["CUDA_VISIBLE_DEVICES"] == card


def test_what_a_silent_process_said_last_is_what_went_wrong() -> None:
    assert last_line(io.StringIO("reading\nacestep-lab: no room\n\n")) == "acestep-lab: no room"
    assert last_line(io.StringIO()) == "it failed without a word"


def test_a_wish_to_stop_keeps_what_was_learnt_and_others_are_gone_on_with_by_as_many(
    lab: Session, tmp_path: Path
) -> None:
    songs: list[Take] = [lab.make(Recipe(f"song {n}", seconds=2, seed=n, steps=1)) for n in range(2)]
    ranks, options = Ranks(), {"steps": 6, "rank": 2, "held_out_every": 3, "folder": tmp_path / "zafu"}
    run = lab.train(songs, ranks=ranks, **options)
    run.subscribe(lambda event: ranks.wish.set() if event.kind == "learnt" and event.value.step == 2 else None)
    run.wait(60)
    assert (run.state, run.saved_step) == ("stopped", 2)

    class Two(Ranks):
        count = 2

        def gathered(self, value: Any) -> list[Any]:
            return [value, value]

    with pytest.raises(RecipeError, match="processes 1, not 2"):
        lab.train(songs, ranks=Two(), **options).result()
    with pytest.raises(RecipeError, match="ranks"):
        lab.train(songs, ranks=2, **options)

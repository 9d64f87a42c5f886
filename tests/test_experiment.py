"""An experiment with a sweep: heard blind, voted on, measured with intervals, made again elsewhere, written down in one file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab import Audio, Recipe, Sweep
from acestep_lab.errors import LibraryError, RecipeError
from acestep_lab.sweep import intervals
from acestep_lab.sweep.run import SweepRun
from acestep_lab.sweep.votes import Vote, preferences
from acestep_lab.takes.verdict import EAR_DECIBELS, compare
from tests.pretend import PretendSession

SONG = Recipe("a sine", seconds=1.0, steps=2)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "takes", pause=0.0)
    session.jobs.progress = False
    yield session
    session.close()


def swept(lab: PretendSession, recipe: Recipe = SONG, **axes: Any) -> SweepRun:
    run: SweepRun = lab.sweep(recipe, **(axes or {"shift": [1, 3], "seed": [1, 2, 3]}), name="swept")
    run.result()
    return run


# -- how sure a number is


def test_intervals_are_those_of_the_books() -> None:
    wilson = intervals.share(7, 10)  # Agresti and Coull 1998, table
    assert (round(wilson.low, 3), round(wilson.high, 3)) == (0.397, 0.892)
    nobody = intervals.share(0, 0)
    assert (nobody.low, nobody.high, nobody.count) == (0.0, 1.0, 0)
    student = intervals.mean([1.0, 2.0, 3.0, 4.0])  # t(3) = 3.182
    assert student.high - student.value == pytest.approx(3.1824 * np.std([1, 2, 3, 4], ddof=1) / 2, rel=1e-3)
    assert intervals.mean(range(31)).high == pytest.approx(15 + 2.0423 * np.std(range(31), ddof=1) / 31**0.5, rel=1e-3)
    assert intervals.by_chance(8, 10) == pytest.approx(56 / 1024)
    assert intervals.by_chance(9, 10) == pytest.approx(11 / 1024)
    assert intervals.votes_needed(1.0) == 5
    assert intervals.votes_needed(0.5) is None
    assert not np.isfinite(intervals.mean([3.0]).high)


def test_an_interval_of_a_share_holds_the_truth_about_95_times_in_100() -> None:
    wins = np.random.default_rng(0).binomial(20, 0.7, 1000)
    held = np.mean([intervals.share(int(won), 20).has(0.7) for won in wins])
    assert 0.92 < held < 0.98


# -- hearing blind


def test_a_ballot_pairs_takes_that_differ_in_one_axis_alone_equally_loud_in_an_order_that_tells_nothing(
    lab: PretendSession,
) -> None:
    run = swept(lab)
    ballots = run.ballots("shift", seed=4)
    assert ballots == run.ballots("shift", seed=4) != run.ballots("shift", seed=5)
    assert sorted(sorted(one.places) for one in ballots) == [[0, 3], [1, 4], [2, 5]]
    firsts = [one.places[0] < 3 for seed in range(20) for one in run.ballots("shift", seed)]
    assert 10 < sum(firsts) < 50, "either value comes first"
    heard = run.hear_blind(run.ballots("seed")[0])
    assert [*heard] == ["A", "B"]
    assert heard["A"].loudness() == pytest.approx(heard["B"].loudness(), abs=0.01)
    with pytest.raises(RecipeError, match="goes over shift, seed"):
        run.ballots("steps")
    with pytest.raises(RecipeError, match="name one of these"):
        run.ballots()


def test_votes_outlive_the_run_and_half_a_line_or_another_take_counts_for_nothing(lab: PretendSession) -> None:
    run = swept(lab)
    for ballot in run.ballots("shift"):
        run.vote(ballot, ballot.letters[ballot.places.index(max(ballot.places))].lower(), by="Ada")
    file = lab.library.folder / "sweeps" / "swept.remarks.jsonl"
    file.write_bytes(
        file.read_bytes() + b'{"kind":"vote","winner":99,"among":[0,99],"blind":true,"by":"","takes":[]}\n{"ki'
    )
    again: SweepRun = lab.sweep("swept")
    again.result()
    again.add_vote(0, [0, 3], blind=False)
    assert len(again.votes) == len(run.votes) == 4, "each line once, the broken ones never"
    three = again.preferences("shift")[1]
    assert (three.value, three.won, three.share.count, three.chance) == (3, 3, 3, 0.5)
    assert not three.is_more_than_chance, "three of three is what a coin does once in eight"
    lab.library.bin(run.made[0])
    lost = lab.sweep("swept", dry_run=True)
    assert lost.to_make == 1


def test_a_vote_of_nobody_is_no_vote(lab: PretendSession) -> None:
    run = swept(lab)
    for one in run.preferences("shift"):
        assert (one.share.count, one.is_more_than_chance) == (0, False)
        assert "nobody voted" in str(one)
    [ballot, *_] = run.ballots("shift")
    with pytest.raises(RecipeError, match="one of A, B, not 'C'"):
        run.vote(ballot, "C")
    for among in ([0], [0, 0], [0, 77], "ab"):
        with pytest.raises(RecipeError):
            run.add_vote(0, among)
    assert not run.votes


def test_a_preference_counts_only_votes_between_different_values() -> None:
    sweep = Sweep.grid(SONG, shift=[1, 3], seed=[1, 2])
    votes = [Vote(2, (0, 2)), Vote(3, (1, 3)), Vote(1, (0, 1)), Vote(2, (0, 1, 2))]
    one, three = preferences(sweep, "shift", votes)
    assert (three.won, three.share.count, round(three.chance, 3)) == (3, 3, 0.444)
    assert (one.won, one.share.count, round(one.chance, 3)) == (0, 3, 0.556)


def test_an_effect_is_a_difference_all_else_equal(lab: PretendSession) -> None:
    run = swept(lab, shift=[1, 3], seed=[1, 2, 3, 4])
    by_seed = {1: 0.0, 2: 10.0, 3: 20.0, 4: 30.0}
    measured = lambda take: by_seed[take.recipe.seed] + (take.recipe.shift == 3) * (1 + 0.1 * (take.recipe.seed % 2))  # noqa: E731
    first, second = run.effects("shift", by=measured)
    assert first.difference is None
    assert second.is_sure, "the seeds' spread is not the axis'"
    assert second.difference.value == pytest.approx(1.05)
    assert second.mean.low < first.mean.value, "the means alone would not tell"


# -- made again elsewhere


def test_a_sweep_is_made_again_elsewhere_and_the_verdicts_stay_with_it(lab: PretendSession, tmp_path: Path) -> None:
    run, other = swept(lab), PretendSession(tmp_path / "other", pause=0.0)
    again = lab.verify("swept", on=other)
    again.result()
    assert again.counts == {"same": 6, "same to the ear": 0, "different": 0}
    assert len(other.started) == 6
    assert {rows["another session"].word for rows in run.verdicts.values()} == {"same"}
    assert lab.verify(run.take(2), on=[other]).word == "same"
    with pytest.raises(RecipeError, match="A sweep is what"):
        lab.verify(3)
    other.close()


def test_to_the_ear_passes_another_machines_rounding_and_a_16_bit_copy_and_fails_another_seed(tmp_path: Path) -> None:
    """The measure on music: band levels, 1 dB on average."""
    from acestep_lab.train.synthetic_music import compose, render

    songs = [Audio(render(compose(seed, seconds=4, style="house"), 16_000).mix, 16_000) for seed in (3, 4)]
    [song, other] = songs
    rounded = _with(song, song.samples.astype(np.float16).astype(np.float32))  # what bfloat16's neighbour keeps
    song.write(tmp_path / "copy.wav", bits=16)
    copy = Audio.read(tmp_path / "copy.wav")
    rng = np.random.default_rng(0)
    processor = _with(song, song.samples + 1e-4 * rng.standard_normal(song.samples.shape).astype(np.float32))
    for near in (rounded, copy, processor):
        verdict = compare(song, near)
        assert verdict.word == "same to the ear"
        assert verdict.decibels < EAR_DECIBELS / 2
    length = min(song.samples.shape[1], other.samples.shape[1])
    far = compare(_with(song, song.samples[:, :length]), _with(other, other.samples[:, :length]))
    assert far.word == "different"
    assert far.decibels > 3 * EAR_DECIBELS


def _with(sound: Audio, samples: np.ndarray) -> Audio:
    return Audio(np.ascontiguousarray(samples), sound.rate)


# -- written down


class Parsed(HTMLParser):
    """What a page holds: its elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))


EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e'


def test_a_report_is_one_file_that_asks_for_nothing_and_takes_every_text_as_text(
    lab: PretendSession, tmp_path: Path
) -> None:
    run = swept(lab, SONG.replace(caption=EVIL, lyrics=EVIL), shift=[1, 3], seed=[1, 2])
    run.vote(run.ballots("shift")[0], "A", by=EVIL)
    lab.verify(run, on=lab).result()
    path = lab.report("swept", tmp_path / "report.html", question=EVIL, answer=EVIL, measures=["loudness"])
    text = path.read_text(encoding="utf-8")
    found = Parsed(text).elements
    assert not {"script", "img", "iframe", "link", "object", "form"} & {tag for tag, _ in found}
    addresses = [
        value for _, attributes in found for name, value in attributes.items() if name in ("src", "href", "action")
    ]
    assert len(addresses) == 4
    assert all(str(one).startswith("data:audio/ogg") for one in addresses)
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    for said in (
        "Votes",
        "1 votes of 1 listener",
        "Loudness",
        "Made again elsewhere",
        "How to repeat it",
        "acestep_lab",
    ):
        assert said in text
    assert path.stat().st_size < 300_000
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text


def test_what_a_report_says_of_repeating_makes_the_same_takes(lab: PretendSession, tmp_path: Path) -> None:
    import html

    run = swept(lab)
    text = lab.report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    code = html.unescape(re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)[-1])
    there = PretendSession(tmp_path / "there", pause=0.0)
    there.jobs.progress = False
    scope: dict[str, Any] = {}
    exec(re.sub(r"(?m)^lab = .*$", "lab = there", code), {"there": there}, scope)
    assert scope["run"].result() == run.result()
    assert "Nobody has voted yet" in text
    there.close()


def test_a_report_of_nothing_or_to_nowhere_is_a_sentence(lab: PretendSession, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no sweep 'nothing'"):
        lab.report("nothing")
    run = swept(lab, seed=[1])
    with pytest.raises(LibraryError):
        lab.report(run, tmp_path / "no" / "such" / "folder" / "report.html")
    with pytest.raises(RecipeError, match="measured by one of"):
        lab.report(run, tmp_path / "report.html", measures=["goodness"])


def test_a_take_whose_file_is_gone_leaves_the_report_whole(lab: PretendSession, tmp_path: Path) -> None:
    run = swept(lab, seed=[1, 2])
    (lab.library.folder / f"{run.made[0]}.flac").unlink()
    anew = PretendSession(lab.library.folder, pause=0.0)
    text = anew.report("swept", tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<audio") == 1
    assert run.made[0] in text
    anew.close()

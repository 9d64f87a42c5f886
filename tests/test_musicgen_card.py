"""MusicGen as it runs on a card: columns in steps of fixed shapes, recorded once and played, give the codes a CPU writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from acestep_lab.engines.contract import PlainDevices, final_states, tone
from acestep_lab.engines.musicgen.checkpoint import Checkpoint
from acestep_lab.engines.musicgen.engine import MusicGenEngine
from acestep_lab.engines.musicgen.fixed_columns import AHEAD
from acestep_lab.errors import MachineError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import TokenSampling
from acestep_lab.prompt.tasks import Extend
from tests import tiny_musicgen as tiny
from tests.stand_in_graph import StandInGraph

SAMPLED = TokenSampling(temperature=1.2, top_k=20, top_p=0.9, guidance_scale=3.0)
ALL = TokenSampling(temperature=0.9, top_k=0, top_p=1.0, guidance_scale=1.0)
GREEDY = TokenSampling(temperature=0.0, top_k=0, top_p=1.0, guidance_scale=3.0)
SECONDS = {"window_seconds": 0.8, "stride_seconds": 0.4}


def codes(engine: MusicGenEngine, recipe: Recipe, ask: Any = None) -> torch.Tensor:
    PlainDevices(engine)
    if ask is not None:
        engine.devices.run_with_retry = ask(engine.devices.run_with_retry)  # type: ignore[method-assign]
    prepared = engine.prepare([engine.resolve(recipe, None, lambda sound: sound, 600.0)])
    return final_states(engine.sample(prepared, lambda: None))[0].long()


@pytest.mark.parametrize(
    ("kind", "sampling"),
    [({}, SAMPLED), ({"stereo": True}, ALL), ({"melody": True}, GREEDY)],
    ids=["sampled", "stereo", "melody"],
)
def test_recorded_columns_are_those_a_cpu_writes(
    kind: dict[str, bool], sampling: TokenSampling, tmp_path: Path
) -> None:
    checkpoint, graph = Checkpoint.open(tiny.tiny_musicgen(tmp_path, **kind)), StandInGraph()
    task = Extend(tone(0.5, tiny.RATE, 1), after=0.4)
    recipe = (
        Recipe("slow dub", seed=5, seconds=1.4, sampling=sampling)
        if kind
        else Recipe("dub", seed=5, sampling=sampling, task=task)
    )
    plain = codes(MusicGenEngine(checkpoint, **SECONDS), recipe)
    assert torch.equal(codes(MusicGenEngine(checkpoint, **SECONDS, road=lambda device: graph), recipe), plain)
    assert len(torch.unique(plain)) > 3
    assert graph.recorded < 5
    assert graph.played > AHEAD


def test_weights_that_move_or_fail_halfway_change_no_code(tmp_path: Path) -> None:
    checkpoint, graph = Checkpoint.open(tiny.tiny_musicgen(tmp_path)), StandInGraph()
    recipe = Recipe("slow dub", seed=5, seconds=0.7, sampling=SAMPLED)
    plain = codes(MusicGenEngine(checkpoint), recipe)
    assert graph.recorded == 0

    def moving(ask: Any) -> Any:
        def asked(name: str, work: Any) -> Any:
            def on_moved(decoder: Any) -> Any:
                if name == "decoder":
                    work_before = [one.data.clone() for one in decoder.parameters()]
                    for one, moved in zip(decoder.parameters(), work_before, strict=True):
                        one.data = moved
                return work(decoder)

            return ask(name, on_moved)

        return asked

    moved = codes(MusicGenEngine(checkpoint, road=lambda device: graph), recipe, moving)
    assert torch.equal(moved, plain)
    assert graph.recorded > 1


def test_values_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    engine = MusicGenEngine(Checkpoint.open(tiny.tiny_musicgen(tmp_path)), road=lambda device: StandInGraph())

    def spoiling(ask: Any) -> Any:
        def asked(name: str, work: Any) -> Any:
            def spoilt(decoder: Any) -> Any:
                if name == "decoder":
                    decoder.decoder.lm_heads[0].weight.data.fill_(float("nan"))
                return work(decoder)

            return ask(name, spoilt)

        return asked

    with pytest.raises(MachineError, match="not numbers"):
        codes(engine, Recipe("slow dub", seed=5, seconds=0.5, sampling=SAMPLED), spoiling)

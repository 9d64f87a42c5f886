"""The benchmark of a card runs dry: every stage at tiny sizes on the CPU, within a budget, with what was left out said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from acestep_lab.errors import LabError
from tests.benchmarks import bench_card
from tests.benchmarks.bench_card import Budget, Clock, Models, race

STAGES = ("DiT step", "decode", "planner", "words to sound")


def test_every_stage_has_its_peer_and_ours_in_one_run(tmp_path: Path) -> None:
    bench_card.main(["--dry", "--lengths", "1", "--without", "compile", "--out", str(out := tmp_path / "card.json")])
    found = json.loads(out.read_text())
    assert found["sizes"] == "tiny"
    for stage in STAGES:
        rows = found[stage]["1 s"]
        peer, *ours = rows
        assert peer in ("diffusers", "transformers")
        assert ours
        assert all(row["ms"] > 0 and row["rounds"] >= 1 for row in rows.values())
    assert all("% of roofline" in row for stage in STAGES[:3] for row in found[stage]["1 s"].values())
    assert all(row["tokens/s"] > 0 for row in found["planner"]["1 s"].values())
    assert found["DiT step"]["1 s"]["ours, graph"]["away from diffusers"] < 1e-4
    assert any("graph" in line and "planner" in line for line in found["left out"])  # no CUDA graph without CUDA


def test_what_does_not_fit_the_budget_is_left_out_and_said() -> None:
    now = iter(range(0, 10_000, 10))
    budget = Budget(35, lambda: next(now))
    works = {"one": lambda: None, "two": lambda: None, "ours, compile": lambda: None}
    table = race("a stage", Clock(torch.device("cpu")), budget, works, 5)
    assert list(table) == ["one", "two"]
    assert table["one"]["rounds"] == 1
    assert any(line.startswith("a stage, ours, compile: it takes about 60 s") for line in budget.skipped)


def test_a_variant_that_fails_is_left_out_with_its_reason() -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    budget = Budget(100)
    table = race("a stage", Clock(torch.device("cpu")), budget, {"one": lambda: None, "two": full}, 2)
    assert list(table) == ["one"]
    assert budget.skipped == ["a stage, two: no memory left"]


def test_what_is_made_on_a_card_has_its_full_size() -> None:
    models = Models(torch.device("meta"), torch.bfloat16, tiny=False)
    size = {name: sum(one.numel() for one in getattr(models, name).parameters()) for name in ("dit", "lm", "vae")}
    assert size["dit"] == pytest.approx(1.575e9, rel=0.01)
    assert size["lm"] == pytest.approx(0.66e9, rel=0.03)
    assert size["vae"] == pytest.approx(168.6e6, rel=0.01)
    assert models.condition.silence_latent.device.type == models.text.device.type == "meta"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_what_can_be_done() -> None:
    with pytest.raises(LabError, match="--dry"):
        bench_card.main([])

"""Every step corrected in the wavelet domain: the written formula (arXiv 2604.16044), in numpy, against ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

from acestep_lab import Library, Recipe, RecipeError, Region, Session, Take, Tier
from acestep_lab.diffusion import sampler
from acestep_lab.diffusion.dcw import MODES, correction
from acestep_lab.diffusion.sampler import noises, sample
from acestep_lab.diffusion.schedule import times
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.engines.ace15.lint import lint
from acestep_lab.models.catalog import ROWS
from acestep_lab.models.loading import Checkpoint
from acestep_lab.prompt.tasks import Cover, FlowEdit, Repaint, Retake
from tests.opening import prepared
from tests.tiny import RATE

WORDS = Recipe("slow dub techno", "[Verse]\nla", 2.02, 7, 118, steps=4)  # 101 frames: the last one has no partner
CLOSE = 3e-6


def formula(x: np.ndarray, clean: np.ndarray, t: float, mode: str, low: float, high: float) -> np.ndarray:
    """The correction as it is written, [items, frames, channels], in double precision."""
    x, clean = x.astype(np.float64), clean.astype(np.float64)
    if mode == "off":
        return x
    if mode == "pix":
        return x + low * (x - clean)
    frames = x.shape[1]
    if frames % 2:
        x, clean = (np.concatenate([a, np.zeros_like(a[:, :1])], axis=1) for a in (x, clean))
    mean, mean0 = ((a[:, 0::2] + a[:, 1::2]) / 2 for a in (x, clean))
    diff, diff0 = ((a[:, 0::2] - a[:, 1::2]) / 2 for a in (x, clean))
    if mode in ("low", "double"):
        mean = mean + low * t * (mean - mean0)
    if mode in ("high", "double"):
        diff = diff + high * (1 - t) * (diff - diff0)
    whole = np.empty_like(x)
    whole[:, 0::2], whole[:, 1::2] = mean + diff, mean - diff
    return whole[:, :frames]


def off_by(ours: Any, theirs: Any) -> float:
    """Largest difference, relative to the largest value."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def bent(x: torch.Tensor, t: float) -> torch.Tensor:
    """A velocity that mixes frames and is not straight."""
    return torch.sin(1.7 * x) + 0.3 * x.roll(1, 1) * t - 0.2


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_its_formula_for_even_and_odd_lengths(mode: str, frames: int) -> None:
    x, clean = noises([1, 2], frames, 5), noises([3, 4], frames, 5)
    for t in (1.0, 0.62, 0.0):
        ours = correction(mode, 0.3, 0.7)(x, clean, t)
        assert off_by(ours, formula(x.numpy(), clean.numpy(), t, mode, 0.3, 0.7)) <= 1e-6
        assert ours.dtype == x.dtype


def test_off_is_nothing_and_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    assert correction("off", 0.05, 0.02) is None
    with pytest.raises(RecipeError, match="off, low, high, double, pix"):
        correction("wide", 0.05, 0.02)


def plain_loop(
    solver: str, x: np.ndarray, schedule: tuple[float, ...], noise_fn: Callable[[int], torch.Tensor], correct: Any
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The four solvers once more, each as its own few lines, with a correction after every step; (end, estimates)."""

    def v(x: np.ndarray, t: float) -> np.ndarray:
        return bent(torch.from_numpy(x), t).numpy()

    before: tuple[np.ndarray, float] | None = None
    estimates = []
    for i, t in enumerate(schedule):
        s = schedule[i + 1] if i + 1 < len(schedule) else 0.0
        first = v(x, t)
        clean = x - t * first
        estimates.append(clean)
        if s == 0.0:
            x = clean
        elif solver == "euler":
            x = x - (t - s) * first
        elif solver == "heun":
            x = x - (t - s) * (first + v(x - (t - s) * first, s)) / 2
        elif solver == "sde":
            x = s * noise_fn(i).numpy() + (1 - s) * clean
        else:
            snr = [np.inf if u == 0 else -np.inf if u == 1 else np.log((1 - u) / u) for u in (t, s)]
            h, aim = snr[1] - snr[0], clean
            if before is not None and np.isfinite(before[1]):
                aim = clean + h / (2 * before[1]) * (clean - before[0])
            before = (clean, h)
            x = s / t * x + (1 - s - (1 - t) * s / t) * aim
        x = correct(x, clean, t)
    return x, estimates


@pytest.mark.parametrize("mode", ["off", *MODES])
@pytest.mark.parametrize("solver", sampler.SOLVERS)
def test_every_solver_is_corrected_after_each_of_its_steps(solver: str, mode: str) -> None:
    start, schedule = noises([1, 2], 21, 4).double(), times(6, 3.0)

    def noise_fn(index: int) -> torch.Tensor:
        return noises([1, 2], 21, 4, index + 1).double()

    correct = correction(mode, 0.3, 0.2)
    steps = list(sample(bent, start, schedule, solver=solver, noise_fn=noise_fn, correct=correct))
    theirs, estimates = plain_loop(
        solver, start.numpy(), schedule, noise_fn, lambda x, clean, t: formula(x, clean, t, mode, 0.3, 0.2)
    )
    assert off_by(steps[-1].state, theirs) <= 1e-9
    for step, estimate in zip(steps, estimates, strict=True):
        assert off_by(step.estimate, estimate) <= 1e-9, "what is shown stays the music the step saw"


def test_the_last_step_is_corrected_too_with_the_time_it_began_and_before_anything_is_held() -> None:
    seen: list[tuple[float, float]] = []

    def correct(x: torch.Tensor, estimate: torch.Tensor, t: float) -> torch.Tensor:
        seen.append((t, float(x.mean())))
        return x + 1.0

    held = []

    def after(index: int, t: float, x: torch.Tensor) -> torch.Tensor:
        held.append(float(x.mean()))
        return torch.full_like(x, index)

    steps = list(sample(bent, noises([1], 8, 2), times(3), correct=correct, after=after))
    assert [t for t, _ in seen] == list(times(3))
    assert held == pytest.approx([mean + 1.0 for _, mean in seen], rel=1e-4)
    assert steps[-1].state.mean() == 2.0


# --- whole renders ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turbo(tiny_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    library = Library(tmp_path_factory.mktemp("turbo-takes"))
    with Session(Ace15Engine(Checkpoint.open(tiny_turbo)), Tier.for_memory(24), library) as session:
        yield session


@pytest.fixture(scope="module")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(
        Ace15Engine(Checkpoint.open(tiny_base)), library=Library(tmp_path_factory.mktemp("base-takes"))
    ) as session:
        yield session


@pytest.fixture(scope="module")
def take(turbo: Session) -> Take:
    return turbo.make(WORDS.replace(thinking=False))


@torch.no_grad()
def render_apart(lab: Session, recipe: Recipe, mode: str, low: float = 0.05, high: float = 0.02) -> np.ndarray:
    """A recipe rendered with diffusers' own transformer and guidance in a loop of its own, corrected by the formula."""
    [song] = prepared(lab, recipe)
    dit, context = lab.engine.checkpoint.build("dit"), song.spec.context.latents[None]
    memory = MomentumBuffer(-0.75)
    even = torch.linspace(1, 0, recipe.steps + 1)[:-1]
    shift = lab.engine.checkpoint.row.shift
    schedule = [float(t) for t in shift * even / (1 + (shift - 1) * even)]

    def ask(x: torch.Tensor, t: float, states: torch.Tensor) -> torch.Tensor:
        when = torch.tensor([t])
        return dit(x, when, when, encoder_hidden_states=states, context_latents=context, return_dict=False)[0]

    x = song.start[None]
    for t, s in zip(schedule, [*schedule[1:], 0.0], strict=True):
        v = ask(x, t, song.conditions[0].states)
        if not lab.engine.checkpoint.row.is_turbo:
            v = normalized_guidance(
                v, ask(x, t, song.conditions[0].null_states), 6.0, memory, eta=0.0, norm_threshold=2.5,
                use_original_formulation=True, norm_dim=(1,),
            )  # fmt: skip
        clean = x - t * v
        x = torch.from_numpy(formula((x + (s - t) * v).numpy(), clean.numpy(), t, mode, low, high)).float()
    return x[0].numpy()


def test_a_turbo_as_it_is_opened_is_corrected_by_the_formula(turbo: Session, take: Take) -> None:
    assert (take.recipe.dcw, take.recipe.dcw_low, take.recipe.dcw_high) == ("double", 0.05, 0.02)
    assert off_by(take.latent, render_apart(turbo, WORDS.replace(thinking=False), "double")) <= CLOSE
    plain = turbo.make(WORDS.replace(thinking=False, dcw="off"))
    assert off_by(plain.latent, render_apart(turbo, WORDS.replace(thinking=False, dcw="off"), "off")) <= CLOSE
    assert off_by(take.latent, plain.latent) > 1e-3
    assert (plain.recipe.dcw, plain.recipe.dcw_low, plain.recipe.dcw_high) == ("off", None, None)


@pytest.mark.filterwarnings("ignore::acestep_lab.errors.LintWarning")
@pytest.mark.parametrize("mode", MODES)
def test_a_base_is_corrected_where_it_is_asked_for(base: Session, mode: str) -> None:
    recipe = WORDS.replace(thinking=False, dcw=mode, dcw_low=0.1, dcw_high=0.2)
    made = base.make(recipe)
    assert off_by(made.latent, render_apart(base, recipe, mode, 0.1, 0.2)) <= CLOSE


def test_a_base_as_it_is_opened_is_not_corrected(base: Session) -> None:
    made = base.make(WORDS.replace(thinking=False))
    assert made.recipe.dcw == "off"
    assert off_by(made.latent, render_apart(base, WORDS.replace(thinking=False), "off")) <= CLOSE


@pytest.mark.parametrize("solver", sampler.SOLVERS)
def test_a_corrected_item_in_a_batch_equals_the_item_alone_and_modes_may_differ(turbo: Session, solver: str) -> None:
    recipe = WORDS.replace(thinking=False, solver=solver)
    recipes = [
        recipe,
        recipe.replace(seed=8, caption="a waltz"),
        recipe.replace(dcw="off"),
        recipe.replace(dcw="low", dcw_low=0.2),
    ]
    for together, alone in zip(turbo.start(recipes).takes(), recipes, strict=True):
        assert off_by(together.latent, turbo.make(alone).latent) <= 1e-5


@pytest.mark.parametrize("mode", ["conservative", "balanced"])
def test_a_corrected_repaint_keeps_its_outside_sample_for_sample(turbo: Session, take: Take, mode: str) -> None:
    made = turbo.make(Recipe("a gong", task=Repaint(take, (Region(0.8, 1.2),), mode=mode), steps=4))
    assert made.recipe.dcw == "double"
    fade = round(0.05 * RATE)  # samples fade outside a region, for this long at the most
    kept = np.r_[0 : round(0.8 * RATE) - fade, round(1.2 * RATE) + fade : take.audio.samples.shape[1]]
    assert np.array_equal(made.audio.samples[:, kept], take.audio.samples[:, kept])
    assert not np.array_equal(made.audio.samples, take.audio.samples)


def test_a_corrected_take_of_every_task_makes_itself_again(turbo: Session, take: Take) -> None:
    tasks = [Cover(take), Cover(take, strength=0.5), Retake(take, 0.4, 9), Repaint(take, (Region(0.5, 1.0),))]
    for task in tasks:
        made = turbo.make(Recipe("a gong", task=task, steps=4))
        assert made.recipe.dcw == "double"
        assert Recipe.from_json(made.recipe.to_json()).dcw_low == 0.05
        assert turbo.make(made.recipe).id == made.id


def test_a_retake_is_corrected_as_its_source_was(turbo: Session) -> None:
    source = turbo.make(WORDS.replace(thinking=False, dcw="off"))
    again = turbo.make(Recipe("", task=Retake(source, 0.0, 3)))
    assert again.recipe.dcw == "off"
    assert np.array_equal(again.latent, source.latent)
    strong = turbo.make(WORDS.replace(thinking=False, dcw="low", dcw_low=0.3))
    again = turbo.make(Recipe("", task=Retake(strong, 0.0, 3)))
    assert (again.recipe.dcw, again.recipe.dcw_low) == ("low", 0.3)
    assert np.array_equal(again.latent, strong.latent)
    before = replace(source, recipe=source.recipe.replace(dcw=None))  # as an earlier version kept it
    assert turbo.make(Recipe("", task=Retake(before, 0.0, 3))).recipe.dcw == "off"


@pytest.mark.filterwarnings("ignore::acestep_lab.errors.LintWarning")
def test_a_flow_edit_and_a_retake_of_it_go_without(turbo: Session, take: Take) -> None:
    edit = Recipe("a gong", task=FlowEdit(take), steps=4, seed=3)
    plain, asked = turbo.make(edit), turbo.make(edit.replace(dcw="double"))
    assert plain.recipe.dcw == asked.recipe.dcw == "off"
    assert np.array_equal(plain.latent, asked.latent)
    again = turbo.make(Recipe("", task=Retake(plain, 0.0, 9), dcw="pix"))
    assert again.recipe.dcw == "off"
    assert np.array_equal(again.latent, plain.latent), "a retake of an edit is that edit with its noises turned"
    turned = turbo.make(Recipe("", task=Retake(plain, 0.3, 9)))
    assert not np.array_equal(turned.latent, plain.latent)


# --- what is decided, what is remarked -------------------------------------------------------------------------------


def test_the_row_says_whether_a_checkpoint_is_corrected() -> None:
    assert {row.name for row in ROWS.values() if row.dcw == "double"} == {r.name for r in ROWS.values() if r.is_turbo}
    assert {row.dcw for row in ROWS.values() if not row.is_turbo} == {"off"}
    assert ROWS["pocket"].dcw == "off"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"dcw": "off", "dcw_low": 0.1}, ["dcw_low=0.1 is not used"]),
        ({"dcw": "low", "dcw_high": 0.1}, ["dcw_high=0.1 is not used"]),
        ({"dcw": "high", "dcw_low": 0.1}, ["dcw_low=0.1 is not used"]),
        ({"dcw": "double", "dcw_low": 0.1, "dcw_high": 0.1}, []),
        ({"dcw_high": 0.1}, []),
        ({}, []),
    ],
)
def test_a_strength_that_nothing_reads_is_remarked(asked: dict[str, Any], says: list[str]) -> None:
    said = list(lint(replace(WORDS, **asked), ROWS["turbo"]))
    assert len(said) == len(says)
    assert all(part in sentence for part, sentence in zip(says, said, strict=True))


def test_a_mode_asked_of_a_flow_edit_is_remarked(take: Take) -> None:
    said = list(lint(Recipe("a gong", task=FlowEdit(take), dcw="double", dcw_low=0.2), ROWS["turbo"]))
    assert "dcw='double' is not used" in said[0]
    assert "dcw_low=0.2 is not used" in said[1]

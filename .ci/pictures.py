"""Makes what README.md shows and lets hear, so that it never goes stale: a song of the pocket, a real browser, real numbers.

    python .ci/pictures.py                    # all of it, into notebooks/pictures (make pictures)
    python .ci/pictures.py memory             # some of it

One song is made; its steps are the latent that forms, its sound is the sample, and the studio repaints three seconds of it. Needs
a Chromium for the studio alone. Nothing here is drawn by hand: what a picture shows is what the code does.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks" / "pictures"
CAPTION = "warm lo-fi hip hop with soft keys, round bass and lazy drums"
SECONDS, STEPS, PAGE_STEPS, SEED = 10.0, 24, 8, 7
"""Many steps for the latent, so that it moves smoothly; few for what the page shows."""
REGION = (4.0, 7.0)
"""Seconds that the studio's picture shows repainted."""
REPAINTED = "soft flute melody over strings"
SIZE, SCALE = (1280, 720), 1.5
"""Of the studio's window in CSS pixels, and device pixels of each."""
ROW, ACROSS, STRIP, COLOURS, GAIN = 5, 250, 24, 64, 2.0
"""Pixels of a channel, columns into which frames are averaged (each three pixels wide), pixels of the line of words, colours, and what makes up
for how the mean of four frames pales."""
HOLD_MS, STEP_MS, QUALITY = 1_800, 110, 45
"""How long the last frame and each other is shown; noise compresses badly, hence the loss."""
LARGEST = 400_000
"""Bytes of the picture that moves."""
WIDTH, LEFT, TOP, BAR = 860, 74, 40, 52
"""Of the memory table, in pixels: all, before the bars, above them, a row."""
SAMPLE = {"bitrate": 96, "fade_in": 0.02, "fade_out": 0.4}


def main(arguments: Sequence[str]) -> int:
    """Make the pictures asked for, or all; returns the exit status."""
    FOLDER.mkdir(exist_ok=True)
    for name in arguments or PICTURES:
        for file in PICTURES[name]():
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes", flush=True)
    return 0


# -- the song ----------------------------------------------------------------------------------------------------------


@cache
def song() -> tuple[Any, Any, list[Any]]:
    """The session, the take, and where the sampler stood after each step."""
    from acestep_lab import Recipe, Session

    lab = Session.open(library=tempfile.mkdtemp(prefix="pictures-"))
    run = lab.start(Recipe(CAPTION, seconds=SECONDS, seed=SEED, bpm=84, keyscale="A minor", steps=STEPS))
    states = [step.state for step in run]
    return lab, run.take(), states


def sample() -> Iterator[Path]:
    """Ten seconds to hear."""
    yield song()[1].export(FOLDER / "sample.opus", **SAMPLE)


# -- the latent --------------------------------------------------------------------------------------------------------


def latent() -> Iterator[Path]:
    """The latent from noise to music, as a picture that moves and, for who asked for less motion, as one that does not."""
    from PIL import Image

    frames = [frame(state, f"step {at + 1} of {len(song()[2])}") for at, state in enumerate(song()[2])]
    frames.append(frame(song()[1].latent, "the finished latent: what the decoder turns into sound"))
    moving, still = FOLDER / "latent.webp", FOLDER / "latent-still.png"
    times = [STEP_MS] * (len(frames) - 1) + [HOLD_MS]
    frames[0].save(moving, save_all=True, append_images=frames[1:], duration=times, quality=QUALITY, method=6)
    if moving.stat().st_size > LARGEST:
        raise RuntimeError(f"{moving.name} is {moving.stat().st_size:,} bytes; at most {LARGEST:,} are shown.")
    frames[-1].quantize(COLOURS, dither=Image.Dither.NONE).save(still, optimize=True)
    yield from (moving, still)


def frame(values: Any, words: str) -> Any:
    """One state of the latent as the studio draws it, with a line of words under it."""
    from PIL import Image, ImageDraw, ImageFont

    from acestep_lab.ui.latent_image import order_of, picture

    order = order_of(song()[1].latent)
    drawn = picture(values * GAIN, order, ACROSS, ROW).repeat(3, axis=1)
    image = Image.new("RGB", (drawn.shape[1], drawn.shape[0] + STRIP), "white")
    image.paste(Image.fromarray(drawn), (0, 0))
    font, pen = ImageFont.load_default(14), ImageDraw.Draw(image)
    pen.text((4, drawn.shape[0] + 5), f"{drawn.shape[0] // ROW} channels over {SECONDS:g} s: {words}", "black", font)
    return image


# -- the studio --------------------------------------------------------------------------------------------------------


def studio() -> Iterator[Path]:
    """The page after a repaint, with the verdict over what stayed the same."""
    from PIL import Image

    lab, first, _ = song()
    take = lab.make(first.recipe.replace(steps=PAGE_STEPS), plan=first.plan)
    with served(lab) as url, chromium() as browser:
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, device_scale_factor=SCALE)
        page.set_default_timeout(300_000)
        page.goto(url)
        page.locator(f".acl-waveform[data-drawn='{take.id}']").wait_for()
        page.locator(".acl-compose textarea").fill(CAPTION)
        repaint(page)
        page.get_by_role("button", name="Dismiss").first.click()
        page.wait_for_timeout(1_500)  # the verdict's lane and the tree are drawn after it
        page.mouse.move(0, 0)
        shot = page.screenshot()
    with Image.open(io.BytesIO(shot)) as image:
        image.convert("RGB").quantize(200, dither=Image.Dither.NONE).save(FOLDER / "studio.png", optimize=True)
    yield FOLDER / "studio.png"


def repaint(page: Any) -> None:
    """Mark the region, give it words, press the button, wait for the verdict."""
    page.locator(".acl-waveform .stage").focus()
    page.keyboard.press("a")
    for label, second in zip(("Start in seconds", "End in seconds"), REGION):
        page.get_by_label(label).fill(f"{second:g}")
        page.get_by_label(label).press("Tab")
    page.get_by_placeholder("What should sound there?").fill(REPAINTED)
    page.get_by_role("button", name="Repaint", exact=True).last.click()
    page.get_by_text("the same, bit for bit").wait_for()


@contextmanager
def served(lab: Any) -> Iterator[str]:
    """The studio on a free port of this machine."""
    import socket

    from acestep_lab.serve.app import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    people = Path(tempfile.mkdtemp(prefix="pictures-")) / "people.secret"
    server = serve(lab, port=port, block=False, announce=lambda _: None, people=people)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.stop()


@contextmanager
def chromium() -> Iterator[Any]:
    """The tests' browser, which reaches nothing but this machine."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(ROOT))
    from tests.browser.conftest import CHROMIUM, OFFLINE

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)
        yield browser
        browser.close()


# -- the memory table --------------------------------------------------------------------------------------------------


def memory() -> Iterator[Path]:
    """How turbo and each card's planner fit: what there is, and what a song of four minutes takes of it by plan."""
    rows = [(tier, memory_plan(tier)) for tier in tiers()]
    height = TOP + BAR * len(rows) + 24
    most = max(plan.machine.memory_bytes for _, plan in rows)
    body = "".join(memory_row(at, tier, plan, (WIDTH - LEFT - 20) / most) for at, (tier, plan) in enumerate(rows))
    words = "What a card has, and the most of it that turbo takes while it makes one song of four minutes (planned, margin included)"
    file = FOLDER / "memory.svg"
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{words}" '
        f'font-family="system-ui, sans-serif" font-size="14"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="10" y="24">{words}</text>{body}</svg>\n',
        encoding="utf-8",
    )
    yield file


def tiers() -> list[Any]:
    """The rows for cards, smallest first; the last stands for 48 GB."""
    import math
    from dataclasses import replace

    from acestep_lab.models.tiers import TIERS

    cards = [tier for tier in TIERS if tier.kind == "cuda"]
    return [replace(tier, gigabytes=48.0 if math.isinf(tier.up_to) else tier.up_to) for tier in cards]


def memory_plan(tier: Any) -> Any:
    """How turbo with the row's planner fits a card of that size, for one song of the plan's nominal length."""
    from acestep_lab.models.catalog import lm_row, row
    from acestep_lab.models.loading import specs_of_sizes
    from acestep_lab.models.memory_plan import budget

    planner = lm_row(tier.lm)
    assert planner is not None, f"the row of {tier.name} names a planner that the catalog has not"
    return budget(tier.machine, specs_of_sizes({**row("turbo").sizes, "lm": planner.size}))


def memory_row(at: int, tier: Any, plan: Any, scale: float) -> str:
    """One card: an outline for what it has, filled as far as the plan goes, and what it does in words."""
    from acestep_lab.models.memory_plan import gb
    from acestep_lab.models.tiers import GB

    y, there, used = TOP + BAR * at, plan.machine.memory_bytes * scale, plan.need_bytes * scale
    takes = "one take at a time" if plan.batch == 1 else f"{plan.batch} takes at once"
    said = f"{gb(plan.need_bytes)}: {plan.level.description(plan.components)}; planner {tier.lm}; {takes}; up to {plan.longest_seconds:g} s"
    return (
        f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end" font-weight="bold">{plan.machine.memory_bytes / GB:g} GB</text>'
        f'<rect x="{LEFT}" y="{y + 3}" width="{there:.0f}" height="18" fill="none" stroke="#0072b2"/>'
        f'<rect x="{LEFT}" y="{y + 3}" width="{used:.0f}" height="18" fill="#0072b2"/>'
        f'<text x="{LEFT}" y="{y + 39}" font-size="13" fill="#333">{said}</text>'
    )


# -- badges ------------------------------------------------------------------------------------------------------------


def badges() -> Iterator[Path]:
    """Where the first lesson opens in a click: drawn here, since the pages fetch nothing."""
    for name, colour in (("binder", "#d55e00"), ("colab", "#0072b2")):
        words = f"first lesson: {name.capitalize()}"
        width = 16 + 7 * len(words)
        file = FOLDER / f"{name}.svg"
        file.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="24" role="img" aria-label="{words}"><rect width="{width}" '
            f'height="24" rx="4" fill="{colour}"/><text x="{width // 2}" y="16" text-anchor="middle" fill="white" '
            f'font-family="system-ui, sans-serif" font-size="12">{words}</text></svg>\n',
            encoding="utf-8",
        )
        yield file


PICTURES: dict[str, Callable[[], Iterator[Path]]] = {"sample": sample, "latent": latent, "studio": studio, "memory": memory, "badges": badges}
"""What can be asked for, and what makes its files."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

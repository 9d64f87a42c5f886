"""What people wait for: a ten-minute waveform, ten takes in a notebook, the lessons.

`python -m tests.benchmarks.bench_studio [waveform] [notebook] [lessons]`; all three without a word. The waveform needs a
Chromium. Processor seconds are those of the process measured; wall seconds depend on what else the machine does.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from acestep_lab import Audio

HERE = Path(__file__).parent
RATE, MINUTES = 48_000, 10


def ten_minutes() -> Audio:
    """Ten minutes of noise that swells, 48 kHz, stereo."""
    dice = np.random.default_rng(0)
    swell = np.repeat(dice.uniform(0.05, 0.6, MINUTES * 60), RATE).astype(np.float32)
    return Audio(dice.standard_normal((2, len(swell)), np.float32) * 0.3 * swell, RATE)


def waveform(rounds: int = 5) -> dict[str, Any]:
    """Peaks of ten minutes, any view of them, and the first paint in a browser."""
    from acestep_lab.ui.peaks import Peaks

    sound = ten_minutes()
    made = [_processor(lambda: Peaks(sound.samples, RATE)) for _ in range(rounds)]
    peaks = Peaks(sound.samples, RATE)
    views = [_processor(lambda at=at: peaks.view(at, at + 60, 1600)) for at in range(0, 500, 50)]
    figures = {"peaks, s": statistics.median(made), "a view, ms": 1000 * statistics.median(views)}
    if chromium := next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None):
        figures |= first_paint(sound, chromium, rounds)
    return figures


def first_paint(sound: Audio, chromium: str, rounds: int) -> dict[str, Any]:
    """Wall seconds from handing the sound over in Python to its waveform in the browser, peaks and all."""
    import panel as pn
    from playwright.sync_api import sync_playwright

    from acestep_lab.ui import WaveformPickerPane
    from acestep_lab.ui.page import local_styles
    from tests.browser.conftest import OFFLINE, free_port, wait_for

    shown: list[Any] = []

    def page() -> Any:
        local_styles()
        shown.append(WaveformPickerPane(Audio(np.zeros((1, 4800), np.float32), 48_000)))
        return shown[-1]

    port, spans = free_port(), []
    server = pn.serve({"/": page}, port=port, threaded=True, show=False, verbose=False)
    try:
        with sync_playwright() as running:
            tab = running.chromium.launch(executable_path=chromium, args=OFFLINE).new_page()
            wait_for(lambda: _answers(tab, f"http://127.0.0.1:{port}/"), what="the page")
            picker = tab.locator(".acl-waveform")
            tab.wait_for_function(_READY.replace("ID", shown[-1].track["id"]))
            for place in range(rounds):
                fresh = (
                    Audio(sound.samples * np.float32(1 - place / 100), RATE) if place else sound
                )  # nothing is remembered
                fresh.id  # noqa: B018 - a take has its name long before it is shown
                tab.evaluate(_WATCH, fresh.id)
                began = time.time()
                shown[-1].load(fresh)
                wait_for(lambda id=fresh.id: picker.get_attribute("data-drawn") == id, what="the paint")
                spans.append(tab.evaluate("globalThis.painted") / 1000 - began)
    finally:
        server.stop()
    return {"first paint, s": statistics.median(spans), "first paint, best, s": min(spans)}


_ROOT = "[...document.querySelectorAll('*')].flatMap(n => n.shadowRoot ? [...n.shadowRoot.querySelectorAll('*')] : []).flatMap(n => n.shadowRoot ? [n, ...n.shadowRoot.querySelectorAll('.acl-waveform')] : [n]).find(n => n.matches?.('.acl-waveform'))"
_READY = f"() => {_ROOT}?.dataset.drawn === 'ID'"
_WATCH = f"""id => {{ const node = {_ROOT}; globalThis.painted = 0;
  const look = new MutationObserver(() => {{ if (node.dataset.drawn === id && node.dataset.bins !== '0' && !globalThis.painted) requestAnimationFrame(() => {{ globalThis.painted ||= Date.now(); look.disconnect(); }}); }});
  look.observe(node, {{ attributes: true }}); }}"""


def _answers(tab: Any, url: str) -> bool:
    try:
        tab.goto(url)
    except Exception:  # noqa: BLE001 - the server is not up yet
        return False
    return True


def notebook() -> dict[str, Any]:
    """Bytes that showing ten takes adds to a notebook, widget state and all."""
    making = "import numpy as np\nfrom acestep_lab import Audio, Recipe, Take\ntakes = [Take(Recipe(f'take {i}', seconds=30, seed=i), Audio(np.random.default_rng(i).standard_normal((2, 1_440_000)).astype('float32') * 0.1, 48_000), np.zeros((300, 64))) for i in range(10)]"
    bare, _ = _executed([making])
    full, _ = _executed([making, *[f"takes[{i}]" for i in range(10)]])
    return {"ten takes add, kB": (full - bare) / 1000}


def lessons() -> dict[str, Any]:
    """Size, processor and wall seconds of every lesson, executed."""
    import jupytext

    figures: dict[str, Any] = {}
    for lesson in sorted((HERE.parent.parent / "notebooks").glob("*.py")):
        cells = [cell.source for cell in jupytext.read(lesson).cells if cell.cell_type == "code"]
        began = time.perf_counter()
        size, processor = _executed(cells)
        figures[lesson.stem] = {"kB": size / 1000, "processor, s": processor, "wall, s": time.perf_counter() - began}
        print(lesson.stem, figures[lesson.stem], flush=True)
    return figures


def _executed(cells: list[str]) -> tuple[int, float]:
    """Bytes of a notebook once executed, and the processor seconds its kernel took."""
    import nbformat
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        setting = f"import os; os.environ['ACESTEP_LAB_TAKES'] = {folder!r}"
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (setting, *cells)])
        before = _children()
        where = {"metadata": {"path": folder}}
        NotebookClient(book, timeout=900, kernel_name="python3", store_widget_state=True, resources=where).execute()
        return len(json.dumps(book)), _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _processor(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"waveform": waveform, "notebook": notebook, "lessons": lessons}


def main(wanted: list[str]) -> None:
    path = HERE / "results" / "studio.json"
    figures = json.loads(path.read_text()) if path.is_file() else {}
    for name in wanted or list(PARTS):
        figures[name] = {**PARTS[name](), "jobs beside it": os.getloadavg()[0]}
        print(json.dumps({name: figures[name]}, indent=1), flush=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

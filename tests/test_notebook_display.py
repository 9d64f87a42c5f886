"""What a cell shows while it waits and after, what a script says on stderr, and what an interrupt leaves: in a real kernel."""

from __future__ import annotations

import json
import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SETUP = """
import os
os.environ["ACESTEP_LAB_PROGRESS"] = "1"
from tests.pretend import PretendSession
from acestep_lab import Recipe
lab = PretendSession({folder!r}, pause=0.25)
lab.make(Recipe("warm up", seconds=2, steps=1)); None
"""


class Kernel:
    """A Jupyter kernel, asked as a front end asks it."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        root = str(Path(__file__).parent.parent)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=root, env=env)

    def run(self, code: str, interrupt_after: float | None = None) -> list[dict[str, Any]]:
        """All that a cell published, in order; perhaps interrupted after so many seconds."""
        asked, found, end = self.client.execute(code), [], time.monotonic() + 60
        cut = None if interrupt_after is None else time.monotonic() + interrupt_after
        while time.monotonic() < end:
            if cut is not None and time.monotonic() > cut:
                self.manager.interrupt_kernel()
                cut = None
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found
            found.append({"kind": message["msg_type"], **message["content"]})
        raise AssertionError(f"The cell did not end: {found[-3:]}")

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    opened = Kernel()
    opened.run(SETUP.format(folder=str(tmp_path_factory.mktemp("takes"))))
    yield opened
    opened.close()


WIDGET = "application/vnd.jupyter.widget-view+json"


def shown(messages: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """What stands in the cell's output at the end: one entry per output, as a front end leaves it."""
    outputs: dict[str, tuple[str, dict[str, Any]]] = {}
    for place, one in enumerate(messages):
        assert one["kind"] not in ("stream",) or one["name"] != "stderr", one
        if one["kind"] in ("display_data", "execute_result", "update_display_data"):
            name = one.get("transient", {}).get("display_id") or str(place)
            outputs[name] = (one["kind"], one["data"])
        elif one["kind"] == "error":
            outputs["error"] = ("error", {"text": "\n".join(one["traceback"])})
    return list(outputs.values())


def test_a_cell_that_waits_shows_bar_picture_and_how_to_stop_and_the_result_s_player_takes_their_place(
    kernel: Kernel,
) -> None:
    messages = kernel.run('lab.make(Recipe("slow dub", seconds=2, steps=6))')
    on_the_way = [one["data"].get("text/html", "") for one in messages if "data" in one and "text/html" in one["data"]]
    assert any("<progress" in html and "interrupt the cell" in html for html in on_the_way)
    assert any("data:image/png" in html and "of 6" in html for html in on_the_way)
    outputs = shown(messages)
    assert sum(WIDGET in data for _, data in outputs) == 1, "one player"
    assert WIDGET in outputs[-1][1]
    assert "Made in" in outputs[0][1]["text/plain"]
    assert len(json.dumps([data for _, data in outputs])) < 100_000


def test_a_take_that_only_got_a_name_is_heard_as_well(kernel: Kernel) -> None:
    outputs = shown(kernel.run('take = lab.make(Recipe("a name", seconds=2, steps=6))'))
    assert [WIDGET in data for _, data in outputs] == [True]


def test_in_a_loop_the_last_take_has_the_player_and_the_others_are_a_line(kernel: Kernel) -> None:
    outputs = shown(kernel.run('for seed in (1, 2):\n    lab.make(Recipe("loop", seconds=2, steps=3, seed=seed))'))
    assert [WIDGET in data for _, data in outputs] == [False, True]
    assert outputs[0][1]["text/plain"].startswith("Made in")


def test_an_interrupt_says_what_was_kept_and_what_still_can_be(kernel: Kernel) -> None:
    outputs = shown(kernel.run('lab.make(Recipe("long", seconds=2, steps=60))', interrupt_after=1.5))
    said = outputs[-1][1]["text"]
    assert "KeyboardInterrupt" in said
    assert "No take was made yet." in said
    assert "can still be kept as a take: run.keep(" in said
    [message] = [one for one in kernel.run("lab.jobs.interrupted.keep(0).id") if one["kind"] == "execute_result"]
    assert "take-" in message["data"]["text/plain"]


def test_an_interrupt_in_a_loop_s_own_body_says_so_too(kernel: Kernel) -> None:
    code = 'import time\nfor step in lab.start(Recipe("loop", seconds=2, steps=60)):\n    time.sleep(0.1)'
    said = shown(kernel.run(code, interrupt_after=1.5))[-1][1]["text"]
    assert "can still be kept as a take: run.keep(" in said


def test_a_run_shown_by_its_name_is_widgets_with_a_stop_that_works(kernel: Kernel) -> None:
    outputs = shown(kernel.run('run = lab.start(Recipe("live", seconds=2, steps=60))\nrun'))
    assert WIDGET in outputs[-1][1]
    stop = (
        "from acestep_lab.ui.run_display import run_widget\n"
        'box = run_widget(run); box.children[0].receive({"kind": "stop"}); run.wait(20)\nprint(run.state)'
    )
    assert any(one.get("text") == "stopped\n" for one in kernel.run(stop))

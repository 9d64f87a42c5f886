"""What a broken download costs: how often the bytes of a file are sent until it is whole, over two calls.

    python -m tests.benchmarks.bench_resume      # a minute

A server on this machine serves 20 MB over HTTP and breaks off in one of several ways; where the first call fails, a second
follows. Compared: `huggingface_hub.hf_hub_download`, and `acestep_lab.models.download.fetch` over the same library's session.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acestep_lab.errors import LabError
from acestep_lab.models.download import HuggingFace, Store, fetch
from tests.hub_server import HubServer

MB = 2**20
WEIGHTS = random.Random(0).randbytes(20 * MB)
FAULTS: dict[str, dict[str, Any]] = {
    "reset once, at 90 %": {"drops": 1, "after": 18 * MB, "reset": True},
    "closed once, at 90 %": {"drops": 1, "after": 18 * MB},
    "closed every 4 MB": {"drops": 100, "after": 4 * MB},
    "short answer, 90 %": {"cut": 18 * MB},
}


def by_the_library(server: HubServer, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download("a/b", "model.safetensors", cache_dir=folder, endpoint=server.endpoint)


def by_us(server: HubServer, folder: Path) -> None:
    fetch("a/b", hubs=[HuggingFace(server.endpoint)], offline=False, store=Store(folder))


def cost(get: Callable[[HubServer, Path], None], faults: dict[str, Any]) -> dict[str, Any]:
    """How many times the file's bytes were sent, how many calls it took, and their seconds."""
    server = HubServer({"model.safetensors": WEIGHTS}, **faults).start()
    began, calls = time.perf_counter(), 1
    with tempfile.TemporaryDirectory() as folder:
        try:
            get(server, Path(folder))
        except (LabError, OSError, _transport_error()):
            calls, server.drops_left = 2, 0
            server.faults.clear()
            get(server, Path(folder))
    server.stop()
    return {
        "sent": round(server.sent / len(WEIGHTS), 2),
        "calls": calls,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _transport_error() -> type[Exception]:
    import httpx2

    return httpx2.TransportError


def main() -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    logging.disable(logging.WARNING)
    constants.HF_HUB_OFFLINE = False
    figures = {
        fault: {"hf_hub_download": cost(by_the_library, faults), "ours": cost(by_us, faults)}
        for fault, faults in FAULTS.items()
    }
    print(json.dumps(figures, indent=1))
    (Path(__file__).parent / "results" / "resume.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

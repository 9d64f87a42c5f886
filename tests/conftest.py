"""What every test stands on: no network, one thread, and a torchaudio that cannot break anything."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from acestep_lab._torchaudio import patch_torchaudio

for _name in [name for name in os.environ if name.startswith("ACESTEP_")]:  # what this shell sets is not what is tested
    del os.environ[_name]
os.environ["ACESTEP_LAB_PROGRESS"] = "0"
os.environ["ACESTEP_LAB_THREADS"] = "torch"  # nothing is measured

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Before tests import diffusers and transformers by themselves."""
    patch_torchaudio()


@pytest.fixture(scope="module", autouse=True)
def what_stays_is_looked_at_once() -> Iterator[None]:
    """After each file, what lives on (modules, code, caches) is put aside, so that later collections need not walk through it:
    beside a few thousand tests a collection takes half a second, and every component that leaves a device asks for one.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random turbo checkpoint in the diffusers layout, with a planner. Read it; write beside a copy."""
    from tests.tiny import tiny_diffusers

    return tiny_diffusers(tmp_path_factory.mktemp("checkpoints") / "tiny-turbo", turbo=True)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base checkpoint in the diffusers layout, with a planner."""
    from tests.tiny import tiny_diffusers

    return tiny_diffusers(tmp_path_factory.mktemp("checkpoints") / "tiny-base", turbo=False)


@pytest.fixture(scope="session")
def tiny_original_turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same turbo checkpoint in the published layout, in one file."""
    from tests.tiny import tiny_original

    return tiny_original(tmp_path_factory.mktemp("checkpoints") / "published-turbo", "turbo")


@pytest.fixture(scope="session")
def tiny_original_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same base checkpoint in the published layout, in shards."""
    from tests.tiny import tiny_original

    return tiny_original(tmp_path_factory.mktemp("checkpoints") / "published-base", "base", sharded=True)


PATIENCE = 60.0
"""Seconds after the last test in which all threads have to end."""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Python waits at its end for threads that are no daemons: one left by a failed test would keep a test run open for ever."""

    def leave() -> None:
        left = [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
        print(
            f"Left behind by the tests, and still at work after {PATIENCE:g} s: {', '.join(left)}.", file=sys.__stderr__
        )
        sys.__stderr__.flush()
        os._exit(int(exitstatus) or 1)

    watch = threading.Timer(PATIENCE, leave)
    watch.daemon = True
    watch.start()

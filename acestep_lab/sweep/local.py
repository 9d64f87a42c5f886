"""Workers on this machine: a Dask cluster on loopback whose workers each have a session of their own from the start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from acestep_lab.prompt import checks
from acestep_lab.sweep.cluster import distributed
from acestep_lab.sweep.worker import RESOURCE

MOST_WORKERS = 64


def local_cluster(
    workers: int, checkpoints: Sequence[str] = (), *, threads: int | None = None, port: int = 0, cold: bool = False
) -> Any:  # fmt: skip
    """Start so many workers here and wait until their sessions are open; `close()` ends them. `threads` are those each computes with.

    Loopback only, since Dask's port runs whatever code comes. One worker for a card; several on a CPU share its cores.
    """
    count = checks.whole("The number of workers", workers, 1, MOST_WORKERS)
    each = threads or max(1, (os.cpu_count() or 1) // count)
    argv = [word for name in checkpoints for word in ("--checkpoint", name)] + ["--of-another"] + ["--cold"] * cold
    dask = distributed()
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    cluster = dask.LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", scheduler_port=port, memory_limit=0,
        resources={RESOURCE: 1}, dashboard_address="127.0.0.1:0", preload=["acestep_lab.sweep.worker"], preload_argv=argv,
        env={name: str(each) for name in names}, worker_dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    return cluster

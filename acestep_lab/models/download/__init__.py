"""Getting weights: chosen files of repos become files on this disk, whole and checked. It knows no tensors and no catalog.

::

    fetch("turbo", registry.download("turbo", "1.7B"), on_message=print)  # into the hub's cache, where it is opened from
    fetch("owner/name", folder="checkpoints")    # any hub id, whole; into a folder of one's own

Who does what::

    selection.py    which files of a repo are fetched        huggingface.py  Hugging Face, through huggingface_hub and hf_xet
    hub.py          what a hub is: a listing, pieces of files modelscope.py   the mirror, over our own HTTP
    store.py        where files lie, the list of what came   partial.py      a file growing until it is whole and right
    verify.py       checksums; what is wrong on this disk    job.py          look up, check the disk, fetch, record

Hubs are tried in order: Hugging Face (or the mirror that HF_ENDPOINT names), then ModelScope. A file cut short goes on where it
stopped, also after a restart and from another hub; it is kept under its name only once its size and checksum are right.
"""

from acestep_lab.models.download.hub import Hub, HubError, Listing, RemoteFile
from acestep_lab.models.download.huggingface import HuggingFace
from acestep_lab.models.download.job import DownloadJob, FetchResult, Progress, fetch, known_hubs
from acestep_lab.models.download.modelscope import ModelScope
from acestep_lab.models.download.selection import FileSelection
from acestep_lab.models.download.store import LOCKFILE, LockEntry, Store, free_disk, hub_cache
from acestep_lab.models.download.verify import checksum, verify

__all__ = [
    "LOCKFILE",
    "DownloadJob",
    "FetchResult",
    "FileSelection",
    "Hub",
    "HubError",
    "HuggingFace",
    "Listing",
    "LockEntry",
    "ModelScope",
    "Progress",
    "RemoteFile",
    "Store",
    "checksum",
    "fetch",
    "free_disk",
    "hub_cache",
    "known_hubs",
    "verify",
]

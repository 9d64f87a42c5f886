"""Finds the browser halves (`widgets/*.js`, `*.css`) and links one component into one ES module.

Knows nothing of Python widgets. Linking is putting text together: the shared style and the words of all languages as constants, `host.js`, any other
shared part, then the component. No bundler, no network.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, lru_cache
from pathlib import Path

from acestep_lab.ui import locale

_HERE = Path(__file__).resolve().parent


@lru_cache(maxsize=1)
def folder() -> Path:
    """The folder of browser halves: inside an installed wheel, or beside the package in an editable checkout."""
    places = (_HERE.parent / "static", _HERE.parent.parent / "widgets")
    for place in places:
        if (place / "host.js").is_file():
            return place
    raise FileNotFoundError(f"the browser halves (host.js) are in neither {places[0].name}/ nor {places[1].name}/")


@cache
def read(name: str) -> str:
    """The text of one file of the folder."""
    return (folder() / name).read_text(encoding="utf-8")


def style(*names: str) -> str:
    """The shared style, then each named one that exists."""
    return "\n".join(read(f"{name}.css") for name in ("base", *names) if (folder() / f"{name}.css").is_file())


@cache
def module(name: str, *includes: str) -> str:
    """One component as a self-contained ES module."""
    css = f"const CSS = {json.dumps(style(*includes, name))};\n"
    words = f"const LOCALES = {json.dumps(locale.words(*includes, name), ensure_ascii=False)};\n"
    return css + words + "\n".join(read(f"{part}.js") for part in ("host", *includes, name))


@cache
def loader(name: str, *includes: str) -> tuple[str, str]:
    """`(key, text)` of the few lines a host stores: they ask Python for the module by message.

    A host keeps its ES module in the notebook, once per output. Forty kilobytes for each take shown would fill a
    notebook; eight hundred bytes do not.
    """
    key = f"{name}@{hashlib.blake2b(module(name, *includes).encode(), digest_size=8).hexdigest()}"
    return key, read("loader.js").replace("__KEY__", key)

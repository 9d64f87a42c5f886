"""A musician's own presets, in a YAML file that people edit by hand, copy between machines and break.

Knows no browser. What cannot be read is left out and named, entry by entry; what is there, read or not, is never lost
by saving. Only plain values are read: no dates, no tags, no merges (`<<`), which can make gigabytes of a few lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from acestep_lab.errors import LabError, LibraryError, RecipeError, shown
from acestep_lab.files import decode_text, read_bytes, write_whole
from acestep_lab.ui.draft import Draft
from acestep_lab.ui.messages import text

MOST_BYTES = 512 * 1024
"""Of a presets' file: thousands of presets; the reader is slow, and a page waits for it."""
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_name = text(60)


class _Loader(yaml.SafeLoader):
    """Reads plain values only; whatever else it meets is an error of YAML's own kind."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Nothing is merged."""

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """A number; a date, a base-60 figure or thousands of digits are none."""
        try:
            return int(node.value) if node.tag.endswith(":int") else float(node.value)
        except ValueError:
            raise yaml.constructor.ConstructorError(None, None, f"{shown(node.value)} is no number") from None


_Loader.yaml_implicit_resolvers = {
    first: [(tag, look) for tag, look in rows if tag.rsplit(":", 1)[-1] in _PLAIN]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: work
    for tag, work in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rsplit(":", 1)[-1] in _PLAIN
}
for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads the way it was written."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written out."""
        return True


class Presets:
    """The presets in a file; none where there is no file. Read anew each time, since people edit it meanwhile."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.problems: list[str] = []
        """What the last reading left out, a sentence each."""

    def read(self) -> dict[str, dict[str, Any]]:
        """Name → values of every preset that makes sense; `problems` names the others, or says why none can be read."""
        self.problems = []
        try:
            root = self._root()
        except LabError as problem:
            self.problems = [str(problem)]
            return {}
        found: dict[str, dict[str, Any]] = {}
        for key, value in root.value:
            try:
                name, values = self._entry(key, value)
                found[name] = values
            except LabError as problem:
                self.problems.append(str(problem))
        return found

    def save(self, name: str, values: Mapping[str, Any]) -> None:
        """Put one preset into the file and leave all others as they are, also those that cannot be read.

        LabError, and nothing written, where the file cannot be read as a whole or the disk refuses.
        """
        if self._file is None:
            raise LabError("Presets are kept beside the takes; this editor has no folder to keep them in.")
        root = self._root("; it was left as it is. Mend it or move it away, then keep this preset again.")
        others = [(key, value) for key, value in root.value if key.value != name]
        fresh = yaml.compose(_dumped({name: dict(values)}), Loader=_Loader)
        root.value = sorted([*others, *fresh.value], key=lambda pair: str(pair[0].value))
        written = yaml.serialize(root, Dumper=_Dumper, allow_unicode=True)
        if len(written.encode()) > MOST_BYTES:
            raise LibraryError(
                f"The presets in {shown(self._file.name)} are too many to keep another one; remove some."
            )
        write_whole(self._file, lambda draft: draft.write_text(written, encoding="utf-8"), "The presets' file")

    def _root(self, hint: str = ".") -> yaml.MappingNode:
        """The file as a tree of nodes; an empty one where there is none."""
        if self._file is None or not os.path.lexists(self._file):
            return yaml.MappingNode("tag:yaml.org,2002:map", [], flow_style=False)
        what = f"The presets' file {shown(self._file.name)}"
        words = decode_text(read_bytes(self._file, "The presets' file", LibraryError, MOST_BYTES), what, LibraryError)
        try:
            root = yaml.compose(words, Loader=_Loader)
        except (yaml.YAMLError, RecursionError) as problem:
            raise LibraryError(f"{what} is not YAML ({_where(problem)}){hint}") from None
        if root is None:
            return yaml.MappingNode("tag:yaml.org,2002:map", [], flow_style=False)
        if not isinstance(root, yaml.MappingNode):
            raise LibraryError(f"{what} does not begin with the names of presets{hint}")
        return root

    def _entry(self, key: yaml.Node, value: yaml.Node) -> tuple[str, dict[str, Any]]:
        """One preset; LibraryError names it and says what is odd about it."""
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        try:
            values = _plain(value)
            if not isinstance(values, dict):
                raise RecipeError("it has no fields")
            return _name("its name", name), _sensible(values)
        except RecipeError as problem:
            raise LibraryError(f"The preset {shown(name, 40)} was left out: {_lower(str(problem))}") from None


def _plain(node: yaml.Node) -> Any:
    """A node as plain values; RecipeError where it holds anything else."""
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as problem:
        raise RecipeError(f"it holds what no preset holds ({_where(problem)})") from None
    finally:
        loader.dispose()


def _sensible(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The values where a recipe could be made of them; names that no field has are left for later versions to read."""
    named = {str(name): value for name, value in values.items()}
    if "<<" in named:
        raise RecipeError("it takes over another one's fields (<<); write them out")
    draft = Draft().take_over(named)
    for problem in draft.problems().values():
        raise RecipeError(problem)
    return named


def _dumped(values: Mapping[str, Any]) -> str:
    plain = {name: {k: list(v) if isinstance(v, tuple) else v for k, v in one.items()} for name, one in values.items()}
    return str(yaml.dump(plain, Dumper=_Dumper, allow_unicode=True, sort_keys=True))


def _where(problem: BaseException) -> str:
    """Where and why YAML stopped, in few words."""
    if isinstance(problem, RecursionError):
        return "nested too deeply"
    mark = getattr(problem, "problem_mark", None)
    why = re.sub(r"\s+", " ", str(getattr(problem, "problem", None) or problem))[:80]
    return f"line {mark.line + 1}: {why}" if mark is not None else why


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]

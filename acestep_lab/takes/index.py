"""The library's index: one SQLite table and a full-text one, always to be made again from the files.

Knows manifests and marks as plain data. Two processes may use it at once (WAL, a busy timeout of ten seconds). Where its
file cannot be written (a full disk, a read-only one), it lives in memory; where it is damaged, it starts anew.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any

from acestep_lab.errors import LibraryError, shown
from acestep_lab.prompt.checks import is_a, is_whole, plain_number, plain_text
from acestep_lab.takes.titles import TitleParts, title

VERSION = 3
MOST_WORDS, MOST_LETTERS = 32, 64
"""Of a search; what is longer says no more."""
MOST_REMEMBERED = 20_000
"""Cards whose JSON is kept read."""

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_SCHEMA", "SQLITE_CONSTRAINT")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS takes (
  id TEXT PRIMARY KEY, stamp TEXT NOT NULL, created TEXT NOT NULL, caption TEXT NOT NULL, seconds REAL NOT NULL,
  seed INTEGER, task TEXT NOT NULL, bpm INTEGER, keyscale TEXT, parents TEXT NOT NULL, star INTEGER NOT NULL,
  reject INTEGER NOT NULL, note TEXT NOT NULL, tags TEXT NOT NULL, recipe TEXT NOT NULL, scores TEXT NOT NULL,
  title TEXT NOT NULL, batch TEXT NOT NULL, heard TEXT NOT NULL, naming TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_time ON takes (created DESC, id);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (id UNINDEXED, text, tokenize = 'unicode61 remove_diacritics 2');
"""
_COLUMNS = (
    "id, stamp, created, caption, seconds, seed, task, bpm, keyscale, parents, star, reject, note, tags, recipe, scores, "
    "title, batch, heard"
)


@dataclass(frozen=True)
class Card:
    """What a gallery shows of a take without opening its sound."""

    id: str
    created: str
    caption: str
    seconds: float
    seed: int | None
    task: str
    bpm: int | None
    keyscale: str | None
    parents: tuple[str, ...]
    star: bool
    reject: bool
    note: str
    tags: tuple[str, ...]
    recipe: Mapping[str, Any] = field(hash=False)
    scores: Mapping[str, float] = field(hash=False)
    title: str = ""
    """The title given by hand; what a take without one is called, see `titles`."""
    batch: str = ""
    """The run that made it, shared by what was made together; "" where nobody wrote that down."""
    heard: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What was heard in it that is no number: its key, its meter."""


class IndexLost(LibraryError):
    """The index had to start anew, empty; fill it and ask again."""


class Index:
    """Cards of all takes in a folder, searchable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.in_memory = False
        """Whether the file cannot be used."""
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._cards: dict[tuple[str, str], Card] = {}
        self.revision = 0
        """Moves with whatever is put in or dropped."""

    @property
    def ready(self) -> bool:
        """Whether what was put in is still there."""
        return self._connection is not None and (self.in_memory or self.path.exists())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The one connection, made anew where the file has vanished; IndexLost where it cannot be used as it is."""
        with self._lock:
            try:
                connection = self._connection if self.ready else None
                connection = self._connection = connection or self._connect()
                with connection:
                    yield connection
            except (sqlite3.Error, OSError, UnicodeDecodeError, _BadRow) as error:  # a damaged file's texts are none
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Start anew: in place of a damaged file, else in memory."""
        if self.in_memory:
            raise LibraryError(f"The library cannot be searched ({shown(str(error))}).") from None
        name = str(getattr(error, "sqlite_errorname", "") or "")
        damaged = isinstance(error, _BadRow | UnicodeDecodeError) or (
            isinstance(error, sqlite3.Error) and name.startswith(_DAMAGED)
        )
        self.in_memory = not (damaged and self.forget())
        self.close()
        raise IndexLost("The library's index could not be used and is made anew; ask again.") from None

    def forget(self) -> bool:
        """Delete the index's files, which are only a mirror; whether that was possible."""
        self._changed()
        self.close()
        files = [self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm", "-journal", "")]
        for file in files:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        return not self.path.exists()

    def to_memory(self) -> None:
        """Give the disk its space back, and live in memory."""
        with self._lock:
            self.forget()
            self.in_memory = True

    def _connect(self) -> sqlite3.Connection:
        self.close()
        if not self.in_memory and self.path.exists() and not self.path.is_file():
            self.in_memory = True  # a folder or a pipe of that name
        place = ":memory:" if self.in_memory else self.path
        connection = sqlite3.connect(place, timeout=10, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
                connection.executescript("DROP TABLE IF EXISTS takes; DROP TABLE IF EXISTS words;")
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            if self._connection is not None:
                with suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None

    def _changed(self) -> None:
        self.revision += 1
        if len(self._cards) > MOST_REMEMBERED:
            self._cards = {}

    def stamps(self) -> dict[str, str]:
        """What was indexed when: id → stamp of its files."""
        with self._open() as db:
            return dict(db.execute("SELECT id, stamp FROM takes"))

    def put(self, entries: Iterable[tuple[str, Mapping[str, object], Mapping[str, object]]]) -> None:
        """Add or replace takes: (stamp, manifest, marks) each."""
        self._changed()
        with self._open() as db:
            for stamp, data, marks in entries:
                db.execute("DELETE FROM words WHERE id = ?", (data["id"],))
                db.execute(f"INSERT OR REPLACE INTO takes VALUES ({','.join('?' * 20)})", _row(stamp, data, marks))
                db.execute("INSERT INTO words VALUES (?, ?)", (data["id"], _text(data, marks)))

    def drop(self, ids: Iterable[str]) -> None:
        """Forget takes."""
        self._changed()
        with self._open() as db:
            for name in ids:
                db.execute("DELETE FROM takes WHERE id = ?", (name,))
                db.execute("DELETE FROM words WHERE id = ?", (name,))

    def cards(self, query: str = "", most: int | None = None, **where: object) -> list[Card]:
        """Cards newest first; `query` words must all occur (beginnings count); `where` fixes columns."""
        clauses, values = _narrowed(where)
        if wanted := _match(query):
            clauses.insert(0, "id IN (SELECT id FROM words WHERE words MATCH ?)")
            values.insert(0, wanted)
        if most is not None and not (is_whole(most) and 0 <= (plain_number(most) or 0) < 2**31):
            raise LibraryError(f"At most so many cards is a whole number from 0 up, not {shown(most)}.")
        rest = (f" WHERE {' AND '.join(clauses)}" if clauses else "") + " ORDER BY created DESC, id LIMIT ?"
        values.append(-1 if most is None else int(plain_number(most) or 0))
        with self._open() as db:
            keys = [(str(id), str(stamp)) for id, stamp in db.execute(f"SELECT id, stamp FROM takes{rest}", values)]
            kept = self._cards  # read once for each stamp of a take's files
            if all(key in kept for key in keys):
                return [kept[key] for key in keys]
            rows = db.execute(f"SELECT {_COLUMNS} FROM takes{rest}", values).fetchall()
            found = {(str(row[0]), str(row[1])): kept.get((str(row[0]), str(row[1]))) or _card(row) for row in rows}
            kept.update(found)
            return list(found.values())

    def title_parts(self) -> list[tuple[str, TitleParts]]:
        """What the titles of all takes are made of, oldest first."""
        with self._open() as db:
            rows = db.execute("SELECT id, naming FROM takes ORDER BY created, id DESC").fetchall()
        try:
            return [(str(id), TitleParts.from_plain(json.loads(naming))) for id, naming in rows]
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
            self._give_up(_BadRow())
            raise AssertionError from None  # _give_up raised

    def ids(self) -> list[str]:
        """Ids newest first."""
        with self._open() as db:
            return [row[0] for row in db.execute("SELECT id FROM takes ORDER BY created DESC, id")]


def _narrowed(where: Mapping[str, object]) -> tuple[list[str], list[object]]:
    """SQL for the columns that are fixed; LibraryError for what is no column or no plain value."""
    columns = [f.name for f in fields(Card)]
    for name, value in where.items():
        if name not in columns:
            raise LibraryError(f"A card has no {shown(name)}; it has {', '.join(columns)}.")
        number = plain_number(value)
        if not is_a(value, str, bool, NoneType) and (number is None or abs(number) >= 2**63):
            raise LibraryError(f"A card's {name} is plain text or a number, not {shown(value)}.")
    plain = [_plain(value) for value in where.values()]
    return [f"{name} IS ?" for name in where], plain


def _plain(value: object) -> object:
    """A value as SQLite takes it."""
    if (text := plain_text(value)) is not None:
        return text.encode("utf-8", "replace").decode()
    return value if value is None or is_a(value, bool) else plain_number(value)


def _match(query: str) -> str:
    """An FTS5 expression out of whatever was typed: every word quoted, its beginning enough."""
    if (asked := plain_text(query)) is None:
        raise LibraryError(f"A search is words, not {shown(query)}.")
    text = re.sub(r'[\0"\ud800-\udfff]', " ", asked)
    words = [word[:MOST_LETTERS] for word in text.split()][:MOST_WORDS]
    return " ".join(f'"{word}"*' for word in words if any(ch.isalnum() for ch in word))


def _row(stamp: str, data: Mapping[str, Any], marks: Mapping[str, Any]) -> tuple[object, ...]:
    recipe, plan = data["recipe"], data.get("plan") or {}
    return (
        data["id"], stamp, data["created"], recipe["caption"], data["audio"]["seconds"], recipe.get("seed"),
        recipe.get("task", {}).get("task", "Text2Music"), recipe.get("bpm") or plan.get("bpm"),
        recipe.get("keyscale") or plan.get("keyscale"), json.dumps(data["parents"]), bool(marks.get("star")),
        bool(marks.get("reject")), marks.get("note", ""), json.dumps(marks.get("tags", []), ensure_ascii=False),
        json.dumps(recipe, ensure_ascii=False), json.dumps(marks.get("scores", {})),
        marks.get("title", ""), marks.get("batch", ""), json.dumps(marks.get("heard", {}), ensure_ascii=False),
        json.dumps(_title_parts(data, marks).plain(), ensure_ascii=False),
    )  # fmt: skip


def _title_parts(data: Mapping[str, Any], marks: Mapping[str, Any]) -> TitleParts:
    return TitleParts.of_recipe(data["recipe"], data.get("made_with"), str(marks.get("title", "")))


def _text(data: Mapping[str, Any], marks: Mapping[str, Any]) -> str:
    """Everything of a take one may search for."""
    recipe, plan = data["recipe"], data.get("plan") or {}
    tempo, key = recipe.get("bpm") or plan.get("bpm"), recipe.get("keyscale") or plan.get("keyscale")
    parts = [
        title(_title_parts(data, marks)), recipe["caption"], recipe.get("lyrics", ""), plan.get("caption", ""), recipe.get("task", {}).get("task", ""),
        f"{tempo} bpm" if tempo else "", key or "", marks.get("note", ""), " ".join(marks.get("tags", [])),
        " ".join(str(word) for word in marks.get("heard", {}).values()),
        f"seed {recipe.get('seed')}", data["id"],
    ]  # fmt: skip
    return "\n".join(str(part) for part in parts if part)


class _BadRow(Exception):
    """A row of the index holds what was never put there."""


def _card(row: tuple[Any, ...]) -> Card:
    try:
        (name, _, created, caption, seconds, seed, task, bpm, key, parents, star, reject, note, tags, recipe, scores,
         named, batch, heard) = row  # fmt: skip
        return Card(
            str(name), str(created), str(caption), float(seconds), seed, str(task), bpm, key, tuple(json.loads(parents)),
            bool(star), bool(reject), str(note), tuple(json.loads(tags)), dict(json.loads(recipe)), dict(json.loads(scores)),
            str(named), str(batch), dict(json.loads(heard)),
        )  # fmt: skip
    except (TypeError, ValueError, RecursionError):
        raise _BadRow from None

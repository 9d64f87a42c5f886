"""The library's index: one SQLite table and a full-text one, always to be made again from the files.

Knows manifests and marks as plain data. Two processes may use it at once (WAL, a busy timeout of ten seconds).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acestep_lab.errors import LibraryError

VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS takes (
  id TEXT PRIMARY KEY, stamp TEXT NOT NULL, created TEXT NOT NULL, caption TEXT NOT NULL, seconds REAL NOT NULL,
  seed INTEGER, task TEXT NOT NULL, bpm INTEGER, keyscale TEXT, parents TEXT NOT NULL, star INTEGER NOT NULL,
  reject INTEGER NOT NULL, note TEXT NOT NULL, tags TEXT NOT NULL, recipe TEXT NOT NULL, scores TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_time ON takes (created DESC, id);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (id UNINDEXED, text, tokenize = 'unicode61 remove_diacritics 2');
"""


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
    recipe: Mapping[str, Any]
    scores: Mapping[str, float]


class Index:
    """Cards of all takes in a folder, searchable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The one connection, made anew where the file has vanished or is damaged."""
        with self._lock:
            try:
                if self._connection is None or not self.path.exists():
                    self._connection = self._connect()
                with self._connection:
                    yield self._connection
            except sqlite3.OperationalError as error:
                self.close()
                raise LibraryError(f"The library's index {str(self.path)!r} cannot be used ({error}).") from None
            except sqlite3.DatabaseError:
                self.close()
                self.path.unlink(missing_ok=True)
                raise LibraryError("The library's index was damaged and has been dropped; ask again.") from None

    def _connect(self) -> sqlite3.Connection:
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
            connection.executescript("DROP TABLE IF EXISTS takes; DROP TABLE IF EXISTS words;")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        return connection

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def stamps(self) -> dict[str, str]:
        """What was indexed when: id → stamp of its files."""
        with self._open() as db:
            return dict(db.execute("SELECT id, stamp FROM takes"))

    def put(self, entries: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Add or replace takes: (stamp, manifest, marks) each."""
        with self._open() as db:
            for stamp, story, marks in entries:
                db.execute("DELETE FROM words WHERE id = ?", (story["id"],))
                db.execute(f"INSERT OR REPLACE INTO takes VALUES ({','.join('?' * 16)})", _row(stamp, story, marks))
                db.execute("INSERT INTO words VALUES (?, ?)", (story["id"], _text(story, marks)))

    def drop(self, ids: Iterable[str]) -> None:
        """Forget takes."""
        with self._open() as db:
            for name in ids:
                db.execute("DELETE FROM takes WHERE id = ?", (name,))
                db.execute("DELETE FROM words WHERE id = ?", (name,))

    def cards(self, query: str = "", most: int | None = None, **where: object) -> list[Card]:
        """Cards newest first; `query` words must all occur (beginnings count); `where` fixes columns."""
        clauses, values = [f"{name} = ?" for name in where], list(where.values())
        if wanted := _match(query):
            clauses.insert(0, "id IN (SELECT id FROM words WHERE words MATCH ?)")
            values.insert(0, wanted)
        sql = "SELECT * FROM takes" + (f" WHERE {' AND '.join(clauses)}" if clauses else "")
        with self._open() as db:
            rows = db.execute(f"{sql} ORDER BY created DESC, id LIMIT ?", (*values, -1 if most is None else most))
            return [_card(row) for row in rows]

    def ids(self) -> list[str]:
        """Ids newest first."""
        with self._open() as db:
            return [row[0] for row in db.execute("SELECT id FROM takes ORDER BY created DESC, id")]


def _match(query: str) -> str:
    """An FTS5 expression out of whatever was typed: every word quoted, its beginning enough."""
    words = [word.replace('"', "") for word in query.split()]
    return " ".join(f'"{word}"*' for word in words if any(ch.isalnum() for ch in word))


def _row(stamp: str, story: Mapping[str, Any], marks: Mapping[str, Any]) -> tuple[Any, ...]:
    recipe, plan = story["recipe"], story.get("plan") or {}
    return (
        story["id"], stamp, story["created"], recipe["caption"], story["audio"]["seconds"], recipe.get("seed"),
        recipe.get("task", {}).get("task", "Text2Music"), recipe.get("bpm") or plan.get("bpm"),
        recipe.get("keyscale") or plan.get("keyscale"), json.dumps(story["parents"]), bool(marks.get("star")),
        bool(marks.get("reject")), marks.get("note", ""), json.dumps(marks.get("tags", []), ensure_ascii=False),
        json.dumps(recipe, ensure_ascii=False), json.dumps(marks.get("scores", {})),
    )  # fmt: skip


def _text(story: Mapping[str, Any], marks: Mapping[str, Any]) -> str:
    """Everything of a take one may search for."""
    recipe, plan = story["recipe"], story.get("plan") or {}
    tempo, key = recipe.get("bpm") or plan.get("bpm"), recipe.get("keyscale") or plan.get("keyscale")
    parts = [
        recipe["caption"], recipe.get("lyrics", ""), plan.get("caption", ""), recipe.get("task", {}).get("task", ""),
        f"{tempo} bpm" if tempo else "", key or "", marks.get("note", ""), " ".join(marks.get("tags", [])),
        f"seed {recipe.get('seed')}", story["id"],
    ]  # fmt: skip
    return "\n".join(str(part) for part in parts if part)


def _card(row: tuple[Any, ...]) -> Card:
    (
        name,
        _,
        created,
        caption,
        seconds,
        seed,
        task,
        bpm,
        key,
        parents,
        star,
        reject,
        note,
        tags,
        recipe,
        scores,
    ) = row
    return Card(
        name, created, caption, seconds, seed, task, bpm, key, tuple(json.loads(parents)), bool(star), bool(reject),
        note, tuple(json.loads(tags)), json.loads(recipe), json.loads(scores),
    )  # fmt: skip

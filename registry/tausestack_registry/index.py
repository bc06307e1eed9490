"""The search over a tenant's tools: full text in memory, weighted, the same answer every time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tausestack.raw import as_array, as_object
from tausestack_registry.words import clauses, terms, words

# How much a match counts: the tool's name, its server, its title and description, its fields.
_WEIGHTS = (2.0, 1.0, 1.0, 1.0)
_CLAUSES = 6
_FUSION = 10.0
"""How slowly a rank loses its worth where lists are fused: small favours each list's first."""
_DEPTH = 50


@dataclass(frozen=True)
class Hit:
    """A tool that was found; the higher the score the better."""

    address: str
    score: float


class ToolIndex:
    """An index over the tools of one tenant at one moment."""

    def __init__(self, tools: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """Take (server, title of the server, raw tool object) for each tool."""
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE tools USING fts5(name, server, description, fields, address UNINDEXED,"
            " tokenize='porter unicode61 remove_diacritics 2')"
        )
        rows = sorted(_row(server, title, tool) for server, title, tool in tools)
        self._database.executemany("INSERT INTO tools VALUES (?, ?, ?, ?, ?)", [(*row[1:], row[0]) for row in rows])

    def find(self, query: str, limit: int) -> list[Hit]:
        """Return the tools that fit a request best, best first; each of its parts has a say beside the whole."""
        parts = [part for part in clauses(query) if len(terms(part)) > 1][:_CLAUSES]
        rankings = [self._ranked(query), *(self._ranked(part) for part in parts if len(parts) > 1)]
        scores: dict[str, float] = {}
        for ranking in rankings:
            for place, address in enumerate(ranking):
                scores[address] = scores.get(address, 0.0) + 1.0 / (_FUSION + place)
        best = sorted(scores.items(), key=lambda found: (-found[1], found[0]))[:limit]
        return [Hit(address, round(score * _FUSION / len(rankings), 6)) for address, score in best]

    def _ranked(self, query: str) -> list[str]:
        groups = terms(query)
        if not groups:
            return []
        match = " OR ".join(f'"{word}"' for group in groups for word in group)
        weights = ", ".join(str(weight) for weight in _WEIGHTS)
        sql = f"SELECT address FROM tools WHERE tools MATCH ? ORDER BY bm25(tools, {weights}), address LIMIT {_DEPTH}"  # noqa: S608 constants
        return [address for (address,) in self._database.execute(sql, (match,))]


def _row(server: str, title: str, tool: dict[str, Any]) -> tuple[str, str, str, str, str]:
    name = str(tool["name"])
    fields: list[str] = []
    _collect(as_object(tool.get("inputSchema")) or {}, fields, 4)
    return (
        f"{server}/{name}",
        _text(name),
        _text(f"{server} {title}"),
        _text(f"{tool.get('title') or ''} {tool.get('description') or ''}"),
        _text(" ".join(fields)),
    )


def _text(text: str) -> str:
    return " ".join(words(text))


def _collect(schema: dict[str, Any], found: list[str], depth: int) -> None:
    """Gather the names and descriptions of a schema's fields, a few levels down."""
    for name, below in (as_object(schema.get("properties")) or {}).items():
        found.append(name)
        field = as_object(below) or {}
        found.append(str(field.get("description") or ""))
        found += [str(one) for one in as_array(field.get("enum")) or []]
        if depth > 0:
            _collect(field, found, depth - 1)
            _collect(as_object(field.get("items")) or {}, found, depth - 1)

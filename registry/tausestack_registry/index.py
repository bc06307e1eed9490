"""The search over a tenant's tools: BM25 over weighted fields in memory, the same answer every time.

A word of the request and its likes (synonyms, and for Spanish the English words) count once, by whichever fits a tool
best: SQLite's full text adds them up, which favours whatever the glossary has many words for. What a server's best
tools count goes to all that were found of it, since a request rarely needs one tool alone. The figures:
`python -m benchmarks toolsearch`.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tausestack.raw import as_array, object_at
from tausestack_registry.words import Term, clauses, language, stem, terms, words

# How much a match counts: in the tool's name, its server, its title and description, its fields.
_WEIGHTS = (4.0, 1.0, 1.0, 0.2)
_SATURATION = 8.0
_LENGTH = 0.65
_SERVER = 0.4
"""What a server's best tools count for another tool of it."""
_SERVERS_BEST = 3
_CLAUSES = 8
_CLAUSE = 0.6
"""What the ranking of a part of a request counts beside that of the whole."""
_FUSION = 3.0
"""How slowly a rank loses its worth where lists are fused: small favours each list's first."""
_DEPTH = 50
_COMMON = 400
"""A stem that more tools have finds none by itself, it only adds to what rarer ones found."""
_CANDIDATES = 200


@dataclass(frozen=True)
class Hit:
    """A tool that was found; the higher the score the better."""

    address: str
    score: float


class ToolIndex:
    """An index over the tools of one tenant at one moment."""

    def __init__(self, tools: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """Take (server, title or description of the server, raw tool object) for each tool."""
        counted = sorted(
            ((f"{server}/{tool['name']}", server, _fields(server, about, tool)) for server, about, tool in tools),
            key=lambda one: one[0],
        )
        lengths = [[sum(field.values()) for field in fields] for _, _, fields in counted]
        usual = [max(1.0, sum(column) / len(counted)) for column in zip(*lengths, strict=True)]
        self._addresses = [address for address, _, _ in counted]
        self._servers = [server for _, server, _ in counted]
        self._worth: dict[str, dict[int, float]] = defaultdict(dict)
        """What a stem counts for each tool that has it, by the tool's number."""
        for number, (_, _, fields) in enumerate(counted):
            for word, weight in _weighed(fields, usual).items():
                self._worth[word][number] = weight / (weight + _SATURATION)
        for found in self._worth.values():
            rarity = math.log(1.0 + (len(counted) - len(found) + 0.5) / (len(found) + 0.5))
            for number in found:
                found[number] *= rarity

    def find(self, query: str, limit: int) -> list[Hit]:
        """Return the tools that fit a request best, best first; each of its parts has a say beside the whole."""
        of = language(query)
        whole = terms(query, of)
        candidates = self._candidates(whole)
        matches = {term.word: self._matches(term, candidates) for term in whole}
        parts = [part for part in (terms(text, of) for text in clauses(query)) if len(part) > 1][:_CLAUSES]
        rankings = [(1.0, self._ranked(whole, matches))]
        if len(parts) > 1:
            rankings += [(_CLAUSE, self._ranked(part, matches)) for part in parts]
        scores: dict[int, float] = defaultdict(float)
        for weight, ranking in rankings:
            for place, number in enumerate(ranking):
                scores[number] += weight / (_FUSION + place)
        most = sum(weight for weight, _ in rankings) / _FUSION
        return [Hit(self._addresses[number], round(score / most, 6)) for number, score in _best(scores, limit)]

    def _candidates(self, asked: Sequence[Term]) -> set[int]:
        """Return the tools that are worth a closer look: those with most of what is rare in the request."""
        found: dict[int, float] = defaultdict(float)
        for common in (False, True):
            for term in asked:
                for like, likeness in term.stems:
                    having = self._worth.get(like)
                    if having is not None and (len(having) > _COMMON) is common:
                        for number, worth in having.items():
                            found[number] += likeness * worth
            if found:
                break
        return {number for number, _ in _best(found, _CANDIDATES)}

    def _matches(self, term: Term, candidates: set[int]) -> dict[int, float]:
        """Return what a term counts for each candidate that it fits."""
        best: dict[int, float] = {}
        for like, likeness in term.stems:
            having = self._worth.get(like, {})
            for number in having.keys() & candidates:
                worth = likeness * having[number]
                if worth > best.get(number, 0.0):
                    best[number] = worth
        return best

    def _ranked(self, asked: Sequence[Term], matches: Mapping[str, Mapping[int, float]]) -> list[int]:
        scores: dict[int, float] = defaultdict(float)
        for term in asked:
            for number, worth in matches[term.word].items():
                scores[number] += worth
        of_server: dict[str, list[float]] = defaultdict(list)
        for number, score in scores.items():
            of_server[self._servers[number]].append(score)
        context = {
            server: _SERVER * sum(heapq.nlargest(_SERVERS_BEST, found)) / _SERVERS_BEST
            for server, found in of_server.items()
        }
        lifted = {number: score + context[self._servers[number]] for number, score in scores.items()}
        return [number for number, _ in _best(lifted, _DEPTH)]


def _best(scores: Mapping[int, float], limit: int) -> list[tuple[int, float]]:
    """Return the highest, and of equals those whose address comes first."""
    return heapq.nsmallest(limit, scores.items(), key=lambda found: (-found[1], found[0]))


def _fields(server: str, about: str, tool: dict[str, Any]) -> list[Counter[str]]:
    schema: list[str] = []
    _collect(object_at(tool, "inputSchema"), schema, 4)
    texts = [
        str(tool["name"]),
        f"{server} {about}",
        f"{tool.get('title') or ''} {tool.get('description') or ''}",
        " ".join(schema),
    ]
    return [Counter(stem(word) for word in words(text)) for text in texts]


def _weighed(fields: list[Counter[str]], usual: list[float]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for field, weight, length in zip(fields, _WEIGHTS, usual, strict=True):
        norm = 1.0 - _LENGTH + _LENGTH * sum(field.values()) / length
        for word, count in field.items():
            found[word] += weight * count / norm
    return found


def _collect(schema: dict[str, Any], found: list[str], depth: int) -> None:
    """Gather the names and descriptions of a schema's fields, a few levels down."""
    for name, below in object_at(schema, "properties").items():
        found.append(name)
        field = object_at(below)
        found.append(str(field.get("description") or ""))
        found += [str(one) for one in as_array(field.get("enum")) or []]
        if depth > 0:
            _collect(field, found, depth - 1)
            _collect(object_at(field, "items"), found, depth - 1)

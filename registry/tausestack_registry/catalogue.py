"""The catalogue: what can be installed by name, and what a billing plan brings along.

The documents are `server.json` files of the official schema. Those of our own services hold their tools under
`pro.tause/tools` in `_meta`; `python -m tools.catalogue` writes them from the services themselves.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from tausestack.raw import object_at, objects_in
from tausestack_registry.words import Term, fold, language, terms

META_TOOLS = "pro.tause/tools"


@dataclass(frozen=True)
class Entry:
    """One server of the catalogue."""

    document: dict[str, Any]

    @property
    def name(self) -> str:
        """The last part of its name: what it is installed as unless asked otherwise."""
        return str(self.document["name"]).rpartition("/")[2]

    @property
    def title(self) -> str:
        """Its name for people."""
        return str(self.document.get("title") or self.name)

    @property
    def description(self) -> str:
        """What it is for, in one sentence."""
        return str(self.document["description"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.document["version"])

    @property
    def own(self) -> bool:
        """Whether it is one of our services."""
        return META_TOOLS in object_at(self.document, "_meta")

    @cached_property
    def tools(self) -> list[dict[str, Any]]:
        """The raw tools of one of our services."""
        return objects_in(object_at(self.document, "_meta").get(META_TOOLS))

    @property
    def package(self) -> dict[str, Any] | None:
        """Where the package of a third-party server is."""
        return next(iter(objects_in(self.document.get("packages"))), None)

    @property
    def variables(self) -> list[str]:
        """The variables that its package reads from the environment."""
        return [str(one["name"]) for one in self._variables]

    @property
    def environment(self) -> dict[str, str]:
        """The values that those variables have where nobody sets others."""
        values = {str(one["name"]): one.get("value", one.get("default")) for one in self._variables}
        return {name: str(value) for name, value in values.items() if value is not None}

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of its package's command."""
        words: list[Any] = []
        for one in objects_in((self.package or {}).get("packageArguments")):
            words += [one.get("name"), one.get("value", one.get("default"))]
        return tuple(str(word) for word in words if word is not None)

    @property
    def _variables(self) -> list[dict[str, Any]]:
        return objects_in((self.package or {}).get("environmentVariables"))


class Catalogue:
    """Every server that can be installed by name."""

    def __init__(self, documents: list[dict[str, Any]], plans: dict[str, Any]) -> None:
        self._entries = {entry.name: entry for entry in sorted(map(Entry, documents), key=lambda one: one.name)}
        self._plans = plans

    @property
    def entries(self) -> list[Entry]:
        """All of them by name."""
        return list(self._entries.values())

    @property
    def always(self) -> frozenset[str]:
        """The services that every tenant has and keeps."""
        return frozenset(self._plans["always"])

    def get(self, name: str) -> Entry | None:
        """Return the server of a name (its last part, or all of it), or None."""
        found = self._entries.get(name)
        return found or next((entry for entry in self._entries.values() if entry.document["name"] == name), None)

    def of_package(self, registry_type: str, identifier: str) -> Entry | None:
        """Return the third-party server whose package this is, or None."""
        wanted = (registry_type, identifier)
        packaged = [(entry, entry.package) for entry in self._entries.values()]
        return next((e for e, p in packaged if p and (p["registryType"], p["identifier"]) == wanted), None)

    def of_plan(self, plan: str | None) -> frozenset[str]:
        """Return the services that a billing plan brings; an unknown plan counts as the smallest."""
        plans = self._plans["plans"]
        return frozenset(plans.get(plan or "", plans[self._plans["default"]]))

    def search(self, query: str, limit: int) -> list[Entry]:
        """Return what fits a query, best first; without one, all by name."""
        wanted = terms(query, language(query))
        if not wanted:
            return self.entries[:limit]
        scored = [(_score(entry, wanted), entry) for entry in self.entries]
        found = sorted((one for one in scored if one[0] > 0), key=lambda one: (-one[0], one[1].name))
        return [entry for _, entry in found[:limit]]


def _score(entry: Entry, wanted: list[Term]) -> float:
    named = fold(f"{entry.document['name']} {entry.title}")
    told = fold(entry.description + " " + " ".join(f"{t['name']} {t.get('description', '')}" for t in entry.tools))
    return sum(3.0 * _fit(term, named) + _fit(term, told) for term in wanted)


def _fit(term: Term, text: str) -> float:
    return max((likeness for like, likeness in ((term.word, 1.0), *term.stems) if like in text), default=0.0)


@lru_cache(maxsize=1)
def bundled() -> Catalogue:
    """Return the catalogue that comes with this release."""
    folder = files("tausestack_registry") / "catalogue"
    documents = [json.loads(one.read_text(encoding="utf-8")) for one in folder.iterdir() if one.name.endswith(".json")]
    plans = tomllib.loads((files("tausestack_registry") / "plans.toml").read_text(encoding="utf-8"))
    return Catalogue(documents, plans)

"""The forms of Spanish verbs: which of them ask for an act, and which only tell of it."""

from __future__ import annotations

import re
from typing import Literal

Mood = Literal["infinitive", "gerund", "imperative", "present", "subjunctive", "told"]
"""`imperative`: what alone asks (`cancela`, `cancele`, `cancel`); `present`: what asks with `me` before it
(`me cancelas`); `subjunctive`: what asks after `que`; `told`: what never asks."""

_SOFT = (("gu", "gü"), ("c", "qu"), ("g", "gu"), ("z", "c"))
"""How the last sound of a stem is written before an e."""
_PARTICIPLE = re.compile(r"(?:\w+[ai]d[oa]s?|paid|\w+(?<!e)ed)$")
Forms = dict[str, frozenset[Mood]]


def forms(entry: str) -> Forms:
    """Return the forms of a Spanish verb, folded, that a wish is said in; what has the sense of a state is none.

    `entry` is an infinitive, and after a slash the stem that its present has.
    """
    infinitive, _, changed = entry.partition("/")
    plain, ending = infinitive[:-2], infinitive[-2:]
    found: dict[str, set[Mood]] = {infinitive: {"infinitive"}}

    def add(form: str, *moods: Mood) -> None:
        found.setdefault(form, set()).update(moods)

    stem = changed or plain
    if ending == "ar":
        add(plain + "ando", "gerund")
        add(plain + "a", "imperative")  # `cerrá`, of vos
        add(stem + "a", "imperative", "present")
        for each in {stem, plain}:
            add(each + "as", "present")
        add(_soft(stem) + "e", "imperative", "subjunctive")
        add(_soft(stem) + "es", "subjunctive")
        add(_soft(stem) + "en", "imperative", "subjunctive")
        if changed:
            add(_soft(plain) + "e", "told")  # `cerre` is what somebody did
        for person in ("ara", "aras", "aran"):
            add(plain + person, "subjunctive")
    else:
        add(plain + "iendo", "gerund")
        if changed and ending == "er":
            add(plain + "e", "imperative")  # `resolvé`, of vos
        add(stem + "e", "imperative", "present")
        add(stem + "es", "present")
        add(stem + "a", "imperative", "subjunctive")
        add(stem + "as", "subjunctive")
        add(stem + "an", "imperative", "subjunctive")
        for person in ("iera", "ieras", "ieran"):
            add(plain + person, "subjunctive")
    return {form: frozenset(moods) for form, moods in found.items()}


def _soft(stem: str) -> str:
    return next((stem[: -len(hard)] + new for hard, new in _SOFT if stem.endswith(hard)), stem)


def is_participle(word: str) -> bool:
    """Return whether a folded word tells of an act that is done."""
    return _PARTICIPLE.match(word) is not None

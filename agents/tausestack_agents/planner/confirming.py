"""Questions before a change, and what people answer them with: a plain yes, a plain no, or something else."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypedDict, cast

from tausestack_agents.planner.text import Language, concepts, concepts_of, fold, glossary

MAX_REPLY = 160
"""Characters: what is longer says more than yes or no."""
_SMILE = re.compile(r"[:=]-?\)|[\U0001f3fb-\U0001f3ff\ufe0f\u200d]")
"""Means nothing beside a word, as does what colours a picture."""
_PLAIN = re.compile(r"[^\W\d_]*(?:[\s.,!¡;:…'-]+[^\W\d_]*)*")
"""Words and what parts them: no question, and no quotation."""
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_BACK = re.compile(r"\b(?P<act>[a-z]{4,}l[aeo]s?|[a-z]{3,}(?= (?:it|them) ))(?: it| them)? ")
"""What may do again what was spoken of: `cancélala`, `cancel it`."""
_SAID: dict[str, dict[Language, str]] = {
    "no": {"es": "entendido: no cambié nada.", "en": "understood: I changed nothing."},
    "nothing": {
        "es": "no hay nada que confirmar, así que no hice nada. Dime qué necesitas.",
        "en": "there is nothing to confirm, so I did nothing. Tell me what you need.",
    },
    "which": {
        "es": "con un sí no me basta, así que no hice nada:",
        "en": "a yes is not enough here, so I did nothing:",
    },
}


class Act(TypedDict):
    """A call that somebody is asked about."""

    tool: str
    arguments: dict[str, Any]


class Question(TypedDict):
    """What somebody was asked, and the calls that a yes means: none where a yes would be no answer."""

    text: str
    acts: list[Act]
    spoken: Language


class Reply(TypedDict):
    """A plain answer to all that the turn before asked."""

    agrees: bool
    questions: list[Question]


@dataclass(frozen=True, slots=True)
class _Phrases:
    """The patterns of replies.toml."""

    yes: re.Pattern[str]
    weakly: re.Pattern[str]
    no: re.Pattern[str]
    pictures: dict[int, str]


@cache
def _phrases() -> _Phrases:
    raw: dict[str, Any] = tomllib.loads(files("tausestack_agents.planner").joinpath("replies.toml").read_text("utf-8"))
    yes, weak, no, thanks, beside = ("|".join(raw[name]) for name in ("yes", "weak", "no", "thanks", "beside"))

    def any_with(needed: str, *others: str) -> re.Pattern[str]:
        around = rf"(?:(?:{'|'.join(others)}) )*"
        return re.compile(rf"{around}(?:{needed}) (?:(?:{'|'.join((needed, *others))}) )*")

    meanings = (("agreeing", " ok "), ("declining", " nope "), ("neither", " "))
    return _Phrases(
        yes=any_with(yes, weak, thanks, beside),
        weakly=any_with(weak, beside),
        no=any_with(no, weak, thanks, beside),
        pictures={ord(picture): meaning for name, meaning in meanings for picture in raw[name]},
    )


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain yes or no, and what a yes says again of the act: `sí, cancélala`."""

    agrees: bool
    acts: tuple[frozenset[str], ...] = ()
    """Concepts of verbs."""


def replied(request: str) -> Plain | None:
    """Return what a request answers where it is a plain yes or no and nothing else, or None."""
    if len(request) > MAX_REPLY:
        return None
    known = _phrases()
    text = unicodedata.normalize("NFC", request).replace("’", "'").translate(known.pictures)
    text = fold(_SMILE.sub(" ", text))
    if _PLAIN.fullmatch(text) is None:
        return None
    said = "".join(f"{word} " for word in _WORD.findall(text))
    if known.no.fullmatch(said):
        return Plain(agrees=False)
    acts: list[frozenset[str]] = []

    def without(match: re.Match[str]) -> str:
        meant = concepts_of(match["act"]) & glossary().writes
        if not meant or known.yes.fullmatch(match.group()):
            return match.group()
        acts.append(meant)
        return ""

    said = _BACK.sub(without, said)
    return Plain(True, tuple(acts)) if known.yes.fullmatch(said) or known.weakly.fullmatch(said) else None


def reply_to(request: str, questions: list[Question]) -> Reply | None:
    """Return what a request is to what was asked before it, where it is a plain yes or no, or None."""
    said = replied(request)
    if said is None:
        return None
    named = [concepts([act["tool"].partition("/")[2]]) for question in questions for act in question["acts"]]
    if said.acts and not (named and all(act & name for act in said.acts for name in named)):
        return None  # it wants something else
    return Reply(agrees=said.agrees, questions=questions)


def questions_in(parts: Sequence[dict[str, Any]]) -> list[Question]:
    """Return the questions that parts of the planner's responses ask."""
    return [question for part in parts for question in cast("list[Question]", part.get("asked", []))]


def acts_of(reply: Reply) -> list[Act]:
    """Return the calls that a reply wants, each once; none where some question asks for more than a yes."""
    if not reply["agrees"] or not all(question["acts"] for question in reply["questions"]):
        return []
    acts = [act for question in reply["questions"] for act in question["acts"]]
    return [act for place, act in enumerate(acts) if act not in acts[:place]]


def say_replied(reply: Reply, spoken: Language) -> str:
    """Return what is said to a reply for which nothing is called."""
    if not reply["agrees"]:
        return _SAID["no"][spoken]
    if not reply["questions"]:
        return _SAID["nothing"][spoken]
    return "\n  · ".join([_SAID["which"][spoken], *(question["text"] for question in reply["questions"])])

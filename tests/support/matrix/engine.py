"""Operations: who asks what at which door, and what is wrong with what comes back."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from matrix import oracle
from matrix.lanes import Lane, Listener, Reply
from matrix.subjects import Subject, World, absent_like
from matrix.ways import Way, own_tools, partys_tools, ways
from matrix.words import Picker

Target = Literal["none", "own", "other", "planted", "oracle"]
TARGETS: tuple[Target, ...] = ("none", "own", "other", "planted", "oracle")
FORGED = "tsk_k3v9x0a1b2c3_" + "A" * 43
_DRAWN = re.compile(r"call_[0-9a-f]{24}|(?<=^id: )[0-9a-f]{18}(?=-)", re.MULTILINE)
_USED = re.compile(r"""(last_used_at\\*["']: ?)(?:null|None|\\*["'][0-9T:.+-]+\\*["'])""")
"""When a key was last used, which is written down now and then."""
_LEFT = re.compile(r"\b[rt]=\d+")
"""In a header that says how much of the caller's own limit is left."""
_GROWS = re.compile(
    r"/(query_audit|verify_audit|audit|audit/verify|usage|limits)$|^platform/get_(usage|limits)$|^audit "
    r"|\.(audit|usage|verify_audit|limits)$|^/metrics$"
)
"""What counts the tenant's own requests: never twice the same."""
_PAUSES = re.compile(r"^auth/(login|set_password|change_password)$|/oauth/")
"""Where a name has to wait once the tenant itself said wrong passwords for it: one may have to, the other not."""


@dataclass(frozen=True)
class Operation:
    """One draw of the machine."""

    lane: int
    target: Target
    way: Way
    seed: int

    def __repr__(self) -> str:
        return f"{self.lane}/{self.target}/{self.way.door}/{self.way.name}/{self.seed}"


@dataclass
class Matrix:
    """The lanes of the tenants, of a forged credential and of none; each does one thing at a time, all at once."""

    world: World
    lanes: list[Lane] = field(init=False)
    ways: list[Way] = field(init=False)
    asked: Counter[str] = field(default_factory=Counter[str])
    """Operations by door."""
    aimed: Counter[str] = field(default_factory=Counter[str])
    """Operations by target."""
    compared: int = 0

    def __post_init__(self) -> None:
        stack, subjects = self.world.stack, self.world.subjects
        credentials = [*((one.tenant.key, one) for one in subjects), (FORGED, None), (None, None)]
        nowhere = str(stack.data / "nowhere")
        self.lanes = [Lane(stack.url, key, who, nowhere) for key, who in credentials]
        self.ways = ways([*own_tools(), *partys_tools()])
        self._threads = ThreadPoolExecutor(len(self.lanes))
        self._listeners = [Listener(lane, who.name) for lane in self.lanes if (who := lane.who)]

    def run(self, operations: list[Operation]) -> list[str]:
        """Run operations, those of a lane in order and the lanes side by side, and return what was wrong."""
        by_lane: dict[int, list[Operation]] = {}
        for one in operations:
            by_lane.setdefault(one.lane, []).append(one)
        found = self._threads.map(lambda some: [wrong for one in some for wrong in self._safely(one)], by_lane.values())
        return [wrong for some in found for wrong in some]

    def heard(self) -> list[str]:
        """Return what the tenants' open streams told them that is another's."""
        return [
            f"{one.lane.who.name} heard {leaks}"
            for one in self._listeners
            if one.lane.who and (leaks := self.world.leaks(one.heard, one.lane.who))
        ]

    def close(self) -> None:
        """Close every lane and every stream."""
        for listener in self._listeners:
            listener.close()
        self._threads.shutdown()
        for lane in self.lanes:
            lane.close()

    def _safely(self, operation: Operation) -> list[str]:
        try:
            return self._one(operation)
        except Exception as error:
            error.add_note(f"{operation} {self.lanes[operation.lane].sent[:600]}")
            raise

    def _one(self, operation: Operation) -> list[str]:
        lane = self.lanes[operation.lane]
        who, way, seed = lane.who, operation.way, operation.seed
        lane.sent = ""
        if who is not None and operation.target == "oracle":
            door, wrong = oracle.step(lane, who, seed)
            self._count(door, "oracle")
            return wrong
        others = [one for one in self.world.subjects if one is not who]
        other = others[seed % len(others)]
        if operation.target == "none":
            reply = self._ask(operation, Picker(who, "", seed, reads=way.reads))
            return self._wrong(operation, who, [reply], lane.sent)
        if who is not None and operation.target == "own":
            reply = self._ask(operation, Picker(who, who.name, seed, reads=way.reads))
            return self._wrong(operation, who, [reply], lane.sent)
        if who is not None and operation.target == "planted":
            return self._planted(operation, who, other)
        absent = other.absent
        replies = [self._ask(operation, Picker(who, name, seed, reads=way.reads)) for name in (other.name, absent)]
        wrong = self._wrong(operation, who, replies, lane.sent)
        return wrong if way.name == "/metrics" else wrong + self._unlike(operation, replies, other.name, absent)

    def _planted(self, operation: Operation, who: Subject, other: Subject) -> list[str]:
        """Say another's id wherever one fits, then one that nothing has; a session's for an earlier version."""
        lane, way, seed = self.lanes[operation.lane], operation.way, operation.seed
        theirs = self.lanes[self.world.subjects.index(other)].sessions
        if (way.door, None) in theirs and seed % 3 == 0:
            session = theirs[way.door, None]
            sessions = (session, session[:-12] + absent_like(session[-12:]))
            pickers = [Picker(who, who.name, seed, session=one, reads=way.reads) for one in sessions]
            replies = [self._ask(operation, picker) for picker in pickers]
            return self._wrong(operation, who, replies, lane.sent) + self._unlike(operation, replies, *sessions)
        known = sorted(one for some in other.ids.values() for one in some)
        plant = known[seed % len(known)]
        absent = absent_like(plant)
        who.said.add(plant)
        first = self._ask(operation, Picker(who, who.name, seed, plant, reads=way.reads))
        if not way.reads and _succeeded(way.door, first):
            # What the tenant stored under that name is its own now: from here on it means nothing when it is shown it.
            who.own_words.add(plant)
        replies = [first, self._ask(operation, Picker(who, who.name, seed, absent, reads=way.reads))]
        wrong = self._wrong(operation, who, replies, lane.sent)
        if plant in who.own_words or _GROWS.search(way.name):
            return wrong
        return wrong + self._unlike(operation, replies, plant, absent)

    def _ask(self, operation: Operation, picker: Picker) -> Reply:
        self._count(operation.way.door, operation.target)
        return operation.way.run(self.lanes[operation.lane], picker)

    def _count(self, door: str, target: str) -> None:
        self.asked[door] += 1
        self.aimed[target] += 1

    def _wrong(self, operation: Operation, who: Subject | None, replies: list[Reply], sent: str) -> list[str]:
        wrong: list[str] = []
        if who is not None and _GROWS.search(operation.way.name):
            sent += " ".join(who.said)
        for reply in replies:
            if leaks := self.world.leaks(reply.text, who, sent):
                wrong.append(f"leak {leaks} to {who and who.name}: {operation} {sent[:600]} {reply}")
            if reply.status >= 500 and operation.way.door != "cli":
                wrong.append(f"broken: {operation} {sent[:600]} {reply}")
        return wrong

    def _unlike(self, operation: Operation, replies: list[Reply], theirs: str, absent: str) -> list[str]:
        """Compare what is said of another's with what is said of nothing, after its name: status, headers, body."""
        self.compared += 1
        if _PAUSES.search(operation.way.name) and any("Too many wrong passwords" in reply.text for reply in replies):
            return []
        first, second = (_plain(reply, theirs, absent) for reply in _alike(replies))
        return [] if first == second else [f"unlike: {operation}\n{first}\n{second}"]


_QUOTED = 20
"""Characters of a name that an error quotes at least, where it does not quote all of it."""


def _alike(replies: list[Reply]) -> list[Reply]:
    """Return replies in one form: earlier clients are answered on a stream where the answer takes half a second."""
    streams = [dict(reply.headers).get("content-type", "").startswith("text/event-stream") for reply in replies]
    return replies if all(streams) or not any(streams) else [_as_message(reply) for reply in replies]


def _as_message(reply: Reply) -> Reply:
    """Return a reply without the headers and lines of its form, where it is one message."""
    headers = tuple((name, value) for name, value in reply.headers if name not in _OF_THE_FORM)
    messages = [line[len("data: ") :] for line in reply.body.splitlines() if line.startswith("data: {")]
    return Reply(reply.status, headers, messages[0] if len(messages) == 1 else reply.body)


_OF_THE_FORM = {"cache-control", "content-length", "content-type", "transfer-encoding", "x-accel-buffering"}


def _plain(reply: Reply, theirs: str, absent: str) -> Reply:
    """Return a reply without what is another each time: a call's id, those of a stream's events, uses of keys."""
    left = ((name, _LEFT.sub("…", value) if name == "ratelimit" else value) for name, value in reply.headers)
    headers = tuple((name, _DRAWN.sub("…", _swapped(value, theirs, absent))) for name, value in left)
    body = _USED.sub(r"\1…", _DRAWN.sub("…", _swapped(reply.body, theirs, absent)))
    return Reply(reply.status, headers, body)


def _swapped(text: str, theirs: str, absent: str) -> str:
    """Put the one name in the other's place, also where an error quotes but the beginning of a long one."""
    text = text.replace(theirs, absent)
    for length in range(len(theirs) - 1, _QUOTED, -1):
        if theirs[:length] == absent[:length]:
            break
        text = text.replace(theirs[:length], absent[:length])
    return text


def _succeeded(door: str, reply: Reply) -> bool:
    if door == "events":
        return "event: error" not in reply.body
    return reply.status in {0, 200, 201, 202} and '"isError":true' not in reply.body.replace(" ", "")

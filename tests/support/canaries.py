"""Secrets that nobody may see again, and the places where one might: files, logs, processes, answers, exports."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from stack import Stack, Tenant
from tausestack_runtime.supervisor.linux import descendants

KEPT_FOR_ITS_OWNER = ("operator.key",)
"""The one file of the data folder that holds a secret in plain text, for its owner alone."""

MARK = "cnry"
"""What each secret of ours begins with."""


@dataclass
class Canaries:
    """Secrets that nobody may see again, each with where it was put."""

    put: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    """What the stack answered, and to what."""

    def new(self, where: str) -> str:
        """Return a secret for a place."""
        return self.known(where, f"{MARK}{secrets.token_hex(12)}")

    def known(self, where: str, secret: str) -> str:
        self.put[secret] = where
        return secret

    def hear(self, what: str, reply: httpx2.Response) -> httpx2.Response:
        """Keep an answer, its headers too."""
        self.said.append((what, f"{reply.status_code} {reply.headers} {reply.text}"))
        return reply

    def found_in(self, content: bytes) -> list[str]:
        """Return where the canaries were put that stand in something, in plain text or thinly dressed."""
        return [where for secret, where in self.put.items() if any(form in content for form in _forms(secret))]

    def remembered_by(self, pid: int) -> list[str]:
        """Return where those were put that stand as they are in a process's memory."""
        content = memory(pid)
        made = MARK.encode() in content  # most are ours: one look instead of one for each
        return [
            where
            for secret, where in self.put.items()
            if (made or not secret.startswith(MARK)) and secret.encode() in content
        ]

    def leaks(self, places: Iterator[tuple[str, bytes]]) -> list[str]:
        return [f"{where} in {place}" for place, content in places for where in self.found_in(content)]


def _forms(secret: str) -> set[bytes]:
    raw = secret.encode()
    aligned = [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return {raw, raw[:20], raw.hex().encode(), raw[::-1], *aligned}


def answers(canaries: Canaries) -> Iterator[tuple[str, bytes]]:
    """Yield what the stack answered."""
    yield from ((f"the answer to {what}", text.encode()) for what, text in canaries.said)


def files(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Yield the log, and every file of the data folder but the one that holds a secret for its owner."""
    yield "the log", stack.log.read_bytes()
    for path in stack.data.rglob("*"):
        if path.is_file() and path.name not in KEPT_FOR_ITS_OWNER:
            yield str(path.relative_to(stack.data)), path.read_bytes()


def processes(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Yield what anybody may read of the stack's processes, and what their owner may."""
    for pid in [stack.process.pid, *descendants(stack.process.pid)]:
        for about in ("environ", "cmdline"):
            try:
                content = Path(f"/proc/{pid}/{about}").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            yield f"/proc/{pid}/{about}", content


def memory(pid: int) -> bytes:
    """Return all that a process has in its memory, as far as it can be read."""
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_, name = [*line.split(maxsplit=5), ""][:6]
            begin, end = (int(part, 16) for part in span.split("-"))
            if not rights.startswith("rw") or name.startswith("[v"):
                continue
            mem.seek(begin)
            left = end - begin
            while left > 0:
                try:
                    content = mem.read(min(left, 1 << 24))
                except OSError:
                    break  # a page that is there for nobody
                if not content:
                    break
                found.append(content)
                left -= len(content)
    return b"".join(found)


def exports(stack: Stack, tenant: Tenant) -> Iterator[tuple[str, bytes]]:
    """Yield everything that shows a tenant, or the stack, to somebody who may see it."""
    below = ("servers", "servers/red", "tools?limit=500", "openapi.json", "usage", "audit?limit=200", "audit/verify")
    for path in (*below, "approvals", "runs", "keys"):
        yield path, tenant.client.get(f"/{path}").content
    for method in ("tools/list", "resources/list", "prompts/list", "server/discover"):
        yield method, tenant.rpc(method, {}).content
    yield "metrics", httpx2.get(f"{stack.url}/metrics", trust_env=False).content
    for path in ("tenants", "doctor", "keys", f"tenants/{tenant.name}", f"tenants/{tenant.name}/keys"):
        yield f"the operator's {path}", stack.operator("GET", path).content

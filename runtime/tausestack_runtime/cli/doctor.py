"""The figures of a machine and of the stack that runs on it, each against its bound."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from tausestack.errors import TauseError, Unavailable
from tausestack_runtime.keys import OPERATOR_FILE, SECRET_FILE, Masters
from tausestack_runtime.services import SERVICES, socket_path
from tausestack_runtime.settings import Settings, StartError

if TYPE_CHECKING:
    from tausestack.client import Operator

READY_BOUND = 3.0
"""Seconds from the stack's start to its first `/health/ready`."""
COLD_BOUND = 0.3
"""Seconds of the first answer of a service that was not running."""
HEAVY_COLD_BOUND = 1.5
"""The same for a service whose modules are too heavy to import on first use."""
MEMORY_BOUND = 300 * 1024 * 1024
"""Bytes of proportional set size of the whole idle stack with three services started."""
MEMORY_BOUND_SERVICES = 3
COLD_SECONDS = 15.0
MAX_TOLD = 5
"""How many leftovers of a kind are named."""
LEAST_PYTHON = (3, 11)

Check = dict[str, object]


async def examine(client: Operator, settings: Settings) -> list[Check]:
    """Return the checks: `{"check", "value", "bound", "ok"}`; `ok` is None for a figure without a bound."""
    figures = await client.doctor()
    checks = [*_machine(settings), _gateways(figures), *_workers(figures), *_memory(figures), _start(figures)]
    checks.append(await _leftovers(settings, figures))
    return [*checks, *await _cold_calls(figures)]


def _machine(settings: Settings) -> list[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    wanted = ".".join(str(part) for part in LEAST_PYTHON)
    found = [_check("python", version, f">= {wanted}", sys.version_info >= LEAST_PYTHON)]
    writable = settings.data.is_dir() and os.access(settings.data, os.W_OK)
    found.append(_check("data folder", str(settings.data), "writable", writable))
    for name in (SECRET_FILE, OPERATOR_FILE):
        path = settings.data / name
        if path.exists():
            mode = stat.S_IMODE(path.stat().st_mode)
            found.append(_check(name, oct(mode), "0o600", not mode & 0o077))
    return [*found, _sandbox(settings)]


def _sandbox(settings: Settings) -> Check:
    from tausestack_runtime.adapters.sandbox import choose  # probes the kernel

    try:
        tier = choose(settings.sandbox)
    except TauseError as refusal:
        return _check("sandbox", refusal.message, "bwrap or landlock", False)
    return _check("sandbox", str(tier), "bwrap or landlock", True)


def _gateways(figures: dict[str, Any]) -> Check:
    serving = [one for one in figures["gateways"] if one["connections"] is not None]
    sizes = ", ".join(_megabytes(one["pss_bytes"] or 0) for one in serving)
    wanted = len(figures["gateways"])
    return _check("gateways serving", f"{len(serving)} (PSS {sizes})", str(wanted), len(serving) == wanted)


def _workers(figures: dict[str, Any]) -> list[Check]:
    """Tell how many processes work on runs, where there are to be several."""
    names = {spec.name for spec in SERVICES if spec.worker}
    workers = [one for one in figures["services"] if one["name"] in names]
    working = [one for one in workers if one["pid"]]
    if len(workers) == len(names):
        return []
    sizes = ", ".join(_megabytes(one["pss_bytes"] or 0) for one in working)
    wanted = len(workers)
    return [_check("workers", f"{len(working)} (PSS {sizes})", str(wanted), len(working) == wanted)]


def _memory(figures: dict[str, Any]) -> list[Check]:
    running = [service for service in figures["services"] if service["pid"]]
    names = ", ".join(dict.fromkeys(service["name"] for service in running)) or "none"
    total = int(figures["pss_bytes"])
    # The bound is that of an idle stack with one gateway and three services started: more of them may take more.
    bounded = len(running) <= MEMORY_BOUND_SERVICES and len(figures["gateways"]) == 1
    bound = f"<= {_megabytes(MEMORY_BOUND)}" if bounded else f"{_megabytes(MEMORY_BOUND)} with 1 gateway, 3 services"
    return [
        _check("services running", names, "", None),
        _check("memory (PSS)", _megabytes(total), bound, total <= MEMORY_BOUND if bounded else None),
    ]


def _start(figures: dict[str, Any]) -> Check:
    seconds = figures["gateway"].get("ready_seconds")
    if seconds is None:
        return _check("start to ready", "the gateway was started anew since", f"<= {READY_BOUND:g} s", None)
    return _timed("start to ready", seconds, READY_BOUND)


async def _leftovers(settings: Settings, figures: dict[str, Any]) -> Check:
    """Look for what is left of tenants that are no more; needs the stack's own machine and user."""
    from tausestack_runtime.life.here import Here  # imports every service's tables
    from tausestack_runtime.life.leftovers import leftovers

    name, bound = "left of deleted tenants", "nothing"
    try:
        here = Here(settings, Masters.of(settings, make=False))
    except (StartError, Unavailable) as error:
        return _check(name, f"can't be looked for: {error}", bound, None)
    try:
        found = await leftovers(here, figures)
    finally:
        await here.aclose()
    told = "; ".join(f"{kind}: {', '.join(what[:MAX_TOLD])}" for kind, what in found.items())
    return _check(name, told or "nothing", bound, not found)


async def _cold_calls(figures: dict[str, Any]) -> list[Check]:
    """Time the first answer of each service that is not running; needs the stack's own machine and user."""
    folder = Path(figures["supervisor"]["run"])
    running = {service["name"] for service in figures["services"] if service["pid"] and not service["tenant"]}
    checks: list[Check] = []
    for spec in SERVICES:
        path = socket_path(folder, spec.name)
        bound = HEAVY_COLD_BOUND if spec.heavy else COLD_BOUND
        name, limit = f"cold call: {spec.name}", f"<= {bound:g} s"
        if spec.name in running:
            # It may have been started together with the stack itself: a figure, but no cold call.
            started = next(one.get("start_seconds") for one in figures["services"] if one["name"] == spec.name)
            value = "running already" + (f" (started in {started:.2f} s)" if started else "")
            checks.append(_check(name, value, limit, None))
            continue
        checks.append(await _cold_call(name, path, bound, limit))
    return checks


async def _cold_call(name: str, path: Path, bound: float, limit: str) -> Check:
    began = time.monotonic()
    transport = httpx2.AsyncHTTPTransport(uds=str(path), verify=False)
    try:
        async with asyncio.timeout(COLD_SECONDS), httpx2.AsyncClient(transport=transport, timeout=COLD_SECONDS) as http:
            reply = await http.get("http://service/health")
    except (httpx2.TransportError, TimeoutError) as error:
        return _check(name, f"no answer ({type(error).__name__}): see the stack's log", limit, False)
    if reply.status_code != 200:
        return _check(name, f"it answers {reply.status_code}: see the stack's log", limit, False)
    return _timed(name, time.monotonic() - began, bound)


def _timed(name: str, seconds: float, bound: float) -> Check:
    """Return the check of a time: one that is too long is told of, and is no fault, as a busy machine has it too."""
    told, limit = f"{seconds:.3g} s", f"<= {bound:g} s"
    return _check(name, told, limit, True) if seconds <= bound else _check(name, f"{told}: slow", limit, None)


def _check(name: str, value: str, bound: str, ok: bool | None) -> Check:
    return {"check": name, "value": value, "bound": bound, "ok": ok}


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MB"

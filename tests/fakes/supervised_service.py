"""Services that a test's supervisor starts: they say who they are, take their time, die, and leave processes behind."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tausestack.mcp import Server, Service


def _app(service: Service) -> Starlette:
    env = service.env

    async def who(_request: Request) -> Response:
        return JSONResponse(
            {
                "pid": os.getpid(),
                "imported_by": service.state,
                "tenant": env.tenant,
                "credential": env.process_credential,
                "keys": await asyncio.to_thread(_keys, service),
                "environ": await asyncio.to_thread(Path("/proc/self/environ").read_text),
                "told": dict(os.environ),
            }
        )

    async def slow(request: Request) -> Response:
        await asyncio.sleep(float(request.query_params["seconds"]))
        return JSONResponse({"pid": os.getpid()})

    async def leave(_request: Request) -> Response:
        left = [await asyncio.create_subprocess_exec("sleep", "600", start_new_session=own) for own in (False, True)]
        return JSONResponse({"pid": os.getpid(), "left": [process.pid for process in left]})

    async def sockets(_request: Request) -> Response:
        return JSONResponse({"sockets": await asyncio.to_thread(_held)})

    routes = {"/who": who, "/slow": slow, "/leave": leave, "/sockets": sockets}
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in routes.items()])


def _keys(service: Service) -> dict[str, str]:
    masters = service.env.masters
    return {} if masters is None else {name: key.hex() for name, key in masters().items()}


def _held() -> list[str]:
    """Return the names of the Unix sockets of this process that have one."""
    held = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return sorted({Path(row[7]).name for row in rows if len(row) == 8 and f"socket:[{row[6]}]" in held})


def probed(name: str, imported_by: int) -> Server:
    """Return a service that also says which process imported it."""

    @asynccontextmanager
    async def told(_service: Service) -> AsyncGenerator[int]:
        yield imported_by

    server = Server(name, version="1.0.0", lifespan=told)
    server.mount("/probe", _app)
    return server


plain = probed("plain", os.getpid())
brief = probed("brief", os.getpid())
worker = probed("worker", os.getpid())
adapter = probed("adapter", os.getpid())

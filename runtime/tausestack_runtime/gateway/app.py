"""The composition root of the gateway, and the one place where its doors are chosen."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import structlog

from tausestack.contract import VERSION
from tausestack.database import TenantDatabases
from tausestack.database.mark import own_mark
from tausestack.errors import InternalError, TauseError
from tausestack.tracing import tracing
from tausestack_runtime.board import Board, Writes
from tausestack_runtime.egress import Egress, allowed_hosts
from tausestack_runtime.gateway.approvals import Approvals
from tausestack_runtime.gateway.confidential import Confidential
from tausestack_runtime.gateway.crowd import TENANT_BYTES, Crowd, Shares, room
from tausestack_runtime.gateway.exchange import Bounds, Exchange
from tausestack_runtime.gateway.guard import Guard
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.identity import Identity
from tausestack_runtime.gateway.installed import not_found
from tausestack_runtime.gateway.limits.budgets import Budgets
from tausestack_runtime.gateway.limits.limiter import Connections, Limiter
from tausestack_runtime.gateway.mcp.approving import Approving
from tausestack_runtime.gateway.mcp.earlier.door import RETIRED, EarlierDoor, retired
from tausestack_runtime.gateway.mcp.earlier.listening import PATH as STREAMS
from tausestack_runtime.gateway.mcp.earlier.relay import Relay
from tausestack_runtime.gateway.mcp.earlier.session import Tokens
from tausestack_runtime.gateway.mcp.earlier.store import States
from tausestack_runtime.gateway.mcp.endpoint import McpEndpoint
from tausestack_runtime.gateway.mcp.lists import Lists
from tausestack_runtime.gateway.mcp.methods import Methods
from tausestack_runtime.gateway.mcp.offers import Offers
from tausestack_runtime.gateway.mcp.subscriptions import Subscriptions
from tausestack_runtime.gateway.metering import Meter
from tausestack_runtime.gateway.metrics import CONTENT_TYPE, Metrics, gathered
from tausestack_runtime.gateway.oauth.access import AccessTokens, PublishedKeys
from tausestack_runtime.gateway.oauth.bases import Bases
from tausestack_runtime.gateway.oauth.documents import ClientDocuments
from tausestack_runtime.gateway.oauth.door import OAuthDoor
from tausestack_runtime.gateway.oauth.external import ExternalIssuer, Mapping
from tausestack_runtime.gateway.oauth.fetching import Fetching
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.readiness import Readiness
from tausestack_runtime.gateway.rest.endpoint import RestEndpoint
from tausestack_runtime.gateway.sealing import Sealer
from tausestack_runtime.gateway.siblings import Elsewhere, Siblings
from tausestack_runtime.gateway.snapshots import Snapshots
from tausestack_runtime.gateway.tables import SCHEMA
from tausestack_runtime.gateway.upstreams.routes import Upstreams
from tausestack_runtime.gateway.uses import KeyUses
from tausestack_runtime.keys import Masters, operator_key
from tausestack_runtime.ledger import Ledger, read_prices
from tausestack_runtime.life.gateways import Gateways, parse_path
from tausestack_runtime.life.life import TenantLife
from tausestack_runtime.life.shares import Shares as TenantShares
from tausestack_runtime.platform.definitions import definitions
from tausestack_runtime.platform.limits import LimitTools
from tausestack_runtime.platform.tools import Platform
from tausestack_runtime.services import AUTH, INSTALLATION, SERVICES, control_socket, socket_path
from tausestack_runtime.settings import Settings
from tausestack_runtime.signing import SigningKeys
from tausestack_runtime.supervisor.control import ControlClient

logger = structlog.get_logger("gateway")


class Gateway:
    """Answers exchanges: a door is chosen by the path, and nothing else happens here."""

    def __init__(self, settings: Settings, board: Board) -> None:
        assert settings.run is not None
        self._exits = AsyncExitStack()
        self._leaving = asyncio.Event()
        self._siblings = Siblings(board, settings.gateway_number, settings.run)
        masters = Masters.of(settings, make=False)
        signer = SigningKeys(settings.data, masters)
        self._control = ControlClient(control_socket(settings.run))
        sockets = {spec.name: str(socket_path(settings.run, spec.name)) for spec in SERVICES}
        egress = Egress(allowed_hosts(settings.allowed_private_hosts or ""))
        self._upstreams = Upstreams(sockets, self._control, signer, egress)
        self._snapshots = Snapshots(self._upstreams.system, definitions(), Writes(board, settings.gateway_number))
        bases, fetching = Bases(settings.public_url), Fetching(egress)
        self._uses = KeyUses(self._upstreams.system)
        external = self._external_issuer(settings, fetching, bases)
        access_keys = PublishedKeys(masters.live, AUTH.signs or "")
        identity = Identity(
            operator_key=operator_key(settings.data, make=False),
            signer=signer,
            snapshots=self._snapshots,
            control=self._control,
            in_flight=self._upstreams.in_flight,
            tokens=AccessTokens(access_keys.jwks, bases, self._snapshots),
            uses=self._uses,
            external=external,
            siblings=self._siblings,
        )
        self._data = settings.data
        self._databases = TenantDatabases(SCHEMA, data=settings.data, url=settings.database_url)
        self._confidential = Confidential(lambda: [each.subkey("arguments") for each in masters.live()])
        approvals = Approvals(
            self._databases,
            expires_after=timedelta(seconds=settings.approval_seconds),
            confidential=self._confidential,
        )
        self._ledger = Ledger(
            settings.data,
            lambda: [each.subkey("ledger") for each in masters.live()],
            gateway=settings.gateway_number,
            gateways=settings.gateways,
            crowd=lambda: len(self._upstreams.in_flight),
        )
        self._ready = Readiness(self._snapshots.follow, lambda: self._ledger.away, settings.data, settings.database_url)
        self._metrics = Metrics(settings.gateway_number)
        limiter = Limiter(board, settings.gateway_number)
        meter = Meter(self._ledger, self._metrics, read_prices(settings.prices), self._snapshots)
        self._tracing = tracing(settings.otlp_endpoint, "gateway")
        pipeline = self._pipeline(approvals, meter, limiter)
        self._connections = Connections(board, settings.gateway_number, self._snapshots.limits)
        self._gateways = Gateways(
            snapshots=self._snapshots,
            running=pipeline.running,
            opened=self._connections,
            databases=self._databases,
            siblings=self._siblings,
            forget=self._forget,
        )
        self._life = TenantLife(
            data=settings.data,
            run=settings.run,
            snapshots=self._snapshots,
            system=self._upstreams.system,
            shares=TenantShares(self._upstreams, self._control),
            gateways=self._gateways,
            databases=self._databases,
            ledger=self._ledger,
            control=self._control,
        )
        pipeline.platform = Platform(
            approvals=approvals,
            confidential=self._confidential,
            snapshots=self._snapshots,
            ledger=self._ledger,
            identity=identity,
            pipeline=pipeline,
            system=self._upstreams.system,
            limits=LimitTools(
                self._snapshots, limiter, Budgets(self._databases), self._upstreams.system, meter.refused
            ),
            life=self._life,
        )
        self._offers = offers = Offers(self._upstreams)
        approving = Approving(pipeline, Sealer(lambda: [each.subkey("approvals") for each in masters.live()]))
        methods = Methods(pipeline, self._snapshots, Lists(offers), approving)
        subscriptions = Subscriptions(self._snapshots, self._upstreams, offers)
        self._states = states = States(self._databases)
        self._earlier = EarlierDoor(
            identity=identity,
            methods=methods,
            subscriptions=subscriptions,
            siblings=self._siblings,
            tokens=Tokens(Sealer(lambda: [each.subkey("sessions") for each in masters.live()])),
            states=states,
            relay=Relay(self._upstreams.ways, states),
            leaving=self._leaving,
        )
        self._mcp = McpEndpoint(identity, methods, subscriptions, self._earlier, self._leaving)
        self._rest = RestEndpoint(pipeline, identity, self._snapshots, self._upstreams, self._control, self._leaving)
        self._oauth = OAuthDoor(
            bases=bases,
            identity=identity,
            snapshots=self._snapshots,
            pipeline=pipeline,
            upstreams=self._upstreams,
            documents=ClientDocuments(fetching),
            jwks=access_keys.jwks,
            issuer=settings.oidc_issuer,
        )
        self._bounds = Bounds(self._connections, Shares(TENANT_BYTES, "bytes of requests"), bases.challenge)
        self._refusal = Guard(settings.host, settings.public_url).refusal
        self.crowd: Crowd | None = Crowd(room())

    async def __call__(self, exchange: Exchange) -> None:
        """Answer an exchange."""
        exchange.bounds = self._bounds
        head = exchange.head
        try:
            refusal = None if exchange.internal else head.once(self._refusal)
            if refusal is not None:
                await exchange.problem(refusal)
            elif (place := head.once(_mcp_endpoint)) is not None:
                tenant, server = place
                await self._mcp.serve(exchange, tenant, server)
            elif exchange.path.startswith("/api/v2/"):
                await self._rest.serve(exchange)
            elif exchange.path.startswith(("/oauth/", "/.well-known/")):
                await self._oauth(exchange)
            elif exchange.internal and exchange.path.startswith(STREAMS):
                held = self._earlier.listening.holds(exchange.path.removeprefix(STREAMS))
                await exchange.reply(200, held.encode(), b"text/plain")
            elif exchange.internal and exchange.path.startswith("/siblings/"):
                order, tenant = parse_path(exchange.path)
                await exchange.reply_json(200, {"left": await self._gateways.here(order, tenant)})
            elif exchange.internal and exchange.path == INSTALLATION:
                await exchange.reply(200, (own_mark(self._data) or "").encode(), b"text/plain")
            elif head.once(_was_mcp_endpoint):
                await retired(exchange)
            else:
                await self._operations(exchange)
        except Elsewhere as other:
            self._metrics.handed_over()
            await self._siblings.hand_over(exchange, other.number)
        except Exception as error:  # noqa: BLE001 the outermost edge: whatever it is is logged, and answered
            await _broke(exchange, error)

    async def start(self) -> None:
        """Open the ledger, and finish what a dead gateway left undone."""
        await self._ledger.start()
        self._life.start()
        for close in (
            self._ledger.close, self._databases.aclose, self._upstreams.aclose,
            self._siblings.aclose, self._control.aclose, self._earlier.aclose, self._uses.aclose, self._life.aclose,
        ):  # fmt: skip
            self._exits.push_async_callback(close)

    async def aclose(self) -> None:
        """Close everything, the ledger last."""
        await self._exits.aclose()

    def _pipeline(self, approvals: Approvals, meter: Meter, limiter: Limiter) -> Pipeline:
        """Return the pipeline; one that traces is another, so that this one pays nothing for it."""
        shared: dict[str, Any] = {"snapshots": self._snapshots, "upstreams": self._upstreams, "approvals": approvals}
        shared |= {"meter": meter, "limiter": limiter, "confidential": self._confidential}
        if self._tracing is None:
            return Pipeline(**shared)
        from tausestack_runtime.gateway.tracing import TracedPipeline

        self._exits.callback(self._tracing.close)
        return TracedPipeline(self._tracing, **shared)

    def _external_issuer(self, settings: Settings, fetching: Fetching, bases: Bases) -> ExternalIssuer | None:
        if settings.oidc_issuer is None:
            return None
        mapping = Mapping(
            settings.oidc_issuer, settings.oidc_audience, settings.oidc_tenant_claim, settings.oidc_roles_claim
        )
        system = self._upstreams.system
        return ExternalIssuer(mapping, fetching=fetching, bases=bases, snapshots=self._snapshots, system=system)

    def leave(self) -> None:
        """Have what stays open end: the gateway does."""
        self._leaving.set()

    async def _forget(self, tenant: str) -> None:
        """Drop what is cached of a tenant; what is kept under hashes is dropped of all."""
        self._offers.clear()
        self._states.clear()
        self._uses.forget(tenant)
        await self._ledger.let_go(tenant)
        await self._upstreams.forget(tenant)

    async def _operations(self, exchange: Exchange) -> None:
        if exchange.method not in {"GET", "HEAD"}:
            await exchange.problem(not_found())
        elif exchange.path == "/health":
            working, wanted = self._siblings.board.workers
            workers = {"working": working, "wanted": wanted}
            await exchange.reply_json(200, {"status": "healthy", "version": VERSION, "workers": workers})
        elif exchange.path == "/health/ready":
            await exchange.reply_json(*await self._ready())
        elif exchange.path == "/metrics":
            await exchange.reply(200, await self._scraped(exchange), CONTENT_TYPE.encode())
        else:
            await exchange.problem(not_found())

    async def _scraped(self, exchange: Exchange) -> bytes:
        """Every gateway's own metrics, whichever is asked; another gateway is told this one's."""
        me = self._siblings.number
        self._metrics.connected(self._siblings.board.connections(me) or 0)
        if exchange.forwarded:
            return self._metrics.text()
        others = self._siblings.others
        told = await asyncio.gather(*(self._siblings.ask(other, "/metrics") for other in others))
        texts: dict[int, bytes | None] = {me: self._metrics.text(), **dict(zip(others, told, strict=True))}
        return gathered(dict(sorted(texts.items())))


async def _broke(exchange: Exchange, error: Exception) -> None:
    """Answer where a door could not: a defect, or a ledger that takes not even that a call was refused."""
    logger.exception("a door broke", method=exchange.method, path=exchange.path)
    if not exchange.replied:
        defect = InternalError("Something went wrong on our side; it is in the log")
        await exchange.problem(error if isinstance(error, TauseError) else defect)


def _mcp_endpoint(head: Head) -> tuple[str, str | None] | None:
    """Return the tenant whose MCP endpoint a request is for, and the server, None for all of them at once.

    A slash at the end changes nothing: people write it, and some clients add it.
    """
    parts = head.parts
    if not parts[-1]:
        parts.pop()
    if len(parts) == 4 and parts[1] == "tenants" and parts[3] == "mcp":
        return parts[2], None
    if len(parts) == 6 and parts[1] == "tenants" and parts[3] == "servers" and parts[5] == "mcp":
        return parts[2], parts[4]
    return None


def _was_mcp_endpoint(head: Head) -> bool:
    """Whether a request is for an endpoint that earlier versions of MCP had."""
    parts = head.parts
    return len(parts) in {4, 6} and parts[1] == "tenants" and parts[-1] in RETIRED


def build(settings: Settings, board: Board) -> Gateway:
    """Return the application of one gateway of those on a board."""
    return Gateway(settings, board)

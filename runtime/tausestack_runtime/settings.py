"""What a machine's operator sets, by `TAUSESTACK_*` variables or the command line's options over them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tausestack.errors import TauseError
from tausestack_runtime.egress import Origin, allowed_hosts, read_url

SECRET_VARIABLES = ("TAUSESTACK_SECRET_KEY", "TAUSESTACK_SECRET_KEY_PREVIOUS")
"""The variables that hold master secrets: the supervisor and the gateways alone are given them."""

_VENDORS_KEY = re.compile(
    r"(?!TAUSESTACK_|PIP_|UV_|NPM_|NODE_).*(KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?)(_ID|_FILE|_\d+)?",
    re.IGNORECASE,
)


class StartError(Exception):
    """Why nothing can start: one sentence that says what to do."""


class Settings(BaseSettings):
    """The settings of a stack; nothing is read before one is made."""

    model_config = SettingsConfigDict(env_prefix="TAUSESTACK_", extra="ignore", frozen=True, env_ignore_empty=True)

    data: Path = Field(Path(".tausestack"), description="the data folder")
    database_url: str | None = Field(None, description="a PostgreSQL URL; unset: a SQLite file per tenant and service")
    secret_key: SecretStr | None = Field(None, description="the master secret; unset: {data}/secret.key")
    secret_key_previous: SecretStr | None = Field(
        None, description="the master secret that secret_key takes over from, while a rotation goes on"
    )
    host: str = Field("127.0.0.1", description="the address that the gateway listens on")
    port: int = Field(8000, ge=0, le=65535, description="its TCP port; 0: a free one")
    public_url: str | None = Field(
        None, description="the https origin that clients reach the stack by; unset: this machine's loopback names alone"
    )
    oidc_issuer: str | None = Field(None, description="an OIDC issuer whose access tokens are taken, by its URL")
    oidc_audience: str | None = Field(None, description="the audience of its tokens; unset: the URL of an endpoint")
    oidc_tenant_claim: str = Field("tenant", description="its claim that names the tenant")
    oidc_roles_claim: str = Field("roles", description="its claim that names the roles")
    gateways: int = Field(1, ge=1, le=32, description="how many gateway processes share the port; more need PostgreSQL")
    sandbox: Literal["auto", "bwrap", "landlock"] = Field("auto", description="the sandbox of third-party servers")
    allowed_private_hosts: str | None = Field(
        None, description="host:port of remote servers that need not be at a public address, in a comma list"
    )
    model: str | None = Field(
        None, description="the agents' model; unset: by which vendor's key is there, else offline"
    )
    workers: int = Field(1, le=64, description="how many processes work on agents' runs; more than one need PostgreSQL")
    tenant_runs: int = Field(
        8, ge=1, le=1000, description="how many runs of one tenant are worked on at once, by all workers together"
    )
    lease_seconds: float = Field(
        15, ge=1, le=600, description="how long a worker that has gone silent keeps its runs from the others"
    )
    machine: str | None = Field(
        None, description="this machine's name among those that share the database; unset: what the kernel says"
    )
    signing_key_days: float = Field(
        30, gt=0, description="the age in days at which the key that signs assertions gives way to another"
    )
    otlp_endpoint: str | None = Field(
        None, description="the collector that traces are sent to over OTLP/HTTP, such as http://127.0.0.1:4318"
    )
    approval_seconds: float = Field(
        172_800, gt=0, description="how long an approval waits for a person, in seconds; then the run goes on without"
    )
    prices: Path | None = Field(None, description="the price list: JSON, {version, currency, amounts}")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level that is logged"
    )

    run: Path | None = Field(None, description="the folder of the sockets; set by the supervisor for what it starts")
    gateway_number: int = Field(1, ge=1, description="the gateway's number; set by the supervisor")
    listen_fd: int | None = Field(None, description="the listening TCP socket of all gateways; set by the supervisor")
    internal_fd: int | None = Field(None, description="their internal Unix socket; set by the supervisor")
    own_fd: int | None = Field(None, description="this gateway's own Unix socket; set by the supervisor")
    board_fd: int | None = Field(None, description="the board that the gateways share; set by the supervisor")
    started_at: float | None = Field(None, description="when the stack's start began, in seconds since the epoch")

    @field_validator("data", "run", "prices")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 a link in it stays a link

    @field_validator("allowed_private_hosts")
    @classmethod
    def _hosts(cls, setting: str | None) -> str | None:
        allowed_hosts(setting or "")
        return setting

    @field_validator("workers")
    @classmethod
    def _somebody_works(cls, workers: int) -> int:
        if workers < 1:
            raise ValueError("a stack has one worker at least, without which its agents' runs would wait for ever")
        return workers

    @field_validator("public_url")
    @classmethod
    def _origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        origin, target = _secure(url)
        if target != "/":
            raise ValueError("it has to be https://host or https://host:port, without a path")
        return str(origin)

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, url: str | None) -> str | None:
        if url is not None:
            _secure(url)
        return url

    @property
    def secret(self) -> str | None:
        """The master secret of the environment, if there is one."""
        return None if self.secret_key is None else self.secret_key.get_secret_value()

    @property
    def previous_secret(self) -> str | None:
        """The master secret of the environment before this one, while a rotation goes on."""
        return None if self.secret_key_previous is None else self.secret_key_previous.get_secret_value()

    def environment(self) -> dict[str, str]:
        """Return these settings as variables for a process of the stack, without the master secrets."""
        given = self.model_dump(mode="json", exclude={"secret_key", "secret_key_previous"}, exclude_none=True)
        return {f"TAUSESTACK_{name.upper()}": str(value) for name, value in given.items()}


def without_vendors_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what looks like the operator's credentials for somebody else."""
    return {name: value for name, value in environment.items() if _VENDORS_KEY.fullmatch(name) is None}


def read_settings(**given: object) -> Settings:
    """Return the settings of the environment under those given, or raise `StartError` naming the wrong one.

    A given None counts as not given.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType] checked by pydantic
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise StartError(f"TAUSESTACK_{name.upper()} is wrong: {first['msg'].removeprefix('Value error, ')}") from error


def _secure(url: str) -> tuple[Origin, str]:
    """Return a URL's origin and target, or raise `ValueError` unless it is https, or http on this machine."""
    try:
        origin, target = read_url(url)
    except TauseError as error:
        raise ValueError(error.message) from error
    if origin.scheme != "https" and origin.host not in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError("it has to be an https URL")
    return origin, target

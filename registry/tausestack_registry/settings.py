"""What is given at installation: a process's arguments, and its variables or a remote server's headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tausestack.errors import InvalidArguments
from tausestack_registry.refs import Reference

MAX_VALUE = 32_768
MAX_ARGUMENTS = 64
MAX_ARGUMENT = 4096
"""Characters of one argument."""
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16_384
"""Of all headers together, names and values."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED = re.compile(
    r"(?:LD_|DYLD_|PYTHON|GLIBC_|MALLOC_)\w*|PATH|HOME|TMPDIR|LANG|TZ|NODE_OPTIONS|NODE_PATH|BASH_ENV|ENV|IFS"
)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HEADER_VALUE = re.compile(r"[!-~](?:[\t -~]*[!-~])?|")
# The connection's and the message's own, and MCP's: two opinions on these are how requests get smuggled or misread.
_TAKEN = re.compile(
    r"connection|keep-alive|te|trailers?|transfer-encoding|upgrade|expect|host|http2-settings"
    r"|accept|accept-encoding|last-event-id|(?:proxy|content|mcp)-.*"
)


def as_text(config: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as text: text as it is, everything else as JSON."""
    return {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in config.items()}


def check_settings(reference: Reference, config: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Raise `InvalidArguments` where a setting or secret can't be given to the server that is to be installed."""
    check_given(config, secrets, remote=reference.remote)


def check_arguments(reference: Reference, arguments: Sequence[str]) -> None:
    """Raise `InvalidArguments` where a server has no command, or its command can't be given these words."""
    if reference.own or reference.remote:
        raise InvalidArguments(f"{reference.name} is no package: only a package's command takes arguments")
    if len(arguments) > MAX_ARGUMENTS or any(len(one) > MAX_ARGUMENT or "\0" in one for one in arguments):
        raise InvalidArguments(f"{MAX_ARGUMENTS} arguments of {MAX_ARGUMENT} characters are the most, without zeros")


def check_given(config: Mapping[str, str], secrets: Mapping[str, str], *, remote: bool) -> None:
    """Raise `InvalidArguments` where a setting or secret can't be given to a remote server, or to a process."""
    if remote:
        _check_headers(config, secrets)
    else:
        _check_variables(config, secrets)


def _check_variables(config: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    for name in (*config, *secrets):
        if _VARIABLE.fullmatch(name) is None or _RESERVED.fullmatch(name.upper()):
            raise InvalidArguments(f"'{name[:80]}' can't be set: it is no plain name of a variable, or it is reserved")
    for value in (*config.values(), *secrets.values()):
        if "\0" in value or len(value) > MAX_VALUE:
            raise InvalidArguments("a setting or secret is too long, or holds a zero byte")
    both = config.keys() & secrets.keys()
    if both:
        raise InvalidArguments(f"{min(both)} is given both as a setting and as a secret")


def _check_headers(config: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    given = [*config.items(), *secrets.items()]
    seen: set[str] = set()
    for name, value in given:
        lowered = name.lower()
        if _HEADER.fullmatch(name) is None or _TAKEN.fullmatch(lowered):
            raise InvalidArguments(
                f"'{name[:80]}' can't be set: a remote server's settings are HTTP headers, and this is no header's "
                "name, or one that the connection or MCP itself sets"
            )
        if lowered in seen:
            raise InvalidArguments(f"the header {lowered} is given twice")
        seen.add(lowered)
        if _HEADER_VALUE.fullmatch(value) is None:
            raise InvalidArguments(f"the value of {name} is no header's: printable ASCII, on one line")
    if len(given) > MAX_HEADERS or sum(len(name) + len(value) for name, value in given) > MAX_HEADER_BYTES:
        raise InvalidArguments(f"{MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together are the most")

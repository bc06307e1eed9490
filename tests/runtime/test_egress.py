"""Where we connect to on a tenant's word: a corpus of disguises, against a listener that must hear of none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from tausestack.errors import Forbidden, InvalidArguments
from tausestack_runtime.egress import SETTING, Egress, Origin, allowed_hosts, is_public, read_url
from tausestack_runtime.gateway.upstreams.wire import NotSent, Pool

CLOSED_4 = (
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.5", "172.16.0.1", "172.31.255.254", "192.168.1.1", "169.254.169.254",
    "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.9", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
)  # fmt: skip
CLOSED_6 = (
    "::1", "::", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "ff0e::1", "100::1",
    "2001:db8::1", "2001::1", "2001:10::1", "2001:20::1", "2002::1", "3fff::1", "5f00::1", "64:ff9b:1::1", "4000::1",
)  # fmt: skip
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "rebind.example": ["127.0.0.1"],
    "one-of-two.example": ["93.184.215.14", "127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "zone.example": ["fe80::1%lo"],
    "xn--bcher-kva.example": ["10.0.0.1"],
    "odd.example": ["not an address"],
}
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


def disguises(address: str) -> Iterator[str]:
    """Yield the hosts of URLs that lead, for some reader or on some network, to an IPv4 address."""
    octets = [int(part) for part in address.split(".")]
    number = int(IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    yield from (address, f"{address}.", f"example.com@{address}", f"a:b@{address}", address.translate(FULL_WIDTH))
    yield from (str(number), hex(number), f"0{number:o}", address.replace(".", "%2e"), address.replace(".", "。"))
    yield ".".join(f"0{octet:o}" for octet in octets)
    yield ".".join(f"{octet:#x}" for octet in octets)
    yield ".".join(f"{octet:03}" for octet in octets)
    yield f"{octets[0]}.{octets[1]}.{octets[2] * 256 + octets[3]}"
    yield f"{octets[0]}.{number & 0xFFFFFF}"
    for prefix in ("::ffff", "::ffff:0", ":", "64:ff9b:", "64:ff9b:1:", "2606:4700::5efe", "fe80::200:5efe"):
        yield f"[{prefix}:{address}]"
        yield f"[{prefix}:{high:x}:{low:x}]"
    yield f"[2002:{high:x}:{low:x}::]"
    yield f"[2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}]"
    yield f"[2606:4700::200:5efe:{high:x}:{low:x}]"


def corpus(port: int) -> list[str]:
    """Return the URLs that must lead nowhere."""
    hosts = [host for address in CLOSED_4 for host in disguises(address)]
    hosts += [f"[{address}]" for address in CLOSED_6]
    hosts += [f"[{IPv6Address(address).exploded}]" for address in CLOSED_6]
    hosts += ["[::1%25lo]", "[fe80::1%eth0]", "[::1", "::1", "127.0.0.1#@example.com", "127.0.0.1\\@example.com"]
    hosts += [
        *NAMES,
        *(f"{name}." for name in NAMES),
        *(name.upper() for name in NAMES),
        "bücher.example",
        "localhost..",
    ]
    urls = [f"{scheme}://{host}:{port}/mcp" for host in hosts for scheme in ("http", "https")]
    odd = [
        "file:///etc/passwd",
        "gopher://127.0.0.1:{}/",
        "ftp://127.0.0.1:{}/",
        "javascript:alert(1)",
        "//127.0.0.1:{}/",
    ]
    odd += ["http:127.0.0.1:{}/", "http:///127.0.0.1:{}/", "http://127.0.0.1:{} /", "http://127.0.0.1:{}\r\n/", ""]
    odd += ["http://127.0.0.1:\t{}/", " http://127.0.0.1:{}/", "http://example.com:80@127.0.0.1:{}/", "http://:{}/"]
    odd += [
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:/",
        "http://-a/",
    ]
    return urls + [url.format(port) for url in odd]


async def answered(host: str, _: int) -> list[str]:
    if host not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return NAMES[host]


@asynccontextmanager
async def canary() -> AsyncIterator[tuple[int, list[Any]]]:
    """Listen on one port of both loopback addresses and note who comes."""
    heard: list[Any] = []

    async def noted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(writer.get_extra_info("sockname"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(noted, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    other = await asyncio.start_server(noted, "::1", port)
    async with server, other:
        yield port, heard


async def fetched(url: str, egress: Egress) -> int:
    origin, target = read_url(url)
    pool = Pool(origin, egress=egress)
    try:
        reply = await pool.request("GET", target, [], b"", deadline=asyncio.get_running_loop().time() + 5)
        await reply.read()
        return reply.status
    finally:
        await pool.aclose()


@pytest.mark.anyio
@pytest.mark.covers("egress:public-only")
async def test_no_url_of_the_corpus_reaches_the_listener() -> None:
    async with canary() as (port, heard):
        urls = corpus(port)
        assert len(set(urls)) > 200
        came_through = []
        for url in urls:
            try:
                came_through.append((url, await fetched(url, Egress(resolve=answered))))
            except (Forbidden, InvalidArguments):
                continue
        assert came_through == []
        assert heard == []


@pytest.mark.covers("egress:public-only")
def test_addresses_are_public_or_not() -> None:
    for address in (*CLOSED_4, *CLOSED_6, "fe80::1%lo", "1", "localhost", ""):
        assert not is_public(address), address
    for address in ("1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "223.255.255.255", "2606:4700::1111"):
        assert is_public(address), address
    assert is_public("64:ff9b::8.8.8.8")
    assert is_public("2a00:1450:4001:82a::200e")


@pytest.mark.anyio
@pytest.mark.covers("egress:resolved-once")
async def test_a_name_that_is_answered_otherwise_a_moment_later_leads_to_what_was_checked() -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"]]
    tried: list[Any] = []

    async def flipping(_: str, __: int) -> list[str]:
        return answers.pop(0)

    async def note(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    async with canary() as (port, heard):
        loop: Any = asyncio.get_running_loop()
        egress = Egress(resolve=flipping)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "sock_connect", note)  # nothing of a test leaves the machine
            with pytest.raises(NotSent):
                await fetched(f"http://flip.example:{port}/", egress)
        assert tried == [("93.184.215.14", port)]
        with pytest.raises(Forbidden):
            await fetched(f"http://flip.example:{port}/", egress)
        assert heard == []


@pytest.mark.anyio
@pytest.mark.covers("egress:operator")
async def test_what_the_operator_names_may_be_private_at_that_port_alone() -> None:
    async with canary() as (port, heard), canary() as (other, _):
        egress = Egress.of({SETTING: f" Rebind.Example.:{port} , 127.0.0.1:{port},[::1]:{port}"})
        named = Egress(allowed_hosts(f"rebind.example:{port}"), answered)
        assert await fetched(f"http://REBIND.example.:{port}/x?y", named) == 200
        assert await fetched(f"http://127.0.0.1:{port}/", egress) == 200
        assert await fetched(f"http://[::1]:{port}", egress) == 200
        assert len(heard) == 3
        for url in (f"http://127.0.0.1:{other}/", f"http://127.0.0.2:{port}/", f"http://[::ffff:127.0.0.1]:{port}/"):
            with pytest.raises(Forbidden, match=SETTING):
                await fetched(url, egress)
        with pytest.raises(Forbidden):
            await fetched(f"http://localhost:{port}/", named)
        assert len(heard) == 3


@pytest.mark.covers("egress:operator")
@pytest.mark.parametrize("wrong", ["localhost", "localhost:", "[::1]", "a b:1", "http://x:1", "x:1/y", "u@x:1", "x:0"])
def test_a_setting_that_is_no_list_of_hosts_and_ports_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        allowed_hosts(f"good.example:443,{wrong}")


@pytest.mark.covers("egress:urls")
def test_a_url_is_read_in_one_way() -> None:
    assert read_url("HTTPS://Example.COM.:8443/a/b?c=d#e") == (Origin("https", "example.com", 8443), "/a/b?c=d")
    assert read_url("https://bücher.example") == (Origin("https", "xn--bcher-kva.example", 443), "/")
    assert read_url("http://8.8.8.8?x=1") == (Origin("http", "8.8.8.8", 80), "/?x=1")
    assert str(read_url("http://[2606:4700::1111]:80/")[0]) == "http://[2606:4700::1111]"
    for wrong in ("http://user@example.com/", "http://exa mple.com/", "http://example.com/ñ", "http://a..b/", "x"):
        with pytest.raises(InvalidArguments):
            read_url(wrong)

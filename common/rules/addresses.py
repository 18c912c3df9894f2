"""Which addresses a person may have us call: https to port 443 of a host in the open net, and nothing that leads inside."""

from __future__ import annotations

import ipaddress
import urllib.parse
from typing import NamedTuple

HTTPS = 443
MOST = 2048  # characters
EXAMPLE = "must be an address such as https://hooks.example.com/path"
# Names that mean something only inside a machine, a network or a cloud.
INSIDE = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "corp", "private")
# Not reached from the open net, or another address in disguise, though not all of them are called private.
CLOSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; some clouds keep their metadata in it
        "168.63.129.16/32",  # metadata, in an address that looks public
        "192.0.0.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "::/96",  # IPv4 written as IPv6
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and other protocols
        "2002::/16",  # 6to4
        "fec0::/10",
    )
)


class Place(NamedTuple):
    """Where a call goes."""

    scheme: str
    host: str  # as certificates have it: small letters, in ASCII
    port: int
    target: str  # path and query


def read(url: str) -> Place | str:
    """Where an address leads, or why nobody can tell."""
    if len(url) > MOST or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return f"must be written in {MOST} ASCII characters at most, without blanks, backslashes and control characters"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:
        return EXAMPLE
    if parts.scheme not in {"https", "http"} or not host or port == 0:
        return EXAMPLE
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "must not hold a name, a password or a fragment"
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return Place(parts.scheme, host, port or (HTTPS if parts.scheme == "https" else 80), target)


def refusal(place: Place) -> str | None:
    """Why nobody may have us call there, as far as the address alone says it."""
    if place.scheme != "https":
        return "must begin with https://"
    if place.port != HTTPS:
        return f"must be on port {HTTPS}"
    if not _is_literal(place.host) and ("." not in place.host or place.host.endswith(tuple(f".{name}" for name in INSIDE))):
        return "must be a host of the open net, not a name of one machine, network or cloud"
    return None


def is_open(address: str) -> bool:
    """Whether an IP address is one of the open net."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (found.ipv4_mapped is not None or found.scope_id is not None):
        return False
    closed = any(found in network for network in CLOSED if network.version == found.version)
    return found.is_global and not found.is_multicast and not found.is_reserved and not closed


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

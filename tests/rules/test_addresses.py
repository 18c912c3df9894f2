"""Which IP addresses belong to the open net, whatever they are dressed up as."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules import addresses
from common.rules.addresses import Place

FOUR = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
DISGUISES = ("::ffff:0:0/96", "64:ff9b::/96", "::/96", "64:ff9b:1::/96")


@given(FOUR)
def test_an_address_that_is_special_in_any_way_is_closed(address):
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or not address.is_global
    )
    assert not (special and addresses.is_open(str(address)))


@given(FOUR, st.sampled_from(DISGUISES))
def test_an_address_inside_another_is_closed_even_when_it_would_be_open_itself(address, disguise):
    network = ipaddress.IPv6Network(disguise)
    assert not addresses.is_open(str(network[int(address)]))


@given(FOUR)
def test_an_address_of_a_tunnel_is_closed(address):
    assert not addresses.is_open(str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)))


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:2800:220:1:248:1893:25c8:1946", "2a00:1450::1"])
def test_what_is_open_is_open(address):
    assert addresses.is_open(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "fe80::1%eth0", "2a00:1450::1%1"])
def test_what_is_no_address_is_not_open(text):
    assert not addresses.is_open(text)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_and_never_worse(text):
    for url in (text, f"https://{text}", f"https://example.com/{text}", f"https://{text}@example.com/"):
        found = addresses.read(url)
        assert isinstance(found, str | Place)
        if isinstance(found, Place):
            assert found.target.startswith("/")
            assert found.host
            assert not set(found.host + found.target) & set("\r\n\0 ")


def test_a_place_is_what_is_called():
    assert addresses.read("https://EXAMPLE.com.:443/a/b?c=d") == Place("https", "example.com", 443, "/a/b?c=d")
    assert addresses.read("https://example.com?c=d") == Place("https", "example.com", 443, "/?c=d")
    assert addresses.read("http://[2a00:1450::1]:8080") == Place("http", "2a00:1450::1", 8080, "/")

"""Calls to addresses that people register: the bad inputs 65 to 72, and that what may be called is called as its name."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest

from common.errors import SourceRefused, Unavailable
from common.outgoing import calls, egress
from common.outgoing.calls import Call
from tests.outgoing.conftest import answer
from tests.outgoing.test_calls import self_signed

pytestmark = pytest.mark.usefixtures("database_url")
PUBLIC, INSIDE = "93.184.216.34", "10.0.0.7"


def public(_host, _port):
    return [PUBLIC]


def post(url, resolve=egress.resolved, **options):
    origin, _, path = url.partition("/hook")
    return egress.sent(Call("POST", origin, f"/hook{path}", {}, b"{}", **options), resolve)


def test_an_address_of_the_open_net_may_be_called():
    assert egress.check("https://hooks.example.com/deploy?key=1", public) is None
    assert egress.check("https://hooks.example.com:443/", public) is None
    assert egress.check(f"https://{PUBLIC}/") is None
    assert egress.check("https://[2606:2800:220:1:248:1893:25c8:1946]/") is None


def test_row_65_plain_http_is_refused():
    assert "https://" in egress.check("http://hooks.example.com/", public)
    with pytest.raises(SourceRefused, match="https://"):
        post("http://hooks.example.com/hook", public)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",  # noqa: S104 - what is refused
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::]",
        "localhost",
        "LOCALHOST.",
        "0",
    ],
)
def test_row_66_this_machine_is_refused_however_it_is_written(host):
    assert egress.check(f"https://{host}/hook")
    with pytest.raises((SourceRefused, Unavailable)):
        post(f"https://{host}/hook")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "metadata.google.internal",
        "metadata",
        "[fd00:ec2::254]",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
    ],
)
def test_row_67_the_metadata_of_a_cloud_is_refused(host):
    assert egress.check(f"https://{host}/")
    assert host[0].isdigit() or host[0] == "[" or egress.check(f"https://{host}/", public), "by its name alone"
    with pytest.raises(SourceRefused):
        post(f"https://{host}/hook")


@pytest.mark.parametrize(
    "address",
    [
        "[::ffff:10.0.0.1]",
        "[::ffff:93.184.216.34]",
        "[::10.0.0.1]",
        "100.64.0.1",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:1::1]",
        "[fe80::1]",
        "[ff02::1]",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
    ],
)
def test_row_68_addresses_inside_are_refused_in_every_disguise(address):
    assert egress.check(f"https://{address}/")
    bare = address.strip("[]")
    assert egress.check("https://hooks.example.com/", lambda _host, _port: [bare]), "also as what a name leads to"
    with pytest.raises(SourceRefused):
        post("https://hooks.example.com/hook", lambda _host, _port: [PUBLIC, bare])


def test_row_69_a_name_that_leads_outside_and_then_inside_is_blocked_when_it_is_called(serve):
    leads = iter([[PUBLIC], [INSIDE], ["127.0.0.1"]])

    def rebinding(_host, _port):
        return next(leads)

    assert egress.check("https://rebinds.example.com/hook", rebinding) is None
    for _ in range(2):
        with pytest.raises(SourceRefused, match="ssrf"):
            post("https://rebinds.example.com/hook", rebinding)


def test_row_69_a_name_is_resolved_once_for_a_call_and_what_was_looked_at_is_connected_to(serve, configured):
    server = serve(answer(b"yes"))
    configured(EGRESS_ALLOW=f"name.that.nobody.knows:{server.port}")
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else [INSIDE]

    assert post(f"http://name.that.nobody.knows:{server.port}/hook", resolve).body == b"yes"
    assert asked == [("name.that.nobody.knows", server.port)]


def test_row_70_a_redirect_is_a_failure_and_nobody_follows_it(serve, configured):
    inside = serve(answer(b"secret"))
    server = serve(answer(b"", "302 Found", f"Location: {inside.url}/"))
    configured(EGRESS_ALLOW=f"127.0.0.1:{server.port}")
    with pytest.raises(SourceRefused, match="redirect"):
        post(f"{server.url}/hook")
    assert inside.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pw@hooks.example.com/",
        "https://user@hooks.example.com/",
        "https://hooks.example.com\n.evil.example.com/",
        "https://hooks.example.com/\r\nHost: evil",
        "https://hooks.example.com/\x00",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:8443/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com/#fragment",
        "https:///path",
        "https://",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "javascript:alert(1)",
        "https://[::1",
        "https://" + "a" * 64 + ".example.com/",
        "https://hooks.example.com/" + "a" * 3000,
        "https://h\u00f6oks.example.com/",
        "",
        "hooks.example.com",
    ],
)
def test_row_71_names_and_passwords_line_ends_and_other_ports_are_refused(url):
    assert egress.check(url, public)


def test_row_72_an_answer_without_end_is_cut_at_64_kib(serve, configured):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 200_000)
    configured(EGRESS_ALLOW=f"127.0.0.1:{server.port}")
    with pytest.raises(Unavailable, match="larger than 65536 bytes"):
        post(f"{server.url}/hook", limit=10**9)


@pytest.mark.parametrize("where", ["body", "headers"])
def test_row_72_an_answer_that_drips_is_cut_when_its_time_is_over(where, configured, monkeypatch):
    monkeypatch.setattr(egress, "SECONDS", 0.5)
    enough = threading.Event()
    beginning = b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 5000\r\n\r\n" if where == "body" else b"X-Drip: ")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(beginning)
                while not enough.wait(0.05):
                    connection.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        port = listening.getsockname()[1]
        configured(EGRESS_ALLOW=f"127.0.0.1:{port}")
        began = time.monotonic()
        with pytest.raises(Unavailable, match="in time"):
            post(f"http://127.0.0.1:{port}/hook", seconds=600)
        enough.set()
    assert time.monotonic() - began < 2


def test_the_limits_are_those_that_are_promised():
    assert (egress.SECONDS, egress.BYTES) == (30.0, 65_536)


def test_what_is_listed_is_called_all_the_same_and_nothing_beside_it(serve, configured):
    server, other = serve(answer(b"1")), serve(answer(b"2"))
    configured(EGRESS_ALLOW=f"127.0.0.1:{server.port},[::1]:1")
    assert egress.check(f"{server.url}/hook") is None
    assert egress.check("http://[::1]:1/hook") is None
    assert post(f"{server.url}/hook").body == b"1"
    assert egress.check(f"{other.url}/hook")
    with pytest.raises(SourceRefused):
        post(f"{other.url}/hook")
    assert other.requests == []


def test_the_certificate_must_be_that_of_the_name_though_an_address_is_connected_to(serve, configured, tmp_path, monkeypatch):
    path = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = serve(answer(b"as localhost"), answer(b"stolen"), tls=context)
    trusting = ssl.create_default_context(cafile=str(path))
    monkeypatch.setattr(calls, "tls", lambda: trusting)
    configured(EGRESS_ALLOW=f"localhost:{server.port},other.example.com:{server.port}")

    def here(_host, _port):
        return ["127.0.0.1"]

    assert post(f"https://localhost:{server.port}/hook", here).body == b"as localhost"
    with pytest.raises(Unavailable, match="certificate"):
        post(f"https://other.example.com:{server.port}/hook", here)


def test_a_name_that_cannot_be_found_is_refused_when_it_is_registered_and_tried_again_when_it_is_called():
    def nowhere(_host, _port):
        raise socket.gaierror(-2, "Name or service not known")

    assert "cannot" in egress.check("https://gone.example.com/", nowhere)
    with pytest.raises(Unavailable, match="cannot be found"):
        post("https://gone.example.com/hook", nowhere)
    assert egress.check("https://gone.example.com/", lambda _host, _port: [])


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    enough = threading.Event()
    monkeypatch.setattr(egress.socket, "getaddrinfo", lambda *_given, **_named: enough.wait(10) and [])
    monkeypatch.setattr(calls, "CONNECT_SECONDS", 0.1)
    began = time.monotonic()
    assert egress.check("https://slow.example.com/")
    with pytest.raises(Unavailable, match="cannot be found"):
        post("https://slow.example.com/hook")
    assert time.monotonic() - began < 2
    enough.set()


def test_a_name_that_is_too_long_for_a_name_is_refused():
    assert egress.check(f"https://{'.'.join(['a' * 60] * 5)}.com/")


def test_a_second_address_is_tried_when_nobody_is_at_the_first(serve, configured):
    server = serve(answer(b"here"))
    configured(EGRESS_ALLOW=f"two.example.com:{server.port}")
    assert post(f"http://two.example.com:{server.port}/hook", lambda _host, _port: ["127.0.0.2", "127.0.0.1"]).body == b"here"


def test_no_connection_is_kept_for_others(serve, configured):
    server = serve(answer(b"1"), answer(b"2"))
    configured(EGRESS_ALLOW=f"127.0.0.1:{server.port}")
    for _ in range(2):
        egress.sent(Call("GET", server.url, "/", {}))
    assert server.connections == 2
    assert not calls._idle[server.url]

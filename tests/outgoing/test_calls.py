"""One HTTP call: what is kept, what is sent again, and how much an answer may take."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from common.errors import Unavailable
from common.outgoing import calls
from common.outgoing.calls import Call
from tests.outgoing.conftest import answer


def get(url: str, **options) -> calls.Answer:
    return calls.sent(Call("GET", url, "/x?y=1", {"Authorization": "Zoho-oauthtoken t"}, **options))


def post(url: str) -> calls.Answer:
    return calls.sent(Call("POST", url, "/token", {}, b"a=b"))


def test_an_answer_is_handed_over_as_it_came_whatever_its_status(serve):
    server = serve(answer(b"<html>", "503 Service Unavailable", "X-Rate-Limit-Reset: 7", "Date: x"))
    found = get(server.url)
    assert (found.status, found.body, found.headers["x-rate-limit-reset"]) == (503, b"<html>", "7")
    assert server.requests == ["GET /x?y=1 "]


def test_a_connection_is_kept_and_does_not_wait_to_send(serve):
    server = serve(answer(b"1"), answer(b""), answer(b"3"))
    assert [get(server.url).body for _ in range(3)] == [b"1", b"", b"3"]
    assert server.connections == 1
    raw = calls._idle[server.url][0].connection.sock
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_once(serve):
    server = serve(answer(b"1"), None, answer(b"2"))
    assert [get(server.url).body for _ in range(2)] == [b"1", b"2"]
    assert (server.connections, len(server.requests)) == (2, 3)


def test_a_thread_that_ends_leaves_its_connection_to_the_next(serve):
    server = serve(*[answer(b"1")] * 8)
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(get, server.url).result().body == b"1"
    assert server.connections == 1


def test_a_connection_that_was_long_idle_is_not_trusted(serve, monkeypatch):
    server = serve(answer(b"1"), answer(b"2"))
    get(server.url)
    monkeypatch.setattr(calls, "IDLE_SECONDS", 0.0)
    assert get(server.url).body == b"2"
    assert server.connections == 2


def test_a_new_connection_that_is_closed_is_not_tried_again(serve):
    server = serve(None, answer(b"2"))
    with pytest.raises(Unavailable):
        get(server.url)
    assert len(server.requests) == 1


def test_what_is_posted_is_sent_once_even_if_nobody_answers(serve):
    server = serve(answer(b"1"), None, answer(b"2"))
    assert post(server.url).body == b"1"
    with pytest.raises(Unavailable):
        post(server.url)
    assert server.requests == ["POST /token a=b"] * 2


def test_after_an_answer_that_ends_the_connection_another_is_opened(serve):
    server = serve(answer(b"1", "200 OK", "Connection: close"), answer(b"2"))
    assert [get(server.url).body for _ in range(2)] == [b"1", b"2"]
    assert server.connections == 2


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n9\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 2\r\nConnection: close\r\n\r\n",
        b"nonsense\r\nConnection: close\r\n\r\n",
    ],
)
def test_an_answer_that_is_cut_is_none(cut, serve):
    server = serve(cut, answer(b"whole"))
    with pytest.raises(Unavailable):
        get(server.url)
    assert get(server.url).body == b"whole"


def test_an_answer_in_chunks_is_read_to_its_end_and_the_connection_kept(serve):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n5\r\n more\r\n0\r\n\r\n"
    server = serve(chunked, answer(b"2"))
    assert [get(server.url).body for _ in range(2)] == [b"half more", b"2"]
    assert server.connections == 1


def test_an_answer_that_is_too_large_is_not_read_to_its_end(serve):
    server = serve(answer(b"x" * 1001), answer(b"x" * 1000))
    with pytest.raises(Unavailable, match="larger than 1000"):
        get(server.url, limit=1000)
    assert len(get(server.url, limit=1000).body) == 1000


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"])
def test_an_answer_that_does_not_come_is_waited_for_a_bounded_time(beginning, serve):
    server = serve(beginning)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="in time"):
        get(server.url, seconds=0.2)
    assert time.monotonic() - began < 2


def test_an_answer_that_trickles_in_is_given_up_in_time(zoho_slow):
    began = time.monotonic()
    with pytest.raises(Unavailable, match="in time"):
        get(zoho_slow.url, seconds=0.3)
    assert time.monotonic() - began < 1.5


@pytest.fixture
def zoho_slow():
    from deploy.local.zoho import StandIn

    with StandIn(sizes=1) as standing:
        standing.faults.add("slow", value=30.0)
        yield standing
        calls.close()


def test_headers_that_trickle_in_are_waited_for_no_longer_than_the_call_may_take():
    enough = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                for character in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 1000:
                    connection.sendall(bytes([character]))
                    if enough.wait(0.05):
                        return

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="in time"):
            get(f"http://127.0.0.1:{listening.getsockname()[1]}", seconds=0.5)
        enough.set()
    assert time.monotonic() - began < 1.5


def test_a_redirect_is_not_followed(serve):
    elsewhere = serve(answer(b"stolen"))
    server = serve(answer(b"", "302 Found", f"Location: {elsewhere.url}/"))
    assert get(server.url).status == 302
    assert elsewhere.requests == []


def test_nobody_there_is_said_so():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unavailable, match="did not answer") as refusal:
        get(f"http://127.0.0.1:{port}")
    assert refusal.value.retry_after_seconds == 10


def test_a_certificate_that_nobody_vouches_for_is_refused(serve, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    server = serve(answer(b"secret"), tls=context)
    with pytest.raises(Unavailable, match="certificate"):
        get(server.url)
    assert server.requests == []


def test_one_context_verifies_for_everybody():
    assert calls.tls() is calls.tls()
    assert (calls.tls().verify_mode, calls.tls().check_hostname) == (ssl.CERT_REQUIRED, True)


def self_signed(folder):
    """A certificate for localhost with its key, signed by nobody but itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path

"""One mail: by TLS that verifies, with a password that nobody overhears, in bounded time."""

from __future__ import annotations

import socket
import ssl
import threading
import time

import pytest

from common.errors import SourceRefused, Suspended, Unavailable
from common.outgoing import breakers, mail
from tests.outgoing.receivers import Mail
from tests.outgoing.test_calls import self_signed

pytestmark = pytest.mark.usefixtures("database_url")


def a_mail(text: str = "It grew."):
    return mail.composed("tidemark@example.com", ["ann@example.com"], "id-1", "About backlog", text)


@pytest.fixture(autouse=True)
def _as_if_started_anew():
    breakers._known.clear()


@pytest.fixture
def certificate(tmp_path):
    return self_signed(tmp_path)


@pytest.fixture
def safe(certificate):
    """A server that offers STARTTLS, with a certificate that only `trusted` vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Mail(context)
    yield server
    server.close()


@pytest.fixture
def trusted(certificate, monkeypatch):
    context = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(mail, "_tls", lambda: context)


@pytest.fixture
def plain():
    server = Mail()
    yield server
    server.close()


def test_what_is_sent_is_what_arrives(plain):
    mail.send(plain.url(), a_mail("Zwölf\n.\n..\nBacklog — 12 %"))
    assert plain.got[0].get_content().replace("\r\n", "\n") == "Zwölf\n.\n..\nBacklog — 12 %\n"
    assert plain.got[0]["Message-ID"] == "<id-1@example.com>"
    assert plain.recipients == [["ann@example.com"]]


def test_tls_is_used_where_it_is_offered_and_only_then_is_the_password_said(safe, trusted):
    mail.send(f"smtp://ann:p%40ss@localhost:{safe.port}", a_mail())
    assert safe.commands.index("STARTTLS") < safe.commands.index("AUTH safe")
    assert safe.login == ["ann", "p@ss"]


def test_a_certificate_that_nobody_vouches_for_is_refused_and_told_nothing(safe):
    with pytest.raises(Unavailable, match="certificate"):
        mail.send(f"smtp://ann:p%40ss@localhost:{safe.port}", a_mail())
    assert safe.got == []
    assert not [command for command in safe.commands if command.startswith("AUTH")]


def test_a_server_elsewhere_without_tls_is_not_told_the_password(plain, monkeypatch):
    monkeypatch.setattr(mail, "LOCAL", set())  # as if it were elsewhere
    with pytest.raises(SourceRefused, match="offers no TLS"):
        mail.send(plain.url("ann:secret@"), a_mail())
    assert plain.commands == ["EHLO"]


def test_tls_from_the_first_byte_on(certificate, trusted):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Mail()
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    mail.send(f"smtps://localhost:{server.port}", a_mail())
    assert len(server.got) == 1
    server.close()


def test_a_password_that_is_refused_says_so_and_opens_no_breaker(plain, sql):
    plain.answers["AUTH"] = b"535 no"
    for _ in range(6):
        with pytest.raises(SourceRefused, match="535 no"):
            mail.send(plain.url("ann:secret@"), a_mail())
    assert sql("select state, failed from tidemark.breakers where name = 'smtp'") == [["closed", 0]]


def test_nobody_there_is_trouble_and_after_five_times_nobody_knocks(sql):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for _ in range(5):
        with pytest.raises(Unavailable, match="did not answer"):
            mail.send(f"smtp://127.0.0.1:{port}", a_mail())
    with pytest.raises(Suspended):
        mail.send(f"smtp://127.0.0.1:{port}", a_mail())


@pytest.mark.parametrize("beginning", [b"", b"220 here\r\n250-"], ids=["the greeting", "an answer"])
def test_a_server_that_trickles_is_given_up_in_time(beginning, monkeypatch):
    monkeypatch.setattr(mail, "SECONDS", 0.4)
    over = threading.Event()

    def trickle(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.sendall(beginning)
        try:
            while not over.wait(0.05):
                connection.sendall(b"2")
        except OSError:
            pass
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening,))
        thread.start()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            mail.send(f"smtp://127.0.0.1:{listening.getsockname()[1]}", a_mail())
        over.set()
        thread.join()
    assert time.monotonic() - began < 2


def test_a_server_that_hangs_up_after_it_took_the_mail_has_it(plain):
    plain.answers["QUIT"] = b"554 what"
    mail.send(plain.url(), a_mail())
    assert len(plain.got) == 1

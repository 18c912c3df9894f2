"""One mail through the server that SMTP_URL names: by verified TLS where it is offered, bounded in time as a whole."""

from __future__ import annotations

import contextlib
import functools
import smtplib
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate

from common.errors import SourceRefused, Throttled, Unavailable
from common.outgoing import breakers

BREAKER = "smtp"
STEP_SECONDS = 5.0  # for each answer of the server
SECONDS = 15.0  # for the whole conversation
PORTS = {"smtp": 25, "smtps": 465}
LOCAL = {"localhost", "127.0.0.1", "::1"}
READY, GOING, FINAL = 220, 421, 500  # it is there; it is closing; from here on it would say so again
WORDS = 200  # of what the server said


def send(url: str, message: EmailMessage) -> None:
    """Hand `message` over to the server, for all that its To names.

    Raises: Suspended; Unavailable, when the server does not answer or is going down: then it is not known whether it has it;
    Throttled, when it says later; SourceRefused, when it says no.
    """
    with breakers.guarded(BREAKER), _named():
        parts = urllib.parse.urlsplit(url)
        with _connected(parts, str(message["From"]).partition("@")[2]) as server:
            if parts.username:
                if parts.hostname not in LOCAL and not isinstance(server.sock, ssl.SSLSocket):
                    said = "The mail server offers no TLS, so it is not told the password."
                    raise SourceRefused(said)
                server.login(urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or ""))
            server.send_message(message)


def composed(sender: str, recipients: Sequence[str], identifier: str, subject: str, text: str) -> EmailMessage:
    """A mail; `identifier` makes it recognizable as the same when it comes twice."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{identifier}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, cte="quoted-printable")  # whatever the server can take
    return message


@contextmanager
def _connected(parts: urllib.parse.SplitResult, name: str) -> Iterator[smtplib.SMTP]:
    host = parts.hostname or ""
    # Without a name of ours smtplib would ask the DNS for it, for as long as that takes.
    server = (
        smtplib.SMTP_SSL(timeout=STEP_SECONDS, local_hostname=name, context=_tls())
        if parts.scheme == "smtps"
        else smtplib.SMTP(timeout=STEP_SECONDS, local_hostname=name)
    )
    server._host = host  # type: ignore[attr-defined]  # noqa: SLF001 - its constructor would set it, and connect before the watch begins
    watch = threading.Timer(SECONDS, _cut, [server])
    watch.daemon = True
    watch.start()
    try:
        code, said = server.connect(host, parts.port or PORTS[parts.scheme])
        if code != READY:
            raise smtplib.SMTPConnectError(code, said)
        server.ehlo_or_helo_if_needed()
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=_tls())
        yield server
        with contextlib.suppress(OSError):  # what was taken was taken
            server.quit()
    finally:
        watch.cancel()
        server.close()


def _cut(server: smtplib.SMTP) -> None:
    """Whatever is waited for on this connection ends now, however it trickles in."""
    with contextlib.suppress(OSError, AttributeError):
        server.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@contextmanager
def _named() -> Iterator[None]:
    """Raises what Tidemark calls the library's errors."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise _refusal(code, said) from error
    except smtplib.SMTPResponseException as error:
        raise _refusal(error.smtp_code, error.smtp_error) from error
    except smtplib.SMTPNotSupportedError as error:
        message = f"The mail server cannot do what is needed: {error}."
        raise SourceRefused(message[:WORDS]) from error
    except OSError as error:  # smtplib's own errors are among them
        reason = "in time" if isinstance(error, TimeoutError) else f"({type(error).__name__}: {error})"
        message = f"The mail server did not answer {reason}."
        raise Unavailable(message[:WORDS]) from error


def _refusal(code: int, said: bytes | str) -> SourceRefused | Unavailable:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    message = f"The mail server said {code} {text}"[:WORDS]
    if code >= FINAL:
        return SourceRefused(message)
    return Unavailable(message) if code == GOING or code <= 0 else Throttled(message)

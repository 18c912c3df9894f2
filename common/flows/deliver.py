"""Deliver: tell people of alerts, by a signed webhook and by e-mail, each at least once and as far as they are set up.

What is to be told was written by the transaction that changed the alert. It is taken under a token, sent, and ended under
that token; a sender that dies in between leaves it to the next, who sends it again under the same id.
"""

from __future__ import annotations

import functools
import hashlib
import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from common import db, encoding, log, settings
from common.db import Transaction
from common.errors import AppError, Broken, SourceRefused, Suspended, Throttled
from common.outgoing import breakers, hooks
from common.rules import deliveries as rules
from common.rules.deliveries import Taken
from common.settings import Settings
from common.stores import alerts, deliveries

SECONDS = 5.0  # after which nothing more is begun
MOST = 20  # webhooks, or mails, in one pass
MOST_TOLD = 100  # deliveries in one mail
LIMIT = 1000  # rows that one pass closes, or forgets
TELL_AFTER = 4  # attempts that failed: more than half an hour
GOOD, GONE = range(200, 300), 410


def deliver() -> int:
    """Send what is due; how many deliveries were sent. About ten seconds at most, however slow who is told may be.

    Raises: Unavailable, when the database is.
    """
    until = time.monotonic() + SECONDS
    current = settings.load()
    channels = db.replayed(lambda tx: _prepared(tx, current), "worker")
    sent = sum(SENDERS[channel](current, until) for channel in channels)
    if channels:
        breakers.flush()
    return sent


def _prepared(tx: Transaction, current: Settings) -> list[str]:
    """The channels that are to be told now. What is due on the others is closed: nothing piles up that nobody will hear."""
    set_up = {"webhook": current.alert_webhook_url, "email": current.smtp_url} if current.genesis_enabled else {}
    prints = {channel: _fingerprint(address) for channel, address in set_up.items() if address}
    for channel, fingerprint in prints.items():
        if deliveries.open_channel(tx, channel, fingerprint=fingerprint):
            alerts.resolve(tx, alert_type=f"alerts_unwanted:{channel}")
    closed = {each.channel for each in deliveries.closed(tx)}
    channels = [channel for channel in prints if channel not in closed]
    if channels:
        deliveries.remind(tx)
    deliveries.skip(tx, channels=channels, reason="nobody is told by this way", limit=LIMIT)
    deliveries.prune(tx, limit=LIMIT)
    return channels


def _fingerprint(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]


# Webhooks ------------------------------------------------------------------------------------------------------------


def _post_all(current: Settings, until: float) -> int:
    sent = 0
    for _ in range(MOST):
        if time.monotonic() >= until or breakers.refused(hooks.BREAKER):
            break
        taken = _taken("webhook", 1)
        if not taken:
            break
        answered: list[int] = []
        sent += _tried("webhook", taken, functools.partial(_post, current, taken[0], answered))
        if answered == [GONE]:
            _close("webhook", current.alert_webhook_url)
            break
    return sent


def _post(current: Settings, taken: Taken, answered: list[int]) -> None:
    """Raises: SourceRefused, when the receiver does not take it."""
    body = encoding.dumps(log.redact(rules.payload(taken)))
    status = hooks.post(current.alert_webhook_url, current.alert_webhook_secret, str(taken.id), body)
    answered.append(status)
    if status not in GOOD:
        message = f"The receiver of alerts answered status {status}."
        raise SourceRefused(message)


def _close(channel: str, address: str) -> None:
    """Send nothing there any more: its receiver said that it is gone."""

    def write(tx: Transaction) -> None:
        deliveries.close_channel(tx, channel, fingerprint=_fingerprint(address), reason="it answered that it is gone (410)")
        alerts.raise_alert(
            tx,
            alert_type=f"alerts_unwanted:{channel}",
            severity="error",
            title=f"Nobody is told of alerts by {channel} any more",
            message="Its receiver answered status 410, which means that it wants nothing any more. Set ALERT_WEBHOOK_URL to "
            "another address, or to nothing. An operator who wants the same address again deletes its row of "
            "tidemark.closed_channels.",
        )

    db.replayed(write, "worker")
    log.error("channel.closed", channel=channel)


# E-mail --------------------------------------------------------------------------------------------------------------


def _mail_all(current: Settings, until: float) -> int:
    from common.outgoing import mail  # noqa: PLC0415 - smtplib and email, for those who mail

    if breakers.refused(mail.BREAKER):
        return 0
    taken = _taken("email", MOST_TOLD)
    if not taken:
        return 0
    with db.transaction("worker") as tx:
        is_digest = len(taken) > deliveries.digest_above(tx)
    groups = [taken] if is_digest else [[each] for each in taken]
    sent = 0
    for number, group in enumerate(groups):
        if number == MOST or time.monotonic() >= until:
            _put_off("email", [each for later in groups[number:] for each in later], Suspended(retry_after_seconds=0))
            break
        sent += _mail(current, group)
    return sent


def _mail(current: Settings, taken: Sequence[Taken]) -> int:
    from common.outgoing import mail  # noqa: PLC0415 - as above

    def send() -> None:
        shown = [each._replace(document=log.redact(each.document)) for each in taken]
        if len(taken) == 1:
            identifier, subject, text = str(taken[0].id), rules.subject(shown[0]), rules.text(shown[0])
        else:
            identifier = str(uuid.uuid5(uuid.NAMESPACE_OID, " ".join(str(each.id) for each in taken)))
            subject, text = rules.digest_subject(shown), rules.digest(shown)
        message = mail.composed(current.alert_email_from, current.alert_email_to, identifier, subject, text)
        mail.send(current.smtp_url, message)

    return _tried("email", taken, send)


# Both ----------------------------------------------------------------------------------------------------------------


def _taken(channel: str, limit: int) -> list[Taken]:
    """What is due and may still be tried; where every sender died with the last attempt, nobody tries any more."""
    found = db.replayed(lambda tx: deliveries.take(tx, channel, limit=limit), "worker")
    spent = [each for each in found if each.attempts > rules.MOST_ATTEMPTS]
    if spent:
        _put_off(channel, spent, Broken("Every attempt ended without a word of its sender."))
    return [each for each in found if each not in spent]


def _tried(channel: str, taken: Sequence[Taken], send: Callable[[], None]) -> int:
    """How many were sent; those that were not are put off."""
    try:
        send()
    except AppError as error:
        _put_off(channel, taken, error)
        return 0
    except Exception as error:  # noqa: BLE001 - one that cannot even be written must not keep the others back
        _put_off(channel, taken, Broken(f"It could not be sent ({type(error).__name__})."))
        return 0

    def write(tx: Transaction) -> int:
        alerts.resolve(tx, alert_type=f"alerts_undelivered:{channel}")
        return deliveries.send(tx, taken)

    sent = db.replayed(write, "worker")
    for each in taken:
        log.info("delivery.sent", channel=channel, **_facts(each))
    return sent


def _put_off(channel: str, taken: Sequence[Taken], error: AppError) -> None:
    """Let them be due later, by how often they were tried; what was refused by our own breaker was not."""
    uncounted = isinstance(error, Suspended)
    waits = [(each, _wait(each, error)) for each in taken]

    def write(tx: Transaction) -> None:
        if not uncounted and max(each.attempts for each in taken) >= TELL_AFTER:
            alerts.raise_alert(
                tx,
                alert_type=f"alerts_undelivered:{channel}",
                severity="warning",
                title=f"Alerts cannot be delivered by {channel}",
                message=f"The last attempt: {log.redact(error.detail)} It is tried again for about three days.",
            )
        deliveries.put_off(tx, waits, error=str(log.redact(error.detail))[:500], uncounted=uncounted)

    db.replayed(write, "worker")
    for each, seconds in waits:
        if seconds is None:
            log.error("delivery.failed", channel=channel, error=error.detail, **_facts(each))
        elif not uncounted:
            log.warning("delivery.put_off", channel=channel, error=error.detail, wait_seconds=round(seconds), **_facts(each))


def _wait(taken: Taken, error: AppError) -> float | None:
    """Seconds until the next attempt; None when there is none."""
    if isinstance(error, Suspended):
        return float(error.retry_after_seconds)
    wait = rules.wait(taken.attempts, random.random())  # noqa: S311
    if wait is None:
        return None
    asked = error.retry_after_seconds if isinstance(error, Throttled) else 0
    return max(wait.total_seconds(), float(asked))


def _facts(taken: Taken) -> dict[str, Any]:
    return {"delivery": taken.id, "alert": taken.alert_id, "kind": taken.kind, "attempt": taken.attempts}


SENDERS: dict[str, Callable[[Settings, float], int]] = {"webhook": _post_all, "email": _mail_all}

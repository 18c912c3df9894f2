"""One question to Zoho's API: an access token, a slot, the call, and what its answer means for everybody who calls."""

from __future__ import annotations

import hashlib
import random
import time
import urllib.parse
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from common import db, log, settings
from common.errors import AppError, SourceRefused, Throttled, Unavailable
from common.outgoing import breakers, calls, slots, tokens
from common.outgoing.calls import Call
from common.outgoing.tokens import Access, Fresh
from common.rules import zoho_access, zoho_answers
from common.rules.urgency import Urgency
from common.rules.zoho_answers import Said, Verdict
from common.stores import limits
from common.stores.limits import Slot

SOURCE = "zoho"
BASES = {"books": "/books/v3", "inventory": "/inventory/v1"}
PAUSES = 3  # after which a call that is one too many at once is given up
BLOCK, BLOCK_FOR_A_DAY = 60, 3600  # seconds, when the source does not say
DOWN = 10  # seconds after which a source that is down may be asked again
TOKEN_SECONDS, TOKEN_BYTES = 10.0, 65_536
RESET_SECONDS = 60  # by which the end of the source's day may be told differently before it is worth a write
SKEW = timedelta(seconds=60)  # between the source's clock and ours: more is worth a line


class Heard(NamedTuple):
    """An answer that is good, or says that there is no such record."""

    said: Said
    body: bytes
    served_at: datetime  # by the source's clock
    took_ms: float


def asked(base: str, path: str, arguments: Mapping[str, str], *, urgency: Urgency, until: float, exact: bool = False) -> Heard:
    """The answer to one question; no call begins after `until` (of time.monotonic). With `exact`, fractions are Decimal.

    Raises: Unavailable (Throttled among them), with the seconds to wait, for whatever is the source's or the limiter's
    trouble; SourceRefused for what a retry cannot cure.
    """
    current = settings.load()
    query = urllib.parse.urlencode({"organization_id": current.zoho_organization_id, **arguments}, quote_via=urllib.parse.quote)
    target = f"{BASES[base]}/{path}?{query}"
    pauses = 0
    was_refused = False
    while True:
        access = access_to(current, until)
        breakers.check(SOURCE)  # before a slot is spent on a call that is not made
        slot = slots.wait_for_one(SOURCE, current.zoho_organization_id, urgency, until)
        heard = _called(path, _origin(current, access), target, access, slot, exact=exact)
        said = heard.said
        if said.verdict in {Verdict.GOOD, Verdict.MISSING}:
            return heard
        if said.verdict is Verdict.UNAUTHORIZED and not was_refused:
            was_refused = True
            tokens.refused(SOURCE, access)
            continue
        pause = random.uniform(1.0, 3.0)  # noqa: S311
        if said.verdict is Verdict.BUSY and pauses < PAUSES and time.monotonic() + pause < until:
            pauses += 1
            time.sleep(pause)
            continue
        raise _trouble(current.zoho_organization_id, path, said)


def _called(path: str, origin: str, target: str, access: Access, slot: Slot, *, exact: bool) -> Heard:
    """Raises: Unavailable, when Zoho is down, or counted as such because it was too often."""
    headers = {"Authorization": f"Zoho-oauthtoken {access.access_token}", "Accept": "application/json"}
    with breakers.guarded(SOURCE):
        began = time.monotonic()
        answer = calls.sent(Call("GET", origin, target, headers))
        took = time.monotonic() - began
        said = zoho_answers.understood(answer, exact=exact)
        if said.verdict is Verdict.DOWN:
            message = f"Zoho is in trouble with {path}: {said.message}."
            raise Unavailable(message, retry_after_seconds=said.retry_after or DOWN)
    ours = slot.at + timedelta(seconds=max(0.0, slot.wait) + took)
    _note(said, slot, ours)
    return Heard(said, answer.body, said.served_at or ours, took * 1000)


def _note(said: Said, slot: Slot, ours: datetime) -> None:
    """Tell everybody what the answer says of the day's calls, when it is news."""
    budget = said.budget
    used = None if budget.limit is None or budget.remaining is None else budget.limit - budget.remaining
    is_news = (
        budget.limit not in {None, slot.told_limit}
        or (used is not None and used > slot.used)
        or (budget.resets_in is not None and abs(budget.resets_in - slot.resets_in) > RESET_SECONDS)
        or (slot.slowdown > 1 and said.verdict in {Verdict.GOOD, Verdict.MISSING})
    )
    if is_news:
        with db.transaction("worker") as tx:
            limits.hear(
                tx,
                SOURCE,
                settings.load().zoho_organization_id,
                day_limit=budget.limit,
                remaining=budget.remaining,
                resets_in=budget.resets_in,
            )
    if said.served_at and abs(said.served_at - ours) > SKEW:
        log.warning("clock.differs", source=SOURCE, seconds=round((said.served_at - ours).total_seconds()))


def _trouble(organization: str, path: str, said: Said) -> AppError:
    """What an answer that is no good raises; everybody who calls this organization is told to stop when it says so."""
    if said.verdict is Verdict.REFUSED:
        return SourceRefused(f"Zoho refuses {path}: {said.message}.")
    if said.verdict is Verdict.UNAUTHORIZED:
        return SourceRefused(
            f"Zoho accepts no access token for {path}: {said.message}. Check that ZOHO_ORGANIZATION_ID is an organization of the "
            "user who made ZOHO_REFRESH_TOKEN, in the data centre ZOHO_DC, and that the token's scopes include reading this."
        )
    if said.verdict in {Verdict.MINUTE, Verdict.DAY}:
        is_day = said.verdict is Verdict.DAY
        seconds = (said.budget.resets_in if is_day else None) or said.retry_after or (BLOCK_FOR_A_DAY if is_day else BLOCK)
        seconds = max(BLOCK, seconds)
        with db.transaction("worker") as tx:
            limits.block(tx, SOURCE, organization, seconds=seconds, reason=said.message, slower=not is_day)
        return Throttled(f"Zoho lets nobody call: {said.message}.", retry_after_seconds=seconds)
    return Throttled(f"Zoho has too many calls at once: {said.message}.", retry_after_seconds=said.retry_after or 5)


def _origin(current: settings.Settings, access: Access) -> str:
    return current.zoho_api_url or access.api_domain or zoho_access.CENTRES[current.zoho_dc].api


def access_to(current: settings.Settings, until: float) -> Access:
    """Raises: as `tokens.current` does; SourceRefused, when the environment holds no credentials."""
    wanted = ("zoho_organization_id", "zoho_client_id", "zoho_client_secret", "zoho_refresh_token")
    absent = [name.upper() for name in wanted if not getattr(current, name)]
    if absent:
        message = f"Nothing can be read from Zoho: {', '.join(absent)} is not set."
        raise SourceRefused(message)
    accounts = current.zoho_accounts_url or zoho_access.CENTRES[current.zoho_dc].accounts
    fields = {
        "grant_type": "refresh_token",
        "client_id": current.zoho_client_id,
        "client_secret": current.zoho_client_secret,
        "refresh_token": current.zoho_refresh_token,
    }
    body = urllib.parse.urlencode(fields).encode()

    def refresh() -> Fresh:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
        call = Call("POST", accounts, "/oauth/v2/token", form, body, seconds=TOKEN_SECONDS, limit=TOKEN_BYTES)
        return Fresh(*zoho_access.granted(calls.sent(call)))

    credentials = hashlib.sha256(accounts.encode() + b"\n" + body).hexdigest()[:32]
    return tokens.current(SOURCE, credentials, refresh, until)

"""Subscriptions: who outside is told of notices, by signed webhooks, each at least once and in order."""

from __future__ import annotations

import urllib.parse
from typing import Any

from common import db, log, settings
from common.errors import Conflict, Invalid, Unknown
from common.flows.status import id_of
from common.outgoing import egress
from common.rules import cursors, notices, topics
from common.rules.cursors import Cursor
from common.stores import notices as told
from common.stores import subscriptions
from common.stores.subscriptions import Row

MOST = 200  # shown, and live at once
MOST_TOPICS = 50
LONGEST_URL = 2000
FIELDS = {"topics", "url", "after"}


def create(given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A new subscription: 201 with the secret that its webhooks are signed with, which nobody is shown again.

    It is told of what comes after `after`; without, of what comes from now on. `gap` is true when some after it are gone.
    Raises: Invalid, with a pointer to each fault; Conflict, when there are too many already.
    """
    asked, url, after = _asked(given)
    with db.transaction("operator") as tx:
        horizon = told.horizon(tx)
        begin = horizon.upto if after is None else min(max(after, horizon.trimmed), horizon.upto)
        identifier = subscriptions.add(tx, topics=asked, url=url, after=begin, created_by=str(log.field("operator")), most=MOST)
    if identifier is None:
        message = f"There are {MOST} live subscriptions, as many as there may be: delete one first."
        raise Conflict(message)
    log.info("subscription.created", subscription=identifier, topics=asked)
    return 201, {
        "id": identifier,
        "topics": asked,
        "url": _shown_url(url),
        "after": str(begin),
        "gap": after is not None and after < begin,
        "secret": secrets(identifier)[0],
        "message": "The secret is shown this once. It follows from SEED_SECRET (without it SECRET_KEY): when that is changed, "
        "subscribe anew before its predecessor is forgotten.",
    }


def listed() -> dict[str, Any]:
    """All of them, with how far behind each is."""
    with db.transaction("status", read_only=True) as tx:
        rows = subscriptions.listed(tx, limit=MOST)
    return {"subscriptions": [_shown(row) for row in rows], "count": len(rows)}


def one(identifier: str) -> dict[str, Any]:
    """Raises: Unknown."""
    with db.transaction("status", read_only=True) as tx:
        rows = subscriptions.listed(tx, limit=1, identifier=str(id_of(identifier)))
    if not rows:
        raise _unknown(identifier)
    return _shown(rows[0])


def delete(identifier: str) -> dict[str, Any]:
    """Tell it of nothing any more.

    Raises: Unknown.
    """
    found = str(id_of(identifier))
    with db.transaction("operator") as tx:
        is_there = subscriptions.delete(tx, found)
    if not is_there:
        raise _unknown(identifier)
    log.info("subscription.deleted", subscription=found, by=log.field("operator"))
    return {"id": found, "success": True, "message": "Nothing more is sent to it; what is on its way may still arrive."}


def secrets(identifier: str) -> list[str]:
    """What the webhooks of a subscription are signed with: by our key, and, while that is being changed, by the one before."""
    return [notices.secret(key, identifier) for _, key in settings.load().signing_keys]


def _unknown(identifier: str) -> Unknown:
    return Unknown(f"There is no subscription {identifier}.")


def _asked(given: dict[str, Any]) -> tuple[list[str], str, Cursor | None]:
    """Raises: Invalid."""
    patterns, url, begin = given.get("topics"), given.get("url"), given.get("after")
    faults = [{"pointer": f"/{name}", "message": "is not known here"} for name in sorted(given.keys() - FIELDS - {"secret"})]
    if "secret" in given:
        faults.append({"pointer": "/secret", "message": "cannot be chosen: it follows from the subscription's id, and is answered"})
    if (
        not isinstance(patterns, list)
        or not 1 <= len(patterns) <= MOST_TOPICS
        or not all(isinstance(each, str) for each in patterns)
    ):
        faults.append({"pointer": "/topics", "message": f"must be a list of 1 to {MOST_TOPICS} topics"})
    else:
        faults += [
            {"pointer": f"/topics/{no}", "message": f"is no topic; there are: {', '.join(sorted(topics.TOPICS))}"}
            for no, each in enumerate(patterns)
            if not topics.matching(each)
        ]
    if not isinstance(url, str) or not url or len(url) > LONGEST_URL:
        faults.append({"pointer": "/url", "message": f"must be an address of at most {LONGEST_URL} characters"})
    elif reason := egress.check(url):
        faults.append({"pointer": "/url", "message": reason})
    after = cursors.read(begin) if isinstance(begin, str) else None
    if begin is not None and after is None:
        faults.append({"pointer": "/after", "message": "must be what an answer said as 'next', or a notice as 'seq'"})
    if faults:
        message = "The subscription cannot be made as it stands."
        raise Invalid(message, errors=faults, topics=sorted(topics.TOPICS))
    return list(dict.fromkeys(patterns or [])), str(url), after


def _shown(row: Row) -> dict[str, Any]:
    is_live = row.state == "live"
    return {
        "id": row.id,
        "topics": row.topics,
        "url": _shown_url(row.url),
        "state": row.state,
        "reason": row.reason,
        "cursor": str(Cursor(row.xid, row.seq)),
        "lag": row.lag,
        "lost": row.lost,
        "told": row.told,
        "told_at": row.told_at,
        "attempts": row.attempts,
        "next_attempt_at": row.ready_at if is_live and row.last_error else None,
        "last_error": row.last_error,
        "created_at": row.created_at,
        "created_by": row.created_by,
    }


def _shown_url(url: str) -> str:
    """Where it is, without what may be a key in its path."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."

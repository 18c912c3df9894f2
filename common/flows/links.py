"""Links: how each dependency is, several asked at once within one limit, so that one that hangs keeps no other from answering."""

from __future__ import annotations

import collections
import queue
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from common import db, log, settings, targets
from common.db import Transaction
from common.errors import Unavailable, Unknown
from common.flows import migrate
from common.rules import links as rules
from common.rules.links import HOUR, LINKS, MINUTE, Found, Status
from common.stores import breakers, healers, health, links, notices, schema_versions, subscriptions

AT_ONCE = 4  # connections to the database that a look takes: fewer than may hang before one is not even asked
SPARE_SECONDS = 0.2  # a statement is ended so much before nobody waits for it any more


def health_of_all() -> dict[str, Any]:
    """Every dependency, looked at now."""
    found = look()
    return {
        "status": rules.overall(found),
        "links": {name: _shown(name, each) for name, each in found.items()},
        "timeout_ms": int(settings.load().hxo_federation_timeout.total_seconds() * 1000),
        "timestamp": datetime.now(UTC),
    }


def health_of(name: str) -> dict[str, Any]:
    """One dependency, looked at now.

    Raises: Unknown.
    """
    if name not in LINKS:
        message = f"There is no link {name[:64]}; there are: {', '.join(LINKS)}."
        raise Unknown(message, links=list(LINKS))
    return _shown(name, look([name])[name]) | {"timestamp": datetime.now(UTC)}


def _shown(name: str, found: Found) -> dict[str, Any]:
    link = LINKS[name]
    return {
        "link": name,
        "status": found.status,
        "reason": found.reason,
        "what": link.what,
        "critical": link.is_critical,
        "without": link.without,
    }


# Looking -------------------------------------------------------------------------------------------------------------


def look(names: Iterable[str] = tuple(LINKS)) -> dict[str, Found]:
    """How each is, several asked at once; one that does not answer within HXO_FEDERATION_TIMEOUT is down."""
    limit = settings.load().hxo_federation_timeout.total_seconds()
    until = time.monotonic() + limit
    asked = list(names)
    waiting, begun = collections.deque(asked), set[str]()
    answers: queue.SimpleQueue[tuple[str, Found]] = queue.SimpleQueue()
    for _ in range(min(AT_ONCE, len(asked))):
        threading.Thread(target=_answer, args=(waiting, begun, until, answers), daemon=True, name="links").start()
    found: dict[str, Found] = {}
    while len(found) < len(asked):
        try:
            name, each = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        found[name] = each
    late = Found(Status.DOWN, f"it did not answer within {limit:g} s")
    unasked = Found(Status.UNKNOWN, f"it was not asked: {AT_ONCE} others did not answer within {limit:g} s")
    return {name: found.get(name, late if name in begun else unasked) for name in asked}


def _answer(waiting: collections.deque[str], begun: set[str], until: float, answers: queue.SimpleQueue[tuple[str, Found]]) -> None:
    """Ask one after the other, as long as anybody waits for what it says."""
    while (left := until - time.monotonic()) > 0:
        try:
            name = waiting.popleft()
        except IndexError:
            return
        begun.add(name)
        answers.put((name, _asked(name, left)))


def _asked(name: str, limit: float) -> Found:
    try:
        return CHECKS[name](limit)
    except Unavailable as error:
        return Found(Status.DOWN, str(log.redact(error.detail)))
    except Exception as error:  # noqa: BLE001 - what looks at one must not keep the others from being seen
        log.error("link.broke", link=name, error=type(error).__name__, detail=str(error)[:500])
        return Found(Status.UNKNOWN, f"looking at it failed ({type(error).__name__})")


def _asking(check: Callable[[Transaction], Found]) -> Callable[[float], Found]:
    """A check that asks the database, in a transaction of its own that ends before nobody waits for it any more."""

    def answer(limit: float) -> Found:
        most = timedelta(seconds=max(0.1, limit - SPARE_SECONDS))
        with db.transaction("status", timeout=most, lock=most, read_only=True) as tx:
            return check(tx)

    return answer


def _autonomy(tx: Transaction) -> Found:
    last = healers.last_pass(tx)
    minutes = last.interval_minutes if last else 15
    age = last.age_seconds if last and healers.every(tx) else None  # its heartbeat begins with the installation
    return rules.aged(age, degraded=2 * minutes * MINUTE, down=4 * minutes * MINUTE, what="the last healing pass was")


def _blueprint(tx: Transaction) -> Found:
    return rules.schema(schema_versions.newest(tx), migrate.wanted_version())


def _truth(tx: Transaction) -> Found:
    behind = links.sealing(tx)
    seconds = behind.oldest_seconds if behind.plans else None
    return rules.waited(seconds, degraded=5 * MINUTE, down=HOUR, what=f"{behind.plans:,} plans are over and not sealed, the oldest")


def _cascade(tx: Transaction) -> Found:
    return rules.breakers(_states(tx), known=targets.providers())


def _federation(tx: Transaction) -> Found:
    held = rules.waited(links.held_back(tx), degraded=MINUTE, down=HOUR, what="a transaction has held back notices")
    return rules.worst([rules.subscribers(*subscriptions.standing(tx)), held])


def _parser(tx: Transaction) -> Found:
    counts = health.hour(tx)
    return rules.share(counts.get("quarantined", 0), counts.get("received", 0), what="events could not be read")


def _leviathan(tx: Transaction) -> Found:
    if not settings.load().hxo_predictive_mode:
        return Found(Status.UNKNOWN, "switched off by HXO_PREDICTIVE_MODE")
    return rules.aged(links.forecast(tx), degraded=15 * MINUTE, down=HOUR, what="what is forecast from was brought up to date")


def _arie(tx: Transaction) -> Found:
    last = links.audit(tx)
    if last is None:
        return Found(Status.UNKNOWN, "nothing was scanned yet")
    if last.critical or last.high:
        return Found(Status.DEGRADED, f"the last scan has {last.critical} critical findings and {last.high} high ones")
    return rules.HEALTHY


def _envrecon(tx: Transaction) -> Found:
    last = links.standing(tx).get(REPORTED)
    if last is None or last.age_seconds > rules.DAY:
        return Found(Status.UNKNOWN, "configurations were not compared in the last day")
    return Found(Status(last.status), last.reason)


def _source(tx: Transaction) -> Found:
    current = settings.load()
    if not (current.zoho_client_id and current.zoho_client_secret and current.zoho_refresh_token):
        return Found(Status.UNKNOWN, "nothing is read from it: ZOHO_CLIENT_ID, _SECRET and ZOHO_REFRESH_TOKEN are not set")
    return rules.breakers(_states(tx), known=("zoho", "zoho_accounts"))


def _queue(tx: Transaction) -> Found:
    return rules.waited(links.waiting(tx), degraded=5 * MINUTE, down=30 * MINUTE, what="an event has been ready")


def _database(limit: float) -> Found:
    began = time.monotonic()
    _asking(lambda tx: rules.HEALTHY if schema_versions.newest(tx) is not None else Found(Status.UNKNOWN))(limit)
    took = time.monotonic() - began
    if took < rules.SLOW_SECONDS:
        return rules.HEALTHY
    return Found(Status.DEGRADED, f"the simplest question took {took:.1f} s")


def _states(tx: Transaction) -> dict[str, str]:
    return {each.name: each.state for each in breakers.all_of_them(tx) if each.successful or each.failed}


REPORTED = "envrecon:last"  # where whoever compares configurations writes down how that ended
CHECKS: dict[str, Callable[[float], Found]] = {
    "autonomy": _asking(_autonomy),
    "blueprint": _asking(_blueprint),
    "truth": _asking(_truth),
    "cascade": _asking(_cascade),
    "federation": _asking(_federation),
    "parser": _asking(_parser),
    "leviathan": _asking(_leviathan),
    "arie": _asking(_arie),
    "envrecon": _asking(_envrecon),
    "database": _database,
    "source": _asking(_source),
    "queue": _asking(_queue),
}


# Telling -------------------------------------------------------------------------------------------------------------


def watch() -> int:
    """Look at all of them, keep what was found, and tell of each that has become worse; how many that were."""
    found = look()
    return db.replayed(lambda tx: _keep(tx, found), "worker")


def _keep(tx: Transaction, found: dict[str, Found]) -> int:
    if not links.try_watch(tx):
        return 0  # another tick is at it
    before = links.standing(tx)
    worse = [
        (name, each) for name, each in found.items() if rules.is_worse(before[name].status if name in before else None, each.status)
    ]
    links.keep(tx, found.items())
    for name, each in worse:
        _tell(tx, name, each, before[name].status if name in before else None)
    return len(worse)


def _tell(tx: Transaction, name: str, found: Found, was: str | None) -> None:
    link = LINKS[name]
    payload = {
        "type": "federation.degraded",
        "severity": "error" if found.status is Status.DOWN and link.is_critical else "warning",
        "message": f"{name} ({link.what}) is {found.status}: {found.reason}. While it is down, {link.without}.",
        "link": name,
        "status": found.status,
        "was": was,
        "critical": link.is_critical,
    }
    notices.add(tx, "hxo.alert", payload, source="links", correlation_id=name)
    log.warning("link.worse", link=name, status=found.status, was=was, reason=found.reason)


def report_configurations(status: str, what: str) -> None:
    """Keep how the last comparison of the targets' configuration ended, for `envrecon`: same, drifted, or unknown."""
    found = {"same": rules.HEALTHY, "drifted": Found(Status.DEGRADED, what)}.get(status, Found(Status.UNKNOWN, what))
    with db.transaction("worker") as tx:
        links.keep(tx, [(REPORTED, found)])

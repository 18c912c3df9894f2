"""Healers of what comes from the source: parents that are not here, cursors that stay, the access token."""

from __future__ import annotations

import time
from datetime import timedelta

from common import db, entities, log, settings
from common.errors import SourceRefused, Unavailable
from common.flows import lease, sync
from common.rules.references import PARENTS
from common.stores import alerts, configuration, refetches, runs, source_tokens

PARENTS_ASKED = 100  # for each column in one pass
TOKEN_SECONDS = 5.0  # that a refresh may take


def missing_parents() -> int:
    """Ask the source for what lately applied events refer to and is not here; they themselves were applied."""
    if not sync.is_connected():
        return 0
    by_label = entities.by_label()
    parents = {column: by_label[label] for column, label in PARENTS.items() if label in by_label and by_label[label].pull}
    asked = 0
    for entity in entities.every():
        with db.transaction("worker") as tx:
            organization = settings.load().zoho_organization_id
            asked += refetches.ask_for_parents(tx, organization, entity, parents, limit=PARENTS_ASKED)
    return asked


def stalled_cursors() -> int:
    """Tell of entities whose cursor stays although their syncs succeed, and stop telling when it moves."""
    with db.transaction("worker") as tx:
        period = timedelta(minutes=configuration.all_values(tx)["healing.cursor_minutes"])
        stalled = {each.entity_type: each for each in runs.stalled(tx, period)}
        for label in entities.by_label():
            found = stalled.get(label)
            if found is None:
                alerts.resolve(tx, alert_type="cursor_stalled", entity=label)
                continue
            alerts.raise_alert(
                tx,
                alert_type="cursor_stalled",
                severity="warning",
                title=f"The cursor of {label} does not move",
                message=f"It stands at {found.cursor} although {found.runs} syncs have succeeded since. Look at its runs.",
                entity=label,
                affected=found.runs,
            )
    return len(stalled)


def expiring_access() -> int:
    """Refresh the source's access token ahead of its end, if it is used at all."""
    if not sync.is_connected():
        return 0
    from common.outgoing import zoho  # noqa: PLC0415 - only who has a source calls it

    with db.transaction("worker") as tx:
        if not source_tokens.is_ending(tx, zoho.SOURCE):
            return 0
    if lease.held_or_none() is None:  # the ACTIVE deployment calls the source
        return 0
    refusal = None
    try:
        zoho.access_to(settings.load(), time.monotonic() + TOKEN_SECONDS)
    except SourceRefused as error:
        refusal = error.detail
    except Unavailable as error:
        log.warning("access.not_refreshed", source=zoho.SOURCE, error=error.detail)
        return 0
    with db.transaction("worker") as tx:
        if refusal is None:
            alerts.resolve(tx, alert_type="source_access_refused")
            return 1
        alerts.raise_alert(
            tx,
            alert_type="source_access_refused",
            severity="critical",
            title="The source gives no access token",
            message=f"{refusal} Run `tidemark source check`.",
        )
    return 0

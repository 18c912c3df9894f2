"""Read an entity's list from its source, page by page: one shard is one page, and there are as many as the source says.

Config: {"entity": label, "run": uuid, "mode": "full" | "incremental" | "stock", "since": instant | null, "source": "zoho",
"provenance": tds_source_type, "urgency": "bulk" | ..., "per_page": 200, "on_demand": false}. A page's transaction merges
its rows, remembers its ids and counts it; the cursor moves once, when the stage ends well.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from common import entities, log, lookup, settings
from common.db import Transaction
from common.errors import Invalid, Replayable, SourceRefused
from common.rules import merkle
from common.rules.entity import Entity
from common.rules.shard import Context, Ran, Stage
from common.rules.urgency import Urgency
from common.stores import alerts, comparisons, configuration, pages, refetches, runs, seen_ids, statistics
from common.stores.pages import Merged, NeedsCare

KIND = "sync.pages"
IS_OURS = True
FEWEST_MISSING = 20  # of which it is never said that they are too many
MOST_MISSING = 5000  # that are looked for at once


def plan(config: dict[str, Any]) -> None:
    """Nobody knows how many pages there are.

    Raises: Invalid, when the config cannot be one.
    """
    entity = entities.by_label().get(str(config.get("entity")))
    if entity is None or entity.pull is None:
        message = "A stage of kind sync.pages names an entity that can be listed."
        raise Invalid(message, errors=[{"pointer": "/entity", "message": "is no entity that can be listed"}])


def open(tx: Transaction, stage: Stage) -> int | None:  # noqa: A001 - the engine's word for it
    """The run begins; no page is needed where a comparison before this stage had an answer without."""
    config = stage.config
    if config.get("on_demand"):
        if not statistics.wants_list(tx, stage.plan, config["entity"]):
            return 0
        run_type, found = config["provenance"], [(config["run"], config["entity"])]
        snapshot = {"mode": config["mode"], "entities": [config["entity"]], "by": "reconciliation"}
        runs.add(tx, stage.plan, run_type=run_type, mode=config["mode"], runs=found, snapshot=snapshot, worker="reconcile")
    runs.begin(tx, config["run"], stage.plan)
    return None


def run(shards: range, context: Context) -> Ran:
    """Read one page, and merge it in the transaction that completes it.

    Raises: Unavailable, when the source, or its rate, is in the way; SourceRefused.
    """
    config = context.stage.config
    entity = entities.by_label()[config["entity"]]
    client = lookup.find("clients", config.get("source", "zoho"))
    since = datetime.fromisoformat(config["since"]) if config.get("since") else None
    page = client.page(
        entity,
        shards.start + 1,
        since=since,
        per_page=config.get("per_page", client.PER_PAGE),
        urgency=Urgency(config["urgency"]),
        until=context.until,
    )
    content = hashlib.sha256(page.body.encode()).digest()
    digest = merkle.leaf(context.hash, b"%s %d %s" % (entity.label.encode(), page.number, content))
    careful = False

    def effect(tx: Transaction) -> None:
        nonlocal careful
        stage = context.stage
        if page.ids and seen_ids.repeats(tx, UUID(stage.plan), stage.no, shards.start, page.ids):
            raise _Repeated
        try:
            merged = pages.merge(
                tx,
                entity,
                settings.load().zoho_organization_id,
                page.body,
                str(entity.pull and entity.pull.key),
                served_at=page.served_at,
                provenance=config["provenance"],
                run=UUID(config["run"]),
                careful=careful,
                records=page.records,
            )
        except NeedsCare as error:
            careful = True
            raise Replayable(error.detail) from error
        seen_ids.add(tx, UUID(stage.plan), stage.no, shards.start, merged.ids, rows=merged.rows)
        _counted(tx, context, entity, page, merged)

    return Ran([digest], effect=effect, more=page.has_more)


class _Repeated(Invalid):
    """This page has the records of another page of the run: the source repeats itself, and would for ever."""


def failed(error: Exception) -> bool | None:
    """What an error of a page says of those after it: a source that repeats itself, or refuses, is not asked on and on.

    Should the page go well after all, and say that there are more, they are read then.
    """
    return False if isinstance(error, _Repeated | SourceRefused) else None


def _counted(tx: Transaction, context: Context, entity: Entity, page: Any, merged: Merged) -> None:
    config = context.stage.config
    written = merged.inserted + merged.updated + merged.resurrected
    said = {key: value for key, value in merged._asdict().items() if key not in {"ids", "newest"}}
    asked = {
        "since": config.get("since"),
        "has_more": page.has_more,
        "filter_ignored": page.filter_ignored,
        "served_at": page.served_at,
    }
    what = f"page {page.number}"
    runs.log(tx, config["run"], entity.label, what, said=said, took_ms=page.took_ms, worker=context.holder, context=asked)
    runs.count(
        tx,
        config["run"],
        context.stage.plan,
        rows=merged.rows,
        written=written,
        skipped=merged.unchanged + merged.superseded,
        failed=merged.quarantined,
        newest=merged.newest,
        served_at=page.served_at,
        worker=context.holder,
    )


def ended(tx: Transaction, stage: Stage, *, ok: bool) -> None:
    """Every page is done: the cursor moves. Or one is not: it stays, and somebody is told."""
    config = stage.config
    if ok and stage.shards is None:  # it was not opened
        return
    entity = entities.by_label()[config["entity"]]
    run = runs.end(tx, config["run"], ok=ok, message=None if ok else "a page could not be read or merged: see the plan's failures")
    if not ok or run is None:
        runs.pin(tx, entity.label)
        alerts.raise_alert(
            tx,
            alert_type="sync_failed",
            severity="error",
            title=f"The sync of {entity.path} failed",
            message="A page could not be read or merged. Its cursor stays where it was; look at the failures of the plan.",
            entity=entity.label,
            metadata={"plan_id": stage.plan, "run_id": config["run"]},
        )
        return
    alerts.resolve(tx, alert_type="sync_failed", entity=entity.label)
    # What is visible late, or stamped by a clock that is ahead, is behind the cursor neither way.
    cursor = min((at for at in (run.newest, run.first_served_at) if at), default=None) if run.newest else None
    before = runs.cursors(tx).get(entity.label)
    runs.advance(tx, entity.label, cursor=cursor, count=run.rows, run=config["run"], mode=config["mode"])
    organization = settings.load().zoho_organization_id
    values = configuration.all_values(tx)
    if config.get("since") is None and run.first_served_at is not None:
        missing = seen_ids.missing(
            tx, entity, organization, UUID(stage.plan), stage.no, since=run.first_served_at, limit=MOST_MISSING
        )
        most = _most_missing(entity, run.rows, len(missing), share=values["sync.missing_share"])
        _look_for(tx, stage, entity, missing, most=most)
        lookback = timedelta(seconds=values["sync.lookback_seconds"])
        comparisons.after_list(
            tx,
            entity,
            organization,
            plan=stage.plan,
            stage=stage.no,
            run=config["run"],
            since=run.first_served_at,
            horizon=before.cursor - lookback if before and before.cursor else None,
            missing=missing,
            is_believed=len(missing) <= most,
            calls=stage.shards or 0 if config.get("on_demand") else 0,
        )
    if entity.lines is not None and entity.pull is not None and entity.pull.has_detail and not entity.pull.whole:
        refetches.ask_for_details(tx, organization, entity, values["sync.details"])


def _most_missing(entity: Entity, rows: int, missing: int, *, share: float) -> int:
    if not rows and entity.pull is not None and not (entity.pull.has_detail or entity.pull.bulk):
        return 0  # the list that says so is the only one that could be asked whether it is true
    return max(FEWEST_MISSING, int(share * (rows + missing)))


def _look_for(tx: Transaction, stage: Stage, entity: Entity, missing: list[str], *, most: int) -> None:
    """Records that no page had may be gone, or may have moved between two pages: each is asked for by its id."""
    if len(missing) > most:
        log.error("sync.too_many_missing", entity=entity.label, missing=len(missing), most=most)
        alerts.raise_alert(
            tx,
            alert_type="sync_too_many_missing",
            severity="critical",
            title=f"{len(missing)} {entity.path} are missing from the source's list",
            message=f"More than {most} at once is not believed, so nothing was deleted. Look at the source first.",
            entity=entity.label,
            affected=len(missing),
            metadata={"plan_id": stage.plan, "some": missing[:10]},
        )
        return
    alerts.resolve(tx, alert_type="sync_too_many_missing", entity=entity.label)
    refetches.ask(tx, settings.load().zoho_organization_id, [(entity.label, identifier) for identifier in missing], "missing")

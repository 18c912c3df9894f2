"""ARIE: a look at the tree of source files that is deployed, by every analyzer of common/rules/arie."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import ModuleType
from typing import Any, NamedTuple

from common import db, log, lookup, settings
from common.db import Transaction
from common.outgoing import source_edits, source_tree
from common.rules import fingerprints, integrity
from common.rules.integrity import GRAVE, Finding, Policy, Tree
from common.stores import arie, notices, tickets

SHOWN = 500  # findings that are kept, the worst first
KIND = "system.arie"


class Scan(NamedTuple):
    """What was found."""

    source: str
    tree: Tree
    findings: Sequence[Finding]
    skipped: Sequence[str]
    seconds: float


def analyzers() -> Mapping[str, ModuleType]:
    """Every analyzer, by the name of its file."""
    return {name: lookup.find("rules.arie", name) for name in lookup.names("rules.arie")}


def scan(paths: Sequence[str] = ()) -> Scan:
    """Look at the source directory; findings only in `paths`, files or folders, if there are any.

    Raises: Invalid, when a link leads out of it.
    """
    started = time.monotonic()
    read = source_edits.read()
    tree = Tree(read.files)
    found = [each for each in integrity.analyzed(tree, analyzers()) if not paths or _is_below(each.file_path, paths)]
    return Scan(str(source_tree.root()), tree, found, read.skipped, time.monotonic() - started)


def _is_below(path: str, paths: Sequence[str]) -> bool:
    return any(path == each or path.startswith(each.rstrip("/") + "/") for each in paths)


def summary(run: uuid.UUID, found: Scan, policy: Policy, *, dry_run: bool, applied: int = 0, failed: int = 0) -> dict[str, Any]:
    """What a look is answered with. Nothing of it is certified, and it says so."""
    return {
        "run_id": str(run),
        "timestamp": None,
        "policy": policy,
        "dry_run": dry_run,
        "files": len(found.tree.files),
        "skipped": list(found.skipped[:SHOWN]),
        "findings_count": len(found.findings),
        "findings_by_severity": dict(Counter(each.severity.value for each in found.findings)),
        "findings_by_category": dict(Counter(each.category for each in found.findings)),
        "fixes_applied": applied,
        "fixes_failed": failed,
        "certification_status": "not_certified",
        "duration_seconds": round(found.seconds, 3),
        "findings": [each.shown() for each in found.findings[:SHOWN]],
        "patches": [],
    }


def keep(tx: Transaction, told: dict[str, Any], source: str, *, by: str, deployment: str | None = None) -> datetime:
    """Write down a look, and tell the bus; when that was."""
    at = arie.add_run(
        tx,
        uuid.UUID(told["run_id"]),
        policy=told["policy"],
        dry_run=told["dry_run"],
        source=source,
        deployment=deployment,
        requested_by=by,
        summary=told,
    )
    payload = {
        name: told[name] for name in ("run_id", "policy", "dry_run", "findings_count", "findings_by_severity", "fixes_applied")
    }
    notices.add(
        tx, "hxo.audit", {"action": "arie.run", "actor": by, **payload}, source="arie", kind="audit", correlation_id=deployment
    )
    return at


def run(deployment: str | None = None) -> dict[str, Any]:
    """Look, change nothing, and keep what was found; a ticket, when something of it is grave. What to say of it in short.

    Raises: Invalid, when a link leads out of the source directory.
    """
    found = scan()
    told = summary(uuid.uuid4(), found, Policy.LINT_ONLY, dry_run=True)
    grave = [each for each in found.findings if each.severity in GRAVE]

    def write(tx: Transaction) -> None:
        keep(tx, told, found.source, by="tidemark", deployment=deployment)
        if grave and settings.load().stabilizer_enabled:
            _tell(tx, grave, deployment)

    db.replayed(write, "worker")
    log.info("arie.scanned", run=told["run_id"], deployment=deployment, findings=len(found.findings), grave=len(grave))
    return {name: told[name] for name in ("run_id", "findings_count", "findings_by_severity", "duration_seconds")}


def _tell(tx: Transaction, grave: Sequence[Finding], deployment: str | None) -> None:
    lines = sorted(f"{each.file_path}:{each.line_number}: {each.description}" for each in grave)
    message = "\n".join(lines)
    tickets.raise_ticket(
        tx,
        fingerprint=fingerprints.fingerprint("findings", KIND, message),
        kind=KIND,
        title=f"{len(grave)} grave findings in the code that was deployed",
        message=message,
        deployment=deployment,
    )

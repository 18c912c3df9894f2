"""ARIE: scans of the source tree on somebody's word, the fixes that a policy allows, and their way back.

A fix is written down before it is made, with what stood in the file and what will; so whatever dies in the middle, taking the
patch back brings the tree to what it was, byte for byte. A file that has changed since is not touched.
"""

from __future__ import annotations

import difflib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common import db, log, settings
from common.clients import audits
from common.clients.audits import Scan
from common.errors import Conflict, Invalid, PreconditionFailed, Unknown
from common.flows import stabilization
from common.flows.status import id_of
from common.outgoing import source_edits, source_tree
from common.outgoing.source_edits import Edit
from common.rules import integrity
from common.rules.http import Request
from common.rules.integrity import Plan, Policy
from common.stores import arie, notices
from common.stores.arie import File

FIELDS = {"policy", "dry_run", "apply", "paths", "confirm"}
MOST_PATHS = 100
DIFF = 256 * 1024
_writing = threading.Lock()  # one at a time writes to the tree of this instance


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Scan: {policy, dry_run, apply, paths, confirm}; with apply, make the fixes that the policy allows.

    `confirm` is the `id` of the `plan` that a dry run answered with: REFACTOR and ARCHIVE are applied only with it.
    Raises: Invalid; PreconditionFailed, without the right `confirm`; Conflict, when the tree cannot be written to, or was
    changed meanwhile: then nothing is.
    """
    policy, is_applied, paths, confirm = _asked(asked)
    with _alone(is_needed=is_applied):
        found = audits.scan(paths)
        plan = integrity.planned(found.tree, found.findings, policy)
        if not is_applied:
            return _kept(found, plan, [], dry_run=True)
        if plan.shown()["requires_approval"] and confirm != plan.id:
            message = (
                f"Run it dry first, look at its plan, and send the plan's id as `confirm`: {policy} changes what the code does."
            )
            raise PreconditionFailed(message, plan=plan.shown())
        broken = integrity.verified(found.tree, plan, audits.analyzers()) if plan.after else []
        patches = [_applied(found, plan)] if plan.after and not broken else []
        return _kept(found, plan, patches, dry_run=False, broken=broken)


def _asked(given: dict[str, Any]) -> tuple[Policy, bool, list[str], str | None]:
    faults = [{"pointer": f"/{key[:64]}", "message": "there is no such field"} for key in sorted(given.keys() - FIELDS)]
    policy, paths, confirm = given.get("policy", "LINT_ONLY"), given.get("paths") or [], given.get("confirm")
    is_applied = given.get("apply", False)
    is_dry = given.get("dry_run", not is_applied)
    if policy not in set(Policy):
        faults.append({"pointer": "/policy", "message": f"must be one of {', '.join(Policy)}"})
    for name, value in (("apply", is_applied), ("dry_run", is_dry)):
        if not isinstance(value, bool):
            faults.append({"pointer": f"/{name}", "message": "must be true or false"})
    if is_applied is True and is_dry is True:
        faults.append({"pointer": "/dry_run", "message": "a dry run applies nothing: send one of the two"})
    if (
        not isinstance(paths, list)
        or len(paths) > MOST_PATHS
        or not all(isinstance(each, str) and _is_path(each) for each in paths)
    ):
        faults.append({"pointer": "/paths", "message": f"must be a list of at most {MOST_PATHS} paths below the source directory"})
    if confirm is not None and not isinstance(confirm, str):
        faults.append({"pointer": "/confirm", "message": "must be the id of a plan"})
    if faults:
        message = "The scan cannot be run as asked."
        raise Invalid(message, errors=faults)
    return Policy(policy), is_applied, paths, confirm


def _is_path(text: str) -> bool:
    return 0 < len(text) <= 1000 and not text.startswith("/") and ".." not in text.split("/") and text.isprintable()  # noqa: PLR2004


@contextmanager
def _alone(*, is_needed: bool = True) -> Iterator[None]:
    if is_needed and not _writing.acquire(blocking=False):
        message = "Somebody else is changing the source tree at this moment."
        raise Conflict(message)
    try:
        yield
    finally:
        if is_needed:
            _writing.release()


def _applied(found: Scan, plan: Plan) -> dict[str, Any]:
    """The patch, written down and then made."""
    identifier, by = uuid.uuid4(), str(log.field("operator"))
    files = [File(path, source_edits.mode(path), found.tree.files[path], after) for path, after in plan.after.items()]
    diff = _diff(files)
    with db.transaction("operator") as tx:
        at = arie.intend(tx, identifier, run=identifier, plan=plan.id, source=found.source, diff=diff, made_by=by, files=files)
    try:
        changed = source_edits.apply(Edit(*each) for each in files)
    except Conflict:
        with db.transaction("operator") as tx:
            arie.rolled_back(tx, identifier, actor="tidemark")
        raise
    with db.transaction("operator") as tx:
        arie.applied(tx, identifier)
        notices.add(
            tx,
            "hxo.audit",
            {"action": "arie.fix", "actor": by, "patch_id": str(identifier), "files": changed},
            source="arie",
            kind="audit",
        )
    log.info("arie.patch_applied", patch=str(identifier), files=changed, by=by)
    return {
        "id": str(identifier),
        "plan_id": plan.id,
        "timestamp": at,
        "files_modified": changed,
        "diff": diff,
        "backup_path": f"tidemark.arie_files/{identifier}",
        "certified": False,
        "certificate_id": None,
        "rollback_available": True,
    }


def _diff(files: list[File]) -> str:
    parts: list[str] = []
    for each in files:
        before, after = (text.decode("utf-8", "replace").splitlines(keepends=True) for text in (each.before, each.after or b""))
        to = "/dev/null" if each.after is None else f"b/{each.path}"
        parts += difflib.unified_diff(before, after, f"a/{each.path}", to)
    return "".join(parts).replace("\x00", "")[:DIFF]


def _kept(
    found: Scan, plan: Plan, patches: list[dict[str, Any]], *, dry_run: bool, broken: list[str] | None = None
) -> dict[str, Any]:
    count = len(plan.fixable)
    told = audits.summary(
        uuid.uuid4(), found, plan.policy, dry_run=dry_run, applied=count if patches else 0, failed=count if broken else 0
    )
    files = [File(path, 0, found.tree.files[path], after) for path, after in plan.after.items()]
    told |= {"plan": plan.shown() | {"diff": _diff(files)}, "patches": patches, "refused_because": broken or []}
    with db.transaction("operator") as tx:
        at = audits.keep(tx, told, found.source, by=str(log.field("operator")))
    return told | {"timestamp": at}


def report(request: Request) -> dict[str, Any]:
    """The last scan's summary, or that of ?run=.

    Raises: Unknown, when there is none.
    """
    wanted = request.arguments.get("run")
    with db.transaction("status", read_only=True) as tx:
        found = arie.report(tx, id_of(wanted) if wanted else None)
    if found is None:
        message = "There was no such scan." if wanted else "There was no scan yet: POST /api/arie/run makes one."
        raise Unknown(message)
    return found.summary | {"timestamp": found.at, "requested_by": found.requested_by, "deployment_id": found.deployment}


def rollback(asked: dict[str, Any]) -> dict[str, Any]:
    """Take a patch back: {patch_id, force}. `force` writes over files that have changed since.

    Raises: Invalid; Unknown; Conflict, when it was taken back before, belongs to another tree, or a file has changed since.
    """
    identifier, force = _rollback_asked(asked)
    actor = str(log.field("operator"))
    with _alone(), db.transaction("operator") as tx:
        found = arie.patch(tx, identifier)
        if found is None:
            message = f"There is no patch {identifier}."
            raise Unknown(message)
        if found.state == "rolled_back":
            message = f"The patch was taken back by {found.rolled_back_by} at {found.rolled_back_at:%Y-%m-%d %H:%M:%S} UTC."
            raise Conflict(message)
        if found.source != str(source_tree.root()):
            message = f"The patch was made in {found.source}, which is not the source directory here."
            raise Conflict(message)
        files = arie.files(tx, identifier)
        restored = source_edits.apply((Edit(each.path, each.mode, each.after, each.before) for each in files), force=force)
        at = arie.rolled_back(tx, identifier, actor=actor)
        payload = {"action": "arie.rollback", "actor": actor, "patch_id": str(identifier), "files": restored}
        notices.add(tx, "hxo.audit", payload, source="arie", kind="audit")
    log.info("arie.patch_taken_back", patch=str(identifier), files=restored, by=actor)
    return {
        "id": str(uuid.uuid4()),
        "patch_id": identifier,
        "timestamp": at,
        "success": True,
        "error": None,
        "restored_files": restored,
    }


def _rollback_asked(asked: dict[str, Any]) -> tuple[uuid.UUID, bool]:
    faults = [
        {"pointer": f"/{key[:64]}", "message": "there is no such field"} for key in sorted(asked.keys() - {"patch_id", "force"})
    ]
    patch, force = asked.get("patch_id"), asked.get("force", False)
    if not isinstance(patch, str):
        faults.append({"pointer": "/patch_id", "message": "must be the id of a patch"})
    if not isinstance(force, bool):
        faults.append({"pointer": "/force", "message": "must be true or false"})
    if faults:
        message = "The patch cannot be taken back as asked."
        raise Invalid(message, errors=faults)
    return id_of(str(patch)), force


def after_deploy(deployment: str) -> dict[str, Any] | None:
    """A scan after a deploy, inside a fault boundary: what it breaks on is a ticket, and the deploy goes on.

    None: it is switched off (HXO_AUTO_AUDIT_AFTER_DEPLOY=false), or it broke.
    """
    if not settings.load().hxo_auto_audit_after_deploy:
        return None
    with stabilization.boundary(audits.KIND, "The scan after a deploy broke", deployment=deployment):
        return audits.run(deployment)
    return None

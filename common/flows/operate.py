"""Operate: the verbs people have. Each says who did it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from common import auth, db, log
from common.auth import Role
from common.errors import Invalid, Unknown
from common.flows import ring
from common.flows.status import id_of
from common.stores import operators, queue

NAME_CHARACTERS = 64


def retry_dead_letter(identifier: str) -> tuple[int, dict[str, Any]]:
    """Give a dead letter one more attempt, now."""
    wanted = id_of(identifier)
    with db.transaction("operator") as tx:
        event = queue.revive(tx, wanted, actor=log.field("operator"))
    if event is None:
        message = f"There is no unresolved dead letter {identifier}."
        raise Unknown(message)
    ring.ring("process")
    return 202, {"success": True, "message": "It will be tried once more.", "event_id": event}


def list_tokens() -> dict[str, Any]:
    """Every operator token, without what proves it."""
    with db.transaction("operator") as tx:
        return {"tokens": [token._asdict() for token in operators.all_tokens(tx)]}


def create_token(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A new operator token; this answer is the only place where it ever stands."""
    faults = [{"pointer": f"/{key}", "message": "there is no such field"} for key in asked.keys() - {"name", "role", "days"}]
    name, role, days = asked.get("name"), asked.get("role"), asked.get("days", auth.LONGEST_LIFE.days)
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_CHARACTERS or not name.isprintable():
        faults.append({"pointer": "/name", "message": f"must be text of 1 to {NAME_CHARACTERS} printable characters"})
    if not isinstance(role, str) or role.upper() not in Role.__members__:
        faults.append({"pointer": "/role", "message": "must be owner, operator or viewer"})
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= auth.LONGEST_LIFE.days:
        faults.append({"pointer": "/days", "message": f"must be a whole number from 1 to {auth.LONGEST_LIFE.days}"})
    if faults:
        message = "The token cannot be made as asked."
        raise Invalid(message, errors=faults)
    token, identifier, hashed = auth.new_token()
    with db.transaction("operator") as tx:
        operators.add(
            tx,
            identifier=identifier,
            hash_=hashed,
            role=str(role).lower(),
            name=str(name),
            created_by=log.field("operator"),
            life=timedelta(days=int(days)),
        )
    return 201, {"id": identifier, "token": token, "name": name, "role": str(role).lower(), "days": days}


def revoke_token(identifier: str) -> dict[str, Any]:
    """Let a token count no more."""
    with db.transaction("operator") as tx:
        if not operators.revoke(tx, identifier):
            message = f"There is no token {identifier[:64]} that counts."
            raise Unknown(message)
    return {"success": True, "message": f"The token {identifier} does not count any more."}

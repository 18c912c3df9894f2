"""The place itself: whether it is well, its schema, its variables."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, write, write_facts, write_json, write_rows
from deploy.commands.options import Json, Url


def health(*, as_json: Json = False, url: Url = None) -> None:
    """Whether Tidemark is well; exit status 8 when it is not."""
    api = Api(url)
    overall, ready = api.ask("GET", "/health"), api.ask("GET", "/health/ready")
    for answer in (overall, ready):
        if not isinstance(answer.body, dict):
            cause = f"{api.url} does not speak as Tidemark does."
            raise Problem(cause, then="name it with --url")
    found = overall.body | {"ready": ready.status == 200, "readiness": ready.body.get("message") or ready.body.get("error")}  # noqa: PLR2004
    (write_json if as_json else write_facts)(found)
    if overall.body.get("status") != "ok" or not found["ready"]:
        raise Problem(str(found["readiness"]), Exit.DEGRADED, trace_id=ready.trace_id)


def migrate(
    *,
    contract: Annotated[bool, typer.Option("--contract", help="Also what takes away: once no older code serves.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the database of DATABASE_URL to the schema of this code."""
    from common import settings  # noqa: PLC0415
    from common.errors import AppError, Conflict, Unavailable  # noqa: PLC0415
    from common.flows import migrate as flow  # noqa: PLC0415
    from deploy.doctor import adopt_environment  # noqa: PLC0415

    adopt_environment()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            ran = flow.run(contract=contract)
    except settings.Misconfigured as error:
        raise Problem(str(error), Exit.USAGE, then="set the variables that it names") from error
    except Conflict as error:
        raise Problem(error.detail, Exit.CONFLICT) from error
    except Unavailable as error:
        raise Problem(error.detail, Exit.DEGRADED) from error
    except AppError as error:
        raise Problem(error.detail) from error
    if as_json:
        write_json({"applied": ran})
        return
    for name in ran:
        write(name)
    say(f"{len(ran)} migrations ran." if ran else "The schema is as this code needs it: nothing to do.")


def config(*, as_json: Json = False) -> None:
    """Which variables are set, where, and to what; of secrets only the beginning of a hash."""
    from common import settings  # noqa: PLC0415
    from deploy import environment  # noqa: PLC0415

    written = environment.load(environment.file())
    rows = [_shown(name, meta, written) for name, meta in _variables()]
    if as_json:
        write_json(rows)
    else:
        write_rows(tuple(rows[0]), [list(row.values()) for row in rows])
    try:
        settings.read(written | {name: value for name, value in os.environ.items() if value})
    except settings.Misconfigured as error:
        raise Problem(str(error), then="set the variables that it names") from error


def _variables() -> list[tuple[str, Any]]:
    from dataclasses import fields  # noqa: PLC0415

    from common.settings import Settings  # noqa: PLC0415

    return [(each.name.upper(), each.metadata) for each in fields(Settings)]


def _shown(name: str, meta: Any, written: dict[str, str]) -> dict[str, Any]:
    import re  # noqa: PLC0415

    from deploy.doctor import fingerprint  # noqa: PLC0415

    value = os.environ.get(name) or written.get(name, "")
    source = "environment" if os.environ.get(name) else "make run" if value else "default"
    if value and any(word in name for word in ("KEY", "TOKEN", "SECRET", "HOOK")):  # a hook's address is all it takes
        shown = f"sha256:{fingerprint(value)}"
    elif value:
        shown = re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:***@", value)  # the password of an address
    else:
        shown = meta["default"] if meta["default"] is not None else ""
    return {"name": name, "value": shown, "from": source, "what": meta["what"]}

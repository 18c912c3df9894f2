"""Verifying: that the place is whole, that what a plan did is what was written down, and a signature on that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, variable, write_facts, write_json, write_rows
from deploy.commands.options import Json, Token, Url, segment, unknown

PLANS = "tidemark plan status"
COLUMNS = ("check", "ok", "said")
VOTES = ("verifier", "vote", "reason")
NAMED = 10  # leaves that are named on a line


def verify(
    plan_id: Annotated[str | None, typer.Argument(help="A plan; else the place, and the last plan that succeeded.")] = None,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Compute every leaf's way to the root anew.")] = False,
    certify: Annotated[bool, typer.Option("--certify", help="And have the verifiers vote, for a signed certificate.")] = False,
    export: Annotated[str | None, typer.Option(help="Check this export instead: without a database and without a network.")] = None,
    save: Annotated[str | None, typer.Option(help="Write the plan's export to this file.")] = None,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Whether what was done is what was written down; exit status 1 when it is not, with what was altered."""
    if export is not None:
        if plan_id is not None or certify or save is not None:
            cause = "An export is checked by itself: give no plan with it, nor --certify or --save."
            raise Problem(cause, Exit.USAGE)
        _offline(export, as_json=as_json)
        return
    rows: list[dict[str, Any]] = []
    api = Api(url, key)
    if plan_id is None:
        rows.append(_installed())
        if not variable("FUNCTIONS_URL", url):
            say("No Tidemark is named (FUNCTIONS_URL or --url): only what is installed here was checked.")
            _conclude(rows, as_json=as_json)
            _unsaved(save)
            return
        rows += _place(api)
        plan_id = _last(api)
        if plan_id is None:
            rows.append(_row("plan", ok=True, said="no plan has succeeded yet"))
    if plan_id is not None:
        with unknown(then=PLANS):
            rows += _plan(api, plan_id, deep=deep, certify=certify)
            if save is not None:
                _save(api, plan_id, save)
    _conclude(rows, as_json=as_json)
    if plan_id is None:
        _unsaved(save)


def _unsaved(file: str | None) -> None:
    """Raises: Problem, when an export was asked for, and there is none."""
    if file is not None:
        cause = f"There is no plan whose export could be written to {file}."
        raise Problem(cause, Exit.NOT_FOUND, then=PLANS)


def certify_(plan_id: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Have the verifiers vote on a plan, and sign what they agree on; exit status 5 when they do not."""
    with unknown(then=PLANS):
        found = Api(url, key).call("POST", f"/api/hxo/plan/{segment(plan_id)}/certify")
    if as_json:
        write_json(found)
        return
    certificate = found["certificate"]
    write_facts({"plan_id": found["plan_id"]} | {name: value for name, value in certificate.items() if name != "statement"})
    votes = certificate["statement"]["predicate"]["consensus"]["votes"]
    write_rows(VOTES, [[each[column] for column in VOTES] for each in votes])


def _row(check: str, *, ok: bool, said: str, **more: Any) -> dict[str, Any]:
    return {"check": check, "ok": ok, "said": said, **more}


def _conclude(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Raises: Problem, when one of the checks did not go well."""
    if as_json:
        write_json({"ok": all(row["ok"] for row in rows), "checks": rows})
    else:
        write_rows(COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    bad = [row for row in rows if not row["ok"]]
    if bad:
        cause = "; ".join(f"{row['check']}: {row['said']}" for row in bad)
        raise Problem(cause, Exit.FAILED, then="tidemark doctor")


# The place -----------------------------------------------------------------------------------------------------------


def _installed() -> dict[str, Any]:
    """Whether what is installed here is whole: its migrations in order, and every plug-in one that can be loaded."""
    import importlib  # noqa: PLC0415

    from common import lookup  # noqa: PLC0415
    from common.errors import AppError  # noqa: PLC0415
    from common.stores import migrations  # noqa: PLC0415

    broken = []
    count = 0
    for package in ("shards", "targets", "sources", "queues", "signatures"):
        for name in lookup.names(package):
            count += 1
            try:
                importlib.import_module(f"common.{package}.{name}")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong with the installation
                broken.append(f"{package}/{name}: {type(error).__name__}: {error}")
    try:
        wanted = migrations.migrations()
    except AppError as error:
        broken.append(error.detail)
    said = "; ".join(broken) or f"{count} plug-ins and {len(wanted)} migrations"
    return _row("installation", ok=not broken, said=said)


def _place(api: Api) -> list[dict[str, Any]]:
    ready = api.ask("GET", "/health/ready")
    told = ready.body if isinstance(ready.body, dict) else {}
    said = str(told.get("message") or told.get("error") or told.get("detail") or f"status {ready.status}")
    database = api.get("/api/db/health")
    version, wanted = database["schema_version"], database["wanted_schema_version"]
    links = api.get("/api/hxo/links/health")["links"]
    down = sorted(name for name, link in links.items() if link["status"] == "down" and link.get("critical"))
    return [
        _row("ready", ok=ready.status == 200, said=said),  # noqa: PLR2004
        _row("schema", ok=version is not None and version >= wanted, said=f"version {version} of {wanted}"),
        _row("links", ok=not down, said=f"down: {', '.join(down)}" if down else f"{len(links)} looked at"),
    ]


def _last(api: Api) -> str | None:
    """The last plan that succeeded."""
    found = [each for each in api.get("/api/hxo/status")["plans"] if each["status"] == "succeeded"]
    return max(found, key=lambda each: str(each["finished_at"]))["plan_id"] if found else None


# A plan --------------------------------------------------------------------------------------------------------------


def _plan(api: Api, plan: str, *, deep: bool, certify: bool) -> list[dict[str, Any]]:
    path = f"/api/hxo/plan/{segment(plan)}"
    rows = []
    if deep:
        rows.append(_deep(api, path, plan))
    else:
        root = api.get(f"{path}/merkle-tree")["merkle_root"]
        rows.append(_row("root", ok=root is not None, said=f"{root}" if root else "the plan is not over", plan_id=plan))
    if certify and rows[-1]["ok"]:
        answer = api.ask("POST", f"{path}/certify")
        body = answer.body if isinstance(answer.body, dict) else {}
        ok = answer.status < 300 and bool(body.get("certified"))  # noqa: PLR2004
        said = str((body.get("certificate") or {}).get("certificate_id") or body.get("detail") or f"status {answer.status}")
        rows.append(_row("certificate", ok=ok, said=said, plan_id=plan))
    return rows


def _deep(api: Api, path: str, plan: str) -> dict[str, Any]:
    checked = count = 0
    after: str | None = None
    altered: list[dict[str, Any]] = []
    while True:
        found = api.get(f"{path}/verify-shards", after=after)
        checked += found["checked_shards"]
        count += found["altered_count"]
        altered += found["altered"]
        after = found["after"]
        if after is None:
            break
        say(f"  {checked:,} shards looked at")
    if altered:
        more = f" and {count - NAMED} more" if count > NAMED else ""
        return _row("leaves", ok=False, said=f"altered: {_places(altered)}{more}", plan_id=plan, altered=altered)
    if found["status"] == "unsealed":
        return _row("leaves", ok=False, said=f"{checked:,} shards, and the tree of results is not closed yet", plan_id=plan)
    is_clean = found["status"] == "clean"
    said = f"{checked:,} shards, root {found['computed_root']}"
    return _row("leaves", ok=is_clean, said=said if is_clean else f"{said}, not {found['merkle_root']}", plan_id=plan)


def _places(altered: list[dict[str, Any]]) -> str:
    return ", ".join(map(_where, altered[:NAMED]))


def _where(altered: dict[str, Any]) -> str:
    """The leaf, or the leaves, in words."""
    first, last = altered["from"], altered["to"] - 1
    return f"{altered['stage']} {first}" if first == last else f"{altered['stage']} {first} to {last}"


def _save(api: Api, plan: str, file: str) -> None:
    """Raises: Problem."""
    path: str | None = f"/api/hxo/plan/{segment(plan)}/export"
    try:
        with Path(file).open("w", encoding="utf-8") as out:
            while path is not None:
                answer = api.ask("GET", path)
                if answer.status != 200:  # noqa: PLR2004
                    api.accepted(answer, f"GET {path}")
                out.write(answer.text)
                link = answer.headers.get("link", "")
                path = link.partition(">")[0].removeprefix("<") if 'rel="next"' in link else None
    except OSError as error:
        cause = f"{file} cannot be written: {error.strerror}."
        raise Problem(cause, Exit.USAGE) from error
    say(f"Exported to {file}.")


def _offline(file: str, *, as_json: bool) -> None:
    """Raises: Problem, when the export is not good."""
    from common.errors import AppError  # noqa: PLC0415
    from common.settings import signing_key  # noqa: PLC0415
    from deploy.verify import verify_export  # noqa: PLC0415

    names = ("SEED_SECRET", "SEED_SECRET_PREVIOUS", "SECRET_KEY", "SECRET_KEY_PREVIOUS")
    keys = [signing_key(value) for name in names if (value := variable(name))]
    try:
        verdict = verify_export(file, keys)
    except AppError as error:
        raise Problem(error.detail, Exit.USAGE) from error
    found = vars(verdict) | {"altered": [each.told() for each in verdict.altered]}
    if as_json:
        write_json(found)
    else:
        write_facts({name: value for name, value in found.items() if value not in (None, [])})
    if not verdict.is_good:
        faults = [f"altered: {_places(found['altered'])}"] if verdict.altered else []
        faults += [
            f"the {name} is {said}" for name in ("signature", "certificate") if (said := found[name]) in {"bad", "unknown key"}
        ]
        cause = f"The export {file} is not good: {'; '.join(faults + verdict.problems)}."
        raise Problem(cause, Exit.FAILED, then=PLANS)

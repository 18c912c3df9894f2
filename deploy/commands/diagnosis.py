"""The doctor: what is wrong with a signature, or with this place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, variable, write_facts, write_json, write_rows
from deploy.commands.options import Json, Token, Url, segment

if TYPE_CHECKING:
    from common.rules.http import Request
    from deploy.doctor import Trial


def doctor(
    event_id: Annotated[str | None, typer.Argument(help="A stored event, whose signature is to be looked at.")] = None,
    *,
    body: Annotated[Path | None, typer.Option(help="File with a request's raw body; - for stdin.")] = None,
    query: Annotated[str, typer.Option(help="Its query string, as it was sent.")] = "",
    header: Annotated[list[str] | None, typer.Option(help="One of its headers, as `Name: value`; may be repeated.")] = None,
    method: Annotated[str, typer.Option(help="Its method.")] = "POST",
    scheme: Annotated[str | None, typer.Option(help="Only this scheme.")] = None,
    secret: Annotated[str | None, typer.Option(help="Try this secret; else those of ZOHO_WEBHOOK_SECRETS.")] = None,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """What is wrong: with the signature of an event or of a request in a file; without either, with this place."""
    from deploy import doctor as doctor_  # noqa: PLC0415

    doctor_.adopt_environment()
    if event_id is None and body is None:
        _examine_place(Api(url, key), as_json=as_json)
        return
    secrets = _secrets_to_try(scheme, secret)
    try:
        if event_id is not None:
            event = Api(url, key).get(f"/dashboard/recent-events/{segment(event_id)}")
            if not header:
                _explain_stored(event, secrets, as_json=as_json)
                return
            request = doctor_.with_headers(doctor_.stored(event), header)
        else:
            request = doctor_.with_headers(_request_of(body, query, method), header or [])
    except ValueError as error:
        raise Problem(str(error), Exit.USAGE) from error
    _examine_request(request, secrets, as_json=as_json)


def _examine_place(api: Api, *, as_json: bool) -> None:
    from deploy import doctor as doctor_  # noqa: PLC0415

    found = doctor_.checks(api)
    words = {True: "ok", False: "failed", None: "unknown"}
    if as_json:
        write_json([{"name": check.name, "status": words[check.is_well], "detail": check.said} for check in found])
    else:
        write_rows(("check", "status", "detail"), [(check.name, words[check.is_well], check.said) for check in found])
    failed = [check.name for check in found if check.is_well is False]
    if failed:
        cause = f"Not well: {', '.join(failed)}."
        raise Problem(cause, Exit.DEGRADED, then="put right what the first of them says, and run `tidemark doctor` again")


def _secrets_to_try(scheme: str | None, secret: str | None) -> list[tuple[str, str]]:
    from common import lookup  # noqa: PLC0415
    from deploy import doctor as doctor_  # noqa: PLC0415

    schemes = lookup.names("signatures")
    if scheme is not None and scheme not in schemes:
        cause = f"There is no scheme {scheme}; there are: {', '.join(schemes)}."
        raise Problem(cause, Exit.USAGE)
    if secret:
        return [(name, secret) for name in schemes if scheme in {None, name}]
    known = doctor_.known_secrets(variable("ZOHO_WEBHOOK_SECRETS"))
    found = [(name, each) for name, each in known if scheme in {None, name}]
    if not found:
        cause = "There is no secret to try."
        raise Problem(cause, Exit.USAGE, then="give --secret, or set ZOHO_WEBHOOK_SECRETS")
    return found


def _request_of(body: Path | None, query: str, method: str) -> Request:
    from common.rules.http import Request  # noqa: PLC0415

    try:
        raw = sys.stdin.buffer.read() if str(body) == "-" else Path(body or "").read_bytes()
    except OSError as error:
        cause = f"{body} cannot be read: {error.strerror}."
        raise Problem(cause, Exit.USAGE) from error
    return Request(method.upper(), "/webhooks/", query.removeprefix("?"), (), raw)


def _explain_stored(event: dict[str, Any], secrets: list[tuple[str, str]], *, as_json: bool) -> None:
    from deploy import doctor as doctor_  # noqa: PLC0415

    by = str(event.get("signed_by") or "")
    known = by in {f"{name}:{doctor_.fingerprint(each)}" for name, each in secrets}
    facts = {"event_id": event["event_id"], "signed_by": by or None, "secret_is_known_here": known}
    (write_json if as_json else write_facts)(facts)
    say(
        f"It was let in: its signature was right, by {by}, which is {'one' if known else 'none'} of the secrets known here."
        " The signature itself is not kept; to try variants, give it with --header."
    )


def _examine_request(request: Request, secrets: list[tuple[str, str]], *, as_json: bool) -> None:
    from common.errors import AppError  # noqa: PLC0415
    from deploy import doctor as doctor_  # noqa: PLC0415

    try:
        found: list[Trial] = list(doctor_.trials(request, secrets))
        said = doctor_.diagnosis(request, secrets, found)
        is_right = doctor_.is_let_in(request, secrets)
    except AppError as error:
        raise Problem(error.detail, then="send each header once") from error
    if as_json:
        write_json({"is_right": is_right, "diagnosis": said, "variants": [vars(trial) for trial in found]})
    else:
        matching = [trial for trial in found if trial.matches]
        write_rows(("scheme", "secret", "variant"), [(trial.scheme, trial.secret, trial.variant) for trial in matching])
        say(said) if is_right else None
    if not is_right:
        raise Problem(said, then="tidemark doctor --help")

"""The doctor: what is wrong with a signature, and what is wrong with this place."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

from common import db, log, lookup, settings
from common.errors import AppError
from common.flows import migrate
from common.rules.http import Request
from deploy import environment
from deploy.client import Api, Problem

SKEW_SECONDS = 30.0  # a tenth of what signatures with a time stamp allow


# Signatures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """One way of signing, with one secret, and whether the request was signed so."""

    scheme: str
    secret: str  # its fingerprint
    variant: str
    matches: bool


def fingerprint(secret: str) -> str:
    """What may be shown of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def known_secrets(text: str) -> list[tuple[str, str]]:
    """(scheme, secret) of each of ZOHO_WEBHOOK_SECRETS, as the receiver reads them."""
    found = []
    for each in filter(None, (part.strip() for part in text.split(","))):
        scheme, _, secret = each.rpartition(":")
        found.append((scheme or ("standard_webhooks" if secret.startswith("whsec_") else "zoho"), secret))
    return found


def stored(event: dict[str, Any]) -> Request:
    """The request of a stored event. Its secrets were not kept, so its signature is missing."""
    headers = tuple((name, value) for name, value in (event["headers"] or {}).items() if value != log.REDACTED)
    body = base64.b64decode(event["body_base64"] or "")
    return Request(event["method"] or "POST", "/webhooks/", event["query"] or "", headers, body)


def with_headers(request: Request, headers: Sequence[str]) -> Request:
    """The request with further headers, each written `Name: value`.

    Raises: ValueError.
    """
    added = []
    for text in headers:
        name, colon, value = text.partition(":")
        if not colon:
            message = f"{text!r} is not a header such as 'X-Zoho-Webhook-Signature: 9f86d0...'"
            raise ValueError(message)
        added.append((name.strip().lower(), value.strip()))
    return replace(request, headers=(*request.headers, *added))


def offered(request: Request) -> list[str]:
    """The schemes whose signature the request carries.

    Raises: Refused, when one is carried twice.
    """
    return [name for name in lookup.names("signatures") if lookup.find("signatures", name).is_offered(request)]


def trials(request: Request, secrets: Sequence[tuple[str, str]]) -> Iterator[Trial]:
    """Every way of signing, documented or mistaken, that any of the secrets allows."""
    for scheme, secret in secrets:
        for variant, is_match in lookup.find("signatures", scheme).variants(secret, request):
            yield Trial(scheme, fingerprint(secret), variant, is_match)


def is_let_in(request: Request, secrets: Sequence[tuple[str, str]]) -> bool:
    """Whether the receiver would let the request in."""
    return any(
        (plug := lookup.find("signatures", scheme)).is_offered(request) and plug.matches(secret, request)
        for scheme, secret in secrets
    )


def diagnosis(request: Request, secrets: Sequence[tuple[str, str]], found: Sequence[Trial]) -> str:
    """What is wrong, and what to do about it, in words."""
    if is_let_in(request, secrets):
        return "The signature is right: the request would be let in."
    carried = offered(request)
    if not carried:
        headers = ", ".join(lookup.find("signatures", name).HEADER for name in lookup.names("signatures"))
        return f"The request carries no signature. It was looked for in the headers {headers}."
    matching = [trial for trial in found if trial.matches]
    if matching:
        return (
            f"The secret {matching[0].secret} is right, but the signature was made otherwise than the scheme"
            f" {matching[0].scheme} says: {matching[0].variant}. Correct the sender, or what changes the request on its way."
        )
    if not any(scheme in carried for scheme, _ in secrets):
        return f"The request is signed by the scheme {', '.join(carried)}, for which there is no secret here."
    return (
        "No known way of signing leads to this signature with these secrets: most likely the secret is another one,"
        " or the body was changed on its way (parsed and written anew, or cut)."
    )


# This place ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `is_well` is None where it could not be."""

    name: str
    is_well: bool | None
    said: str


def checks(api: Api) -> list[Check]:
    """Everything that can be looked at from here."""
    looks: list[tuple[str, Callable[[Api], tuple[bool | None, str]]]] = [
        ("configuration", _configuration),
        ("webhook secrets", _secrets),
        ("service", _service),
        ("readiness", _readiness),
        ("token", _token),
        ("clock of the service", _service_clock),
        ("database", _database),
        ("schema", _schema),
        ("clock of the database", _database_clock),
    ]
    found = []
    for name, look in looks:
        try:
            found.append(Check(name, *look(api)))
        except (Problem, AppError, settings.Misconfigured) as error:
            found.append(Check(name, is_well=False, said=str(error)))
    return found


def adopt_environment() -> None:
    """Take over what `make run` wrote down, where the environment says nothing."""
    for name, value in environment.load(environment.file()).items():
        if not os.environ.get(name):
            os.environ[name] = value
    settings.load.cache_clear()


def _configuration(_: Api) -> tuple[bool, str]:
    settings.read(os.environ)
    return True, "every variable can be read"


def _secrets(_: Api) -> tuple[bool, str]:
    known = known_secrets(os.environ.get("ZOHO_WEBHOOK_SECRETS", ""))
    unknown = {scheme for scheme, _ in known} - set(lookup.names("signatures"))
    if unknown:
        return False, f"there is no scheme {', '.join(sorted(unknown))}"
    if not known:
        return False, "ZOHO_WEBHOOK_SECRETS is not set: every webhook is refused"
    return True, ", ".join(f"{scheme}:{fingerprint(secret)}" for scheme, secret in known)


def _service(api: Api) -> tuple[bool, str]:
    began = time.perf_counter()
    answer = api.ask("GET", "/health/live")
    return answer.status == 200, f"{api.url} answers in {(time.perf_counter() - began) * 1000:.0f} ms"  # noqa: PLR2004


def _readiness(api: Api) -> tuple[bool, str]:
    answer = api.ask("GET", "/health/ready")
    told = answer.body if isinstance(answer.body, dict) else {}
    return answer.status == 200, str(told.get("message") or told.get("error") or f"status {answer.status}")  # noqa: PLR2004


def _token(api: Api) -> tuple[bool, str]:
    api.call("GET", "/health/diag")
    return True, "it is accepted"


def _service_clock(api: Api) -> tuple[bool | None, str]:
    told = api.ask("GET", "/health/live").headers.get("date")
    if told is None:
        return None, "the service does not tell its time"
    return _skew(parsedate_to_datetime(told).timestamp())


def _database(_: Api) -> tuple[bool | None, str]:
    if not os.environ.get("DATABASE_URL"):
        return None, "DATABASE_URL is not set here"
    began = time.perf_counter()
    version = _asked("select current_setting('server_version')")
    return True, f"PostgreSQL {version} answers in {(time.perf_counter() - began) * 1000:.0f} ms"


def _schema(_: Api) -> tuple[bool | None, str]:
    if not os.environ.get("DATABASE_URL"):
        return None, "DATABASE_URL is not set here"
    wanted = migrate.migrations()[-1].version
    there = _asked("select to_regclass('public.tds_schema_versions') is not null")
    version = _asked("select max(version) from public.tds_schema_versions") if there else None
    if version == wanted:
        return True, f"it is at {version}, as this code needs"
    return False, f"it is at {version or 'nothing'}, this code needs {wanted}: run `tidemark migrate`"


def _database_clock(_: Api) -> tuple[bool | None, str]:
    if not os.environ.get("DATABASE_URL"):
        return None, "DATABASE_URL is not set here"
    return _skew(float(_asked("select extract(epoch from clock_timestamp())")))


def _asked(statement: str) -> Any:
    connection = db.Connection(db.Address(os.environ["DATABASE_URL"]))
    try:
        return connection.script(statement)[0][0]
    finally:
        connection.close()


def _skew(seconds: float) -> tuple[bool, str]:
    apart = abs(time.time() - seconds)
    near = f"{apart:.0f} s apart from this machine's" if apart >= 1 else "together with this machine's"
    return apart <= SKEW_SECONDS, near

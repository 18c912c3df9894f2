"""`tidemark`, also `hxoctl`: the command line. It imports nothing heavy before a command needs it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from deploy.client import Api, Exit, Problem, report, say, variable, write, write_facts, write_json, write_rows

if TYPE_CHECKING:
    from common.rules.http import Request
    from deploy.doctor import Trial
    from deploy.local.sender import Reply

PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
app = typer.Typer(help="Tidemark: webhooks in, stored, applied once.", **PLAIN)
webhook = typer.Typer(help="Webhooks: send them as Zoho would.", **PLAIN)
events = typer.Typer(help="Events that were received.", **PLAIN)
queue = typer.Typer(help="The queue.", **PLAIN)
dead_letters = typer.Typer(help="Events that ended badly.", **PLAIN)
token = typer.Typer(help="Tokens of operators.", **PLAIN)
for _name, _group in {"webhook": webhook, "events": events, "queue": queue, "dead-letters": dead_letters, "token": token}.items():
    app.add_typer(_group, name=_name)

Json = Annotated[bool, typer.Option("--json", help="Data as JSON.")]
Url = Annotated[str | None, typer.Option("--url", help="Where Tidemark is; else FUNCTIONS_URL, else as `make run` wrote it down.")]
Token = Annotated[str | None, typer.Option("--token", help="Who you are; else TIDEMARK_TOKEN, else ADMIRAL_TOKEN.")]
MANY = 20  # from here on, deliveries go over several connections and only their sum is shown


def main() -> NoReturn:
    """Run a command; what went wrong becomes words on stderr and an exit status."""
    try:
        app()
    except Problem as fault:
        report(fault, as_json="--json" in sys.argv)
        sys.exit(int(fault.code))
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


# Events, queue, dead letters, tokens --------------------------------------------------------------------------------


@events.command("list")
def list_events(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """The events that came last, and what became of each."""
    found = Api(url, key).get("/dashboard/recent-events", limit=limit, entity=entity)
    if as_json:
        write_json(found["events"])
        return
    columns = ("event_id", "received_at", "entity_type", "entity_id", "operation", "status", "outcome", "error_message")
    write_rows(columns, [[event.get(column) for column in columns] for event in found["events"]])


@events.command("show")
def show_event(event_id: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """One event, whole."""
    found = Api(url, key).get(f"/dashboard/recent-events/{_segment(event_id)}")
    (write_json if as_json else write_facts)(found)


@queue.command("stats")
def queue_stats(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """How many events are in each state, and how each ended so far."""
    found = Api(url, key).get("/queue/stats")
    if as_json:
        write_json(found)
        return
    outcomes = found.pop("outcomes", None) or {}
    write_facts({name: value for name, value in found.items() if value != {}})
    write_facts({f"outcome {name}": number for name, number in outcomes.items()})


@dead_letters.command("list")
def list_dead_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Dead letters and quarantined events, latest first."""
    found = Api(url, key).get("/dashboard/dead-letter", limit=limit)
    if as_json:
        write_json(found["items"])
        return
    columns = ("id", "kind", "at", "entity_type", "entity_id", "attempts", "error_code", "reason")
    write_rows(columns, [[item.get(column) for column in columns] for item in found["items"]])


@dead_letters.command("retry")
def retry_dead_letter(identifier: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Give a dead letter one more attempt, now."""
    with _unknown(then="tidemark dead-letters list"):
        found = Api(url, key).call("POST", f"/dashboard/dead-letter/{_segment(identifier)}/retry")
    (write_json if as_json else write_facts)(found)


@token.command("create")
def create_token(
    name: str,
    *,
    role: Annotated[str, typer.Option(help="owner, operator or viewer.")] = "viewer",
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it counts.")] = 90,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """A new token; it is shown this once and never again."""
    found = Api(url, key).call("POST", "/admin/tokens", {"name": name, "role": role, "days": days})
    if as_json:
        write_json(found)
        return
    say(f"Token {found['id']} for {name}, as {found['role']}, for {days} days. Keep it now: it is not shown again.")
    write(found["token"])


@token.command("list")
def list_tokens(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Every token, without what proves it."""
    found = Api(url, key).get("/admin/tokens")["tokens"]
    if as_json:
        write_json(found)
        return
    columns = tuple(found[0]) if found else ("id", "name", "role")
    write_rows(columns, [[each.get(column) for column in columns] for each in found])


@token.command("revoke")
def revoke_token(identifier: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Let a token count no more."""
    with _unknown(then="tidemark token list"):
        found = Api(url, key).call("DELETE", f"/admin/tokens/{_segment(identifier)}")
    (write_json if as_json else write_facts)(found)


@contextlib.contextmanager
def _unknown(*, then: str) -> Iterator[None]:
    """What to look at when there is no such thing."""
    try:
        yield
    except Problem as fault:
        if fault.code == Exit.NOT_FOUND:
            fault.then = then
        raise


def _segment(text: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415

    return quote(text, safe="")


# The place ----------------------------------------------------------------------------------------------------------


@app.command()
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


@app.command()
def migrate(*, as_json: Json = False) -> None:
    """Bring the database of DATABASE_URL to the schema of this code."""
    from common import settings  # noqa: PLC0415
    from common.errors import AppError, Conflict, Unavailable  # noqa: PLC0415
    from common.flows import migrate as flow  # noqa: PLC0415
    from deploy.doctor import adopt_environment  # noqa: PLC0415

    adopt_environment()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            ran = flow.run()
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


@app.command()
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
    if value and any(word in name for word in ("KEY", "TOKEN", "SECRET")):
        shown = f"sha256:{fingerprint(value)}"
    elif value:
        shown = re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:***@", value)  # the password of an address
    else:
        shown = meta["default"] if meta["default"] is not None else ""
    return {"name": name, "value": shown, "from": source, "what": meta["what"]}


# The doctor ---------------------------------------------------------------------------------------------------------


@app.command()
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
            event = Api(url, key).get(f"/dashboard/recent-events/{_segment(event_id)}")
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


# Sending ------------------------------------------------------------------------------------------------------------


Share = Annotated[float, typer.Option(min=0, max=1, help="The share of deliveries that it happens to.")]


@webhook.command("send")
def send(
    entity: Annotated[str, typer.Argument(help="An entity, such as invoice, or `all`.")],
    *,
    count: Annotated[int, typer.Option(min=1, help="How many deliveries.")] = 1,
    duplicates: Share = 0.0,
    disorder: Share = 0.0,
    faults: Annotated[bool, typer.Option("--faults", help="Everything that goes wrong in earnest.")] = False,
    seed: Annotated[int | None, typer.Option(help="The same seed sends the same.")] = None,
    method: Annotated[str | None, typer.Option(help="POST, PUT or DELETE; else as it comes.")] = None,
    body_form: Annotated[str | None, typer.Option(help="Such as default, form, json_string, raw; else as it comes.")] = None,
    secret: Annotated[str | None, typer.Option(help="`secret` or `scheme:secret`; else the first of ZOHO_WEBHOOK_SECRETS.")] = None,
    as_json: Json = False, url: Url = None,
) -> None:  # fmt: skip
    """Send webhooks as Zoho would, signed; exit status 1 when an answer is not what it should be."""
    from dataclasses import replace  # noqa: PLC0415

    from deploy.local.zoho.emitter import NO_FAULTS, Faults  # noqa: PLC0415

    shares = Faults() if faults else NO_FAULTS
    shares = replace(shares, duplicates=duplicates or shares.duplicates, disorder=disorder or shares.disorder)
    chosen = seed if seed is not None else time.time_ns() // 1_000_000
    emitter = _emitter(entity, chosen, method, body_form, secret)
    replies = _sent(Api(url).url, list(emitter.deliveries(count, shares)), 8 if count > MANY else 1)
    _show_replies(replies, as_json=as_json)
    say(f"{len(replies)} deliveries were answered (--seed {chosen}).")
    _judge(replies)


def _emitter(entity: str, seed: int, method: str | None, form: str | None, secret: str | None) -> Any:
    from deploy.doctor import known_secrets  # noqa: PLC0415
    from deploy.local.zoho.emitter import FORMS, Emitter, kind_of  # noqa: PLC0415
    from deploy.local.zoho.kinds import KINDS  # noqa: PLC0415

    kind = kind_of(entity)
    if kind is None and entity != "all":
        cause = f"There is no entity {entity}; there are: {', '.join(KINDS)}, all."
        raise Problem(cause, Exit.USAGE)
    if form is not None and form not in FORMS:
        cause = f"There is no form {form}; there are: {', '.join(FORMS)}."
        raise Problem(cause, Exit.USAGE)
    if method is not None and method.upper() not in {"POST", "PUT", "DELETE"}:
        cause = "The method must be POST, PUT or DELETE."
        raise Problem(cause, Exit.USAGE)
    known = known_secrets(secret or variable("ZOHO_WEBHOOK_SECRETS"))
    if not known:
        cause = "There is no secret to sign with."
        raise Problem(cause, Exit.USAGE, then="give --secret, or set ZOHO_WEBHOOK_SECRETS")
    scheme, own = known[0]
    return Emitter(
        seed, variable("ZOHO_ORGANIZATION_ID"), own, scheme=scheme, labels=[kind.label] if kind else [], form=form,
        method=method.upper() if method else None,
    )  # fmt: skip


def _sent(url: str, deliveries: list[Any], connections: int) -> list[Reply]:
    from deploy.local.sender import Sender  # noqa: PLC0415

    sender = Sender(url, connections)
    sender.start(deliveries)
    try:
        while not sender.is_done:
            time.sleep(0.01)
    except OSError as error:
        raise Problem(str(error), then="start it with `make run`, or name it with --url") from error
    finally:
        sender.stop()
    return sender.replies


def _show_replies(replies: list[Reply], *, as_json: bool) -> None:
    if as_json:
        for reply in replies:
            event = reply.delivery.events[0]
            facts = {"number": reply.delivery.number, "form": reply.delivery.form, "method": reply.delivery.request.method}
            facts |= {"entity": event.kind.label, "entity_id": event.id, "status": reply.status}
            write_json(facts | {"milliseconds": round(reply.seconds * 1000, 1), "answer": reply.body})
        return
    if len(replies) <= MANY:
        write_rows(("entity", "entity_id", "form", "method", "status", "event_id", "message"), [_row(reply) for reply in replies])
        return
    totals: dict[str, int] = {}
    for verdict in (verdict for reply in replies for verdict in reply.verdicts):
        totals[verdict] = totals.get(verdict, 0) + 1
    write_facts(totals)


def _row(reply: Reply) -> tuple[Any, ...]:
    delivery, event = reply.delivery, reply.delivery.events[0]
    said = reply.body.get("message") or reply.body.get("detail")
    return event.kind.label, event.id, delivery.form, delivery.request.method, reply.status, reply.body.get("event_id"), said


def _judge(replies: list[Reply]) -> None:
    from deploy.local.sender import surprises  # noqa: PLC0415

    found = surprises(replies)
    if not found:
        return
    refused = next((reply for reply in replies if reply.status in {401, 403} and reply.delivery.status != reply.status), None)
    trace_id = str(refused.body.get("trace_id") or "") if refused else None
    cause = "\n".join(("Not every answer was as it should be:", *(f"  {each}" for each in found[:10])))
    raise Problem(cause, Exit.AUTH if refused else Exit.FAILED, then="tidemark doctor", trace_id=trace_id)


if __name__ == "__main__":
    main()

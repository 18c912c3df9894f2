"""Webhooks: sent as Zoho would."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, variable, write_facts, write_json, write_rows
from deploy.commands.options import Json, Url, group

if TYPE_CHECKING:
    from deploy.local.sender import Reply

webhook = group("Webhooks: send them as Zoho would.")
MANY = 20  # from here on, deliveries go over several connections and only their sum is shown
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

"""AWS Lambda: hands what API Gateway, SQS and the scheduler send to the same functions, through functions-framework.

What SQS and the scheduler send is let in by IAM before it comes here, so the handler adds the task key itself.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import log, settings
from common.errors import Unauthentic
from common.rules import capability

MAIN = str(Path(__file__).resolve().parent.parent.parent / "functions" / "main.py")


@functools.cache
def _application(target: str) -> Any:
    from functions_framework import create_app  # noqa: PLC0415

    return create_app(target, MAIN, "http")  # type: ignore[no-untyped-call]


@functools.cache
def _gateway(target: str) -> Callable[[Any, Any], Any]:
    from apig_wsgi import make_lambda_handler  # noqa: PLC0415

    handler: Callable[[Any, Any], Any] = make_lambda_handler(_application(target))
    return handler


def _task(function: str, body: str = "", token: str = "") -> int:
    """Run a function as a task; the status of its answer. The clock's has neither body nor token."""
    from werkzeug.test import Client  # noqa: PLC0415 - werkzeug's own way to call a WSGI application

    headers = {"Authorization": f"Bearer {settings.load().task_key}", "Content-Type": "application/json", capability.HEADER: token}
    return Client(_application(function)).post(f"/tasks/{function}", data=body.encode(), headers=headers).status_code


def handler(target: str) -> Callable[[dict[str, Any], Any], Any]:
    """The Lambda handler of a function, whatever triggers it."""

    def handle(event: dict[str, Any], context: Any) -> Any:
        if "Records" in event:
            return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in event["Records"] if not _rung(each)]}
        if "requestContext" in event:
            return _gateway(target)(event, context)
        status = _task(target)
        if not _is_done(status):
            message = f"The scheduled {target} answered {status}."
            raise RuntimeError(message)  # so that the scheduler tries again
        return {"status": status}

    return handle


def _rung(record: dict[str, Any]) -> bool:
    """Whether a message was worked off; one that cannot be read, or is refused, never will be, so it is dropped."""
    try:
        message = json.loads(record["body"])
        function, body, token = (str(message[name]) for name in ("function", "body", "token"))
    except (ValueError, KeyError, TypeError):
        log.error("ring.unreadable", message_id=record.get("messageId"))
        return True
    status = _task(function, body, token)
    return _is_done(status) or status == Unauthentic.status


def _is_done(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


webhook, process, tick, status, health, admin = map(handler, ("webhook", "process", "tick", "status", "health", "admin"))
sync, reconcile, heal, shards, plans, schedules = map(handler, ("sync", "reconcile", "heal", "shards", "plans", "schedules"))

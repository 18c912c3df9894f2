"""The one deploy source: puts the project on the path and exposes every target; a target's code loads at its first call."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def _run(target: str, request: Any) -> Any:
    return importlib.import_module(f"functions.{target}").main(request)


if os.environ.get("FUNCTION_USE_ASGI", "").lower() in {"1", "true"}:

    async def webhook(request: Any) -> Any:
        """Receive webhooks, many in one transaction."""
        return await importlib.import_module("functions.webhook").main_together(request)

else:

    def webhook(request: Any) -> Any:  # type: ignore[misc] # functions-framework looks at which kind it is
        """Receive webhooks."""
        return _run("webhook", request)


def process(request: Any) -> Any:
    """Apply what waits."""
    return _run("process", request)


def tick(request: Any) -> Any:
    """Ring for ready work, once a minute."""
    return _run("tick", request)


def shards(request: Any) -> Any:
    """Work through the lanes of plans."""
    return _run("shards", request)


def plans(request: Any) -> Any:
    """Submit plans, watch and stop them."""
    return _run("plans", request)


def sync(request: Any) -> Any:
    """Start a sync."""
    return _run("sync", request)


def reconcile(request: Any) -> Any:
    """Compare the source with what is here, and repair."""
    return _run("reconcile", request)


def heal(request: Any) -> Any:
    """Put right what has come to a halt."""
    return _run("heal", request)


def schedules(request: Any) -> Any:
    """List and change schedules."""
    return _run("schedules", request)


def status(request: Any) -> Any:
    """Read how things stand."""
    return _run("status", request)


def health(request: Any) -> Any:
    """Read whether this instance and its database are well."""
    return _run("health", request)


def admin(request: Any) -> Any:
    """What operators do."""
    return _run("admin", request)

"""The source of a local run: a stand-in for Zoho with records of every entity, unless somebody brings a source of their own."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from deploy.local.processes import Processes
from deploy.local.zoho.clock import Clock
from deploy.local.zoho.tokens import Tokens

PORT = 8090
SEED = 1
# A few thousand records, in so few pages that even Zoho's own rate lets them through within a minute.
SIZES = {
    "user": 12, "customer": 500, "vendor": 100, "product": 800, "price_list": 8, "order": 500, "invoice": 800, "bill": 200,
    "credit_note": 100, "payment": 500, "stock_adjustment": 60,
}  # fmt: skip
ANSWER_SECONDS = 30.0
NO_DEMONSTRATION = "\nNo demonstration: ZOHO_* name a source of your own, and it would write invented records beside yours."


def variables(port: int) -> dict[str, str]:
    """What leads Tidemark to the stand-in, and opens it."""
    tokens, url = Tokens(SEED, Clock()), f"http://127.0.0.1:{port}"
    return {
        "ZOHO_CLIENT_ID": tokens.client_id, "ZOHO_CLIENT_SECRET": tokens.client_secret, "ZOHO_REFRESH_TOKEN": tokens.refresh_token,
        "ZOHO_API_URL": url, "ZOHO_ACCOUNTS_URL": url,
    }  # fmt: skip


def chosen(environ: Mapping[str, str], former: Mapping[str, str], port: int) -> dict[str, str]:
    """The stand-in's variables; none when the environment brings another source."""
    ours = variables(port)
    return {} if is_brought(environ, ours, former) else ours


def is_brought(environ: Mapping[str, str], ours: Mapping[str, str], former: Mapping[str, str]) -> bool:
    """Whether the environment names another source than the stand-in; what was sourced from our own file names none."""
    kept = former if former.get("ZOHO_CLIENT_ID") == ours["ZOHO_CLIENT_ID"] else {}
    return any(environ.get(name) and environ[name] not in {value, kept.get(name)} for name, value in ours.items())


def start(processes: Processes, state: Path, listener: socket.socket, organization: str) -> None:
    """Start the stand-in on a socket that listens.

    It goes on where the last one of this directory ended: what the database remembers, it must remember, too.
    """
    sizes = [word for label, size in SIZES.items() for word in (f"--{_option(label)}", str(size))]
    words = f"--fd {listener.fileno()} --seed {SEED} --organization {organization} --journal".split()
    words += [str(state / "zoho.jsonl"), *sizes]
    processes.start("zoho", "deploy.local.zoho", words, os.environ, pass_fds=[listener.fileno()])


def _option(label: str) -> str:
    return "items" if label == "product" else f"{label}s".replace("_", "-")


def ask(url: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """What the stand-in answers to a request under /_/.

    Raises: OSError, when it does not answer, or refuses.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET" if body is None else "POST", f"/_/{path}", None if body is None else orjson.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
    except http.client.HTTPException as error:
        message = f"the stand-in's answer to /_/{path} broke off"
        raise OSError(message) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        message = f"the stand-in answered /_/{path} with {answer.status}: {text[:200].decode(errors='replace')}"
        raise OSError(message)
    return orjson.loads(text)

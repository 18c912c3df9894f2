"""What commands have in common: their options, and what they say when there is no such thing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from deploy.client import Exit, Problem

PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
Json = Annotated[bool, typer.Option("--json", help="Data as JSON.")]
Url = Annotated[str | None, typer.Option("--url", help="Where Tidemark is; else FUNCTIONS_URL, else as `make run` wrote it down.")]
Token = Annotated[str | None, typer.Option("--token", help="Who you are; else TIDEMARK_TOKEN, else ADMIRAL_TOKEN.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many.")]


def group(help_: str) -> typer.Typer:
    """A noun with verbs."""
    return typer.Typer(help=help_, **PLAIN)


@contextlib.contextmanager
def unknown(*, then: str) -> Iterator[None]:
    """What to look at when there is no such thing."""
    try:
        yield
    except Problem as fault:
        if fault.code == Exit.NOT_FOUND:
            fault.then = then
        raise


def segment(text: str) -> str:
    """What stands between two slashes of a path."""
    from urllib.parse import quote  # noqa: PLC0415

    return quote(text, safe="")


def read_json(file: str) -> dict[str, Any]:
    """The JSON object in a file; - for stdin. Raises: Problem."""
    import json  # noqa: PLC0415
    import sys  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    try:
        found = json.loads(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except OSError as error:
        cause = f"{file} cannot be read: {error.strerror}."
        raise Problem(cause, Exit.USAGE) from error
    except ValueError as error:
        cause = f"{file} is not JSON: {error}."
        raise Problem(cause, Exit.USAGE) from error
    if not isinstance(found, dict):
        cause = f"{file} is not a JSON object."
        raise Problem(cause, Exit.USAGE)
    return found

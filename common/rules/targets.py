"""What the config of any target may say; each provider adds its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from common.rules import addresses
from common.rules.plan import Reader

NAME = re.compile("[a-z0-9][a-z0-9-]{0,62}")
PATH = re.compile(r"/[\w./~-]{0,255}", re.ASCII)
FIELD = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)
BRANCH = re.compile(r"[\w][\w./-]{0,127}", re.ASCII)
VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]{0,127}")
COMMIT = re.compile("[0-9a-f]{7,64}")
MOST_VARIABLES = 500
# Of every provider: where it runs, how it is asked, what it must have in its environment, what is its own business there.
SHARED = frozenset(
    {
        "branch",
        "url",  # where it runs
        "public_url",  # where people reach it, or the one that it is switched with
        "health_path",
        "version_path",
        "version_field",
        "drain_url",
        "migrate_command",
        "required_env",  # names of variables that it must have
        "own_env",  # names of variables that are its own business: no other target is compared with it in them
    }
)
ADDRESSES = ("url", "public_url", "drain_url")  # that are called, and so must lead to the open net


def check(config: Mapping[str, Any], reader: Reader, own: frozenset[str]) -> None:
    """Note what is wrong with what targets share; `own` are the fields that the provider reads itself."""
    reader.unknown(config, SHARED | own, "/config")
    for name in ("health_path", "version_path"):
        matched(config, name, PATH, reader, "must be a path such as /health/live")
    matched(config, "version_field", FIELD, reader, "must be the name of a field, such as version or build.commit")
    matched(config, "branch", BRANCH, reader, "must be the name of a branch")
    for name in ADDRESSES:
        if name in config:
            address(config[name], f"/config/{name}", reader)
    if "migrate_command" in config:
        reader.text(config["migrate_command"], "/config/migrate_command", 512)
    for name in ("required_env", "own_env"):
        _variables(config.get(name, []), f"/config/{name}", reader)


def matched(config: Mapping[str, Any], name: str, pattern: re.Pattern[str], reader: Reader, message: str) -> None:
    """Note a text that is there and not of this form."""
    value = config.get(name)
    if name in config and not (isinstance(value, str) and pattern.fullmatch(value)):
        reader.fault(f"/config/{name}", message)


def address(value: Any, pointer: str, reader: Reader) -> None:
    """Note what is no address; where it leads is for others to look at."""
    read = addresses.read(value) if isinstance(value, str) else addresses.EXAMPLE
    if isinstance(read, str):
        reader.fault(pointer, read)


def named(config: Mapping[str, Any], name: str, known: Sequence[str], reader: Reader) -> None:
    """Note a secret that stands there itself, or under the name of a variable that is none of these. It is not repeated."""
    if name in config and config[name] not in known:
        reader.fault(f"/config/{name}", f"must be the name of a variable: {', '.join(known)}; never the secret itself")


def _variables(value: Any, pointer: str, reader: Reader) -> None:
    is_list = isinstance(value, list) and len(value) <= MOST_VARIABLES
    if not is_list or not all(isinstance(each, str) and VARIABLE.fullmatch(each) for each in value):
        reader.fault(pointer, f"must be a list of names of variables, {MOST_VARIABLES} at most")


# What providers tell ---------------------------------------------------------------------------------------------


def instant(text: Any) -> datetime | None:
    """A moment as providers write it; None, when there is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def paged(read: Callable[[int], Sequence[Any]], size: int, most: int) -> list[Any]:
    """What stands on pages 1, 2, ..., until one is not full; `most` pages."""
    found: list[Any] = []
    for page in range(1, most + 1):
        rows = read(page)
        found += rows
        if len(rows) < size:
            break
    return found

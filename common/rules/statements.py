"""One statement of SQL as somebody hands it over: what it does, what it asks for, and whether doing it twice does it once.

It reads words, not grammar, and is careful: what it cannot tell counts as not idempotent. It is a guard rail, beside the
role that such a statement runs as; it is no wall against an owner who wants to break out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_CHARACTERS = 20_000
RANGE, PAGE = frozenset({"lo", "hi"}), frozenset({"offset", "limit"})
WRITING = ("update", "insert", "delete")
# What runs text as SQL, or changes who runs it, or leaves the database.
OUTSIDE = re.compile(
    r"\b(set_config|query_to_xml\w*|cursor_to_xml\w*|(table|schema|database)_to_xml\w*|pg_\w+|lo_\w+|dblink\w*|current_setting|copy)\b"
)
_QUIET = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|(\$\w*\$).*?\1",
    re.DOTALL,
)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z]\w*)")
_ASSIGNED = re.compile(r'(?:\bset|,)\s*"?(\w+)"?\s*=(?!=)')


class Statement(NamedTuple):
    """What a statement is."""

    verb: str  # update, insert, delete or select
    parameters: frozenset[str]
    is_idempotent: bool


def read(text: str) -> Statement:
    """What a statement is.

    Raises: ValueError, for more than one, for none, and for what must not be in one.
    """
    if len(text) > MOST_CHARACTERS:
        message = f"must have {MOST_CHARACTERS:,} characters at most"
        raise ValueError(message)
    if re.search(r"\bu&['\"]", text, re.IGNORECASE):
        message = "must be written without U& escapes"
        raise ValueError(message)
    quiet = _QUIET.sub(" '' ", text).replace('"', "").strip().rstrip(";").strip().lower()
    if ";" in quiet:
        message = "must be one statement"
        raise ValueError(message)
    verb = re.match(r"[a-z]+", quiet)
    verbs = re.findall(r"\b(update|insert|delete)\b(?!\s+(?:set|of|nowait|skip))", quiet)
    if verb is None or verb[0] not in {*WRITING, "with", "select"}:
        message = "must begin with update, insert, delete, with or select"
        raise ValueError(message)
    if found := OUTSIDE.search(quiet):
        message = f"must not use {found[0]}"
        raise ValueError(message)
    does = verb[0] if verb[0] != "with" else (verbs[0] if verbs else "select")
    return Statement(does, frozenset(_PARAMETER.findall(quiet)), _is_idempotent(quiet, does, verbs))


def _is_idempotent(quiet: str, does: str, verbs: list[str]) -> bool:
    """Whether running it twice is sure to do what running it once does."""
    if does in {"select", "delete"} and set(verbs) <= {"delete"}:
        return True
    if "insert" in verbs:
        return verbs == ["insert"] and bool(re.search(r"\bon conflict\b.*\bdo nothing\b", quiet, re.DOTALL))
    if verbs != ["update"] or re.search(r"\b(random|gen_random_uuid|nextval|clock_timestamp)\b", quiet):
        return False
    assigned = quiet.partition(" set ")[2]
    changes = re.split(r"\b(?:where|from|returning)\b", assigned, maxsplit=1)[0]
    names = set(_ASSIGNED.findall(f"set {changes}"))
    values = re.sub(r"(?:^|,)\s*\w+\s*=(?!=)", " ", changes)
    return bool(names) and not names & set(re.findall(r"\w+", values))


def parameters_fault(parameters: frozenset[str]) -> str | None:
    """Why a batch cannot fill the parameters that a statement asks for; None when it can."""
    if parameters in (RANGE, PAGE):
        return None
    return "must be bounded by :lo and :hi, the range of a key from lo up to but without hi, or by :offset and :limit"

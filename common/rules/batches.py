"""The exact text of each item of a batch, so that what is stored of an event is what was sent, to the letter."""

from __future__ import annotations

import json
import re

SPACE = re.compile(r"[ \t\n\r]*")
_string = json.decoder.scanstring  # type: ignore[attr-defined]
_value = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode


def slices(text: str, key: str) -> list[str]:
    """The items of the list at `key` of the object that `text` is, each as it stands there.

    `text` must be JSON already known to be an object with a list at `key`; the last one counts if there are several.
    """
    found: list[str] = []
    position = _skip(text, text.index("{") + 1)
    while text[position] != "}":
        name, position = _string(text, position + 1)
        position = _skip(text, text.index(":", position) + 1)
        if name == key and text[position] == "[":
            found, position = _items(text, position)
        else:
            _, position = _value(text, position)
        position = _skip(text, position)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found


def _items(text: str, position: int) -> tuple[list[str], int]:
    found: list[str] = []
    position = _skip(text, position + 1)
    while text[position] != "]":
        _, end = _value(text, position)
        found.append(text[position:end])
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found, position + 1


def _skip(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    return match.end() if match else position

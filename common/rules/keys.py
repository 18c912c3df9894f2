"""What makes two deliveries the same: content without noise, and the idempotency key with the id that follows from it."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any

from common import encoding

# Rendered for the reader's eye or the print shop: they change although the record did not.
NOISE = frozenset({"page_width", "page_height", "invoice_url", "orientation"})
NOISE_SUFFIX = "_formatted"
NESTED = (dict, list)
# A key may be spelled with escapes, which only makes its noise count as content.
HINT_OF_NOISE = re.compile("|".join((NOISE_SUFFIX, *sorted(NOISE))).encode())


def without_noise(value: Any) -> Any:
    """`value` without its noisy keys, at every depth."""
    if isinstance(value, dict):
        # Spelled out rather than calling itself for every leaf: this is half the receiver's time.
        return {
            key: without_noise(item) if isinstance(item, NESTED) else item
            for key, item in value.items()
            if key not in NOISE and not key.endswith(NOISE_SUFFIX)
        }
    if isinstance(value, list):
        return [without_noise(item) for item in value]
    return value


def content_hash(record: Any, version_keys: tuple[str, ...] = (), text: bytes | None = None) -> str:
    """32 hex digits that are equal exactly when two records say the same, whenever they were stamped.

    `text` is what the record was read from: where no noise stands in that, none is looked for in the record.
    """
    pruned = without_noise(record) if text is None or HINT_OF_NOISE.search(text) else record
    if isinstance(pruned, dict):
        pruned = {key: value for key, value in pruned.items() if key not in version_keys}
    return hashlib.sha256(encoding.canonical(pruned)).hexdigest()[:32]


def idempotency_key(at: datetime | None, *parts: str) -> str:
    """The key of an event: its source time in hex, so that an index on it grows at one end, then a hash of what it is.

    `at` must follow from `parts`, or the same event would get two keys; None counts as the beginning of time.
    """
    seconds = max(0, int(at.timestamp())) & 0xFFFFFFFF if at else 0
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{seconds:08x}-{digest[:32]}"


def event_id(key: str) -> str:
    """The UUID that follows from a key, so that a duplicate is answered with the original's without asking anybody."""
    seconds, _, digest = key.partition("-")
    return f"{seconds}-{digest[:4]}-8{digest[5:8]}-b{digest[9:12]}-{digest[12:24]}"

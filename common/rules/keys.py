"""What makes two deliveries the same: content without noise, and the idempotency key with the id that follows from it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from common import encoding

# Rendered for the reader's eye or the print shop: they change although the record did not.
NOISE = frozenset({"page_width", "page_height", "invoice_url", "orientation"})
NOISE_SUFFIX = "_formatted"
# In the text of a record without noise stands none of these. A key spelled with escapes only makes its noise content.
HINTS = tuple(word.encode() for word in (NOISE_SUFFIX, *NOISE))
NESTED = frozenset({dict, list})


class _Noisy(dict[str, bool]):
    """Whether a key says nothing about the record itself; remembered, as there are few and they come in every record."""

    MOST = 5000

    def __missing__(self, key: str) -> bool:
        is_noisy = key in NOISE or key.endswith(NOISE_SUFFIX)
        if len(self) < self.MOST:
            self[key] = is_noisy
        return is_noisy


_noisy = _Noisy()


def without_noise(value: Any) -> Any:
    """`value`, as decoded from JSON, without its noisy keys, at every depth."""
    if isinstance(value, dict):
        # Spelled out rather than calling itself for every leaf: this is half the receiver's time.
        return {key: without_noise(item) if item.__class__ in NESTED else item for key, item in value.items() if not _noisy[key]}
    if isinstance(value, list):
        return [without_noise(item) if item.__class__ in NESTED else item for item in value]
    return value


def content_hash(record: Any, version_keys: tuple[str, ...] = (), text: bytes | None = None) -> str:
    """32 hex digits that are equal exactly when two records say the same, whenever they were stamped.

    `text` is what the record was read from: where no noise stands in that, none is looked for in the record.
    """
    is_clean = text is not None and not any(hint in text for hint in HINTS)
    pruned = record if is_clean else without_noise(record)
    if isinstance(pruned, dict):
        pruned = dict(pruned)
        for key in version_keys:
            pruned.pop(key, None)
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

"""Webhooks as Zoho sends them: items of 0.87 KB and invoices of three lines, each unique, signed when asked."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.lab import ORGANIZATION, SECRET

START = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 870
_ITEM = {
    "name": "Lámp of brass, ribbed, 40 W", "unit": "pcs", "status": "active", "item_type": "inventory", "product_type": "goods",
    "rate": 129.5, "purchase_rate": "81.20", "tax_id": "982000000037049", "tax_percentage": 5, "stock_on_hand": 118.0,
    "available_stock": 110.0, "actual_available_stock": 102.0, "reorder_level": 20, "brand": "Tide", "manufacturer": "Tide & Co",
    "upc": "0812345678905", "ean": "", "vendor_id": "982000000567010", "created_time": "2025-11-02T10:11:12+0300",
    "custom_fields": [{"customfield_id": "982000000091001", "label": "Shelf", "value": "B-12"}], "is_combo_product": False,
    "rate_formatted": "IQD129.50", "account_id": "982000000034003", "account_name": "Sales", "purchase_description": "",
}  # fmt: skip


def item(number: int, *, record: int | None = None) -> bytes:
    """An item's webhook; `record` is which item it is about, by default one of its own."""
    at = (START + timedelta(seconds=number % 10_000_000)).strftime("%Y-%m-%dT%H:%M:%S+0000")
    identifier = f"9820{number if record is None else record:012}"
    body = {"item": {"item_id": identifier, "sku": f"L-{number:010}", **_ITEM, "last_modified_time": at, "description": ""}}
    text = json.dumps(body, separators=(",", ":"))
    return text.replace('"description":""', f'"description":"{"x" * max(0, SIZE - len(text))}"').encode()


def invoice(number: int) -> bytes:
    """An invoice's webhook, with three lines."""
    at = (START + timedelta(seconds=number % 10_000_000)).strftime("%Y-%m-%dT%H:%M:%S+0000")
    identifier = f"9821{number:012}"
    lines = [
        {"line_item_id": f"{identifier}{line}", "item_id": f"9820{line:012}", "name": "Lamp of brass", "quantity": 2, "rate": 12.5,
         "item_total": 25.0, "unit": "pcs", "tax_percentage": 5}
        for line in range(3)
    ]  # fmt: skip
    record = {
        "invoice_id": identifier, "invoice_number": f"INV-{number:08}", "customer_id": "982000000567114", "customer_name": "Bowman and Co",
        "status": "sent", "date": "2026-06-09", "due_date": "2026-06-24", "currency_code": "IQD", "exchange_rate": 1.0,
        "sub_total": 75.0, "total": "78.75", "balance": 78.75, "line_items": lines, "last_modified_time": at,
    }  # fmt: skip
    return json.dumps({"invoice": record}, separators=(",", ":")).encode()


def batch(bodies: Iterable[bytes]) -> bytes:
    """Several events as one request's body."""
    return b'{"events":[' + b",".join(bodies) + b"]}"


def signature(body: bytes) -> str:
    """What Zoho would put into X-Zoho-Webhook-Signature."""
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def request(body: bytes, path: str = "products") -> bytes:
    """A whole HTTP request, signed."""
    head = (
        f"POST /webhooks/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nUser-Agent: ZohoBooks\r\n"
        f"X-Zoho-Organization-Id: {ORGANIZATION}\r\nX-Zoho-Webhook-Signature: {signature(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def write(path: Path, bodies: Iterator[bytes]) -> int:
    """Write requests one after the other into `path`; how long each is, for they are equally long."""
    length = 0
    with path.open("wb") as file:
        for body in bodies:
            text = request(body)
            assert length in (0, len(text)), "requests of different lengths"
            length = len(text)
            file.write(text)
    return length

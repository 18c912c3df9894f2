"""Zoho's signature: its documented vectors, and the ways in which senders get it wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from common.rules.http import Request
from common.signatures import zoho
from tests.make import SECRET, a_request, an_item

EXAMPLE = b'{"created_date":"2019-03-06","event_id":"5675"}'


@pytest.mark.parametrize(
    ("query", "body", "signature"),
    [
        ("", b'{"test":true}', "beeba5fe977923913952d4d245be79be8daaea0e1d7c2785731491518b098653"),
        ("subscription_id=90343&name=basic", EXAMPLE, "ec0357bb87b946f9b88f3d80899810913dfbc310ada921e1d1e25575d5f63ee9"),
        ("name=basic&subscription_id=90343", EXAMPLE, "ec0357bb87b946f9b88f3d80899810913dfbc310ada921e1d1e25575d5f63ee9"),
        ("", "item_id=1&name=تسوية&rate=1.0".encode(), "35d9b4bf50774954bdea0d27f00c642cf5402ec1504e6855412eda42a61a33f6"),
        (
            "",
            b"rate=1.0&name=%D8%AA%D8%B3%D9%88%D9%8A%D8%A9&item_id=1",
            "35d9b4bf50774954bdea0d27f00c642cf5402ec1504e6855412eda42a61a33f6",
        ),
    ],
)
def test_the_documented_vectors_hold(query, body, signature):
    request = Request("POST", "/webhooks/products", query, ((zoho.HEADER, signature),), body)
    assert zoho.sign("mysecretkey12", request) == {"X-Zoho-Webhook-Signature": signature}
    assert zoho.matches("mysecretkey12", request)


def signed_wrongly(query: str, text: bytes, form: str = "hex") -> Request:
    """The request as a sender would send it that signed `text`."""
    digest = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
    signature = digest.hex() if form == "hex" else base64.b64encode(digest).decode()
    return a_request("products", EXAMPLE, query=query, headers=((zoho.HEADER, signature),))


@pytest.mark.parametrize(
    ("request_", "variant"),
    [
        (signed_wrongly("b=2&a=1", EXAMPLE), "body only, query left out, hex"),
        (signed_wrongly("b=%20&a=1", b"a1b%20" + EXAMPLE), "query and body, query not decoded, hex"),
        (signed_wrongly("b=2&a=1", b"b2a1" + EXAMPLE), "query and body, query not sorted, hex"),
        (signed_wrongly("b=2&a=1", b"a=1&b=2" + EXAMPLE), "query and body, joined with = and &, hex"),
        (signed_wrongly("b=2&a=1", b"a1b2"), "query only, body left out, hex"),
        (signed_wrongly("b=2&a=1", b"a1b2" + EXAMPLE, "base64"), "as documented, base64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_doctor_names_the_way_a_request_was_signed(request_, variant):
    assert not zoho.matches(SECRET, request_)
    assert next(name for name, fits in zoho.variants(SECRET, request_) if fits) == variant


def test_the_doctor_sees_the_secret_in_place_of_a_signature():
    request = a_request("products", an_item(), headers=((zoho.HEADER, SECRET),))
    assert [name for name, fits in zoho.variants(SECRET, request) if fits] == ["the secret itself as the signature"]

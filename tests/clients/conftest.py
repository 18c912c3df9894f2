"""A stand-in of Zoho that this process is set up to read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from common.outgoing import calls
from deploy.local.zoho import StandIn

SIZES = {
    "product": 450,
    "invoice": 230,
    "customer": 30,
    "vendor": 12,
    "user": 4,
    "price_list": 3,
    "stock_adjustment": 7,
    "payment": 9,
}


@pytest.fixture
def zoho(configured: Callable[..., None]) -> Iterator[StandIn]:
    """The stand-in, with this process's settings pointing at it."""
    with StandIn(sizes=dict.fromkeys(("order", "bill", "credit_note"), 5) | SIZES) as standing:
        configured(**environment(standing))
        yield standing
        calls.close()


def environment(standing: StandIn) -> dict[str, str]:
    """What the environment says so that the stand-in is read."""
    return {
        "ZOHO_API_URL": standing.url,
        "ZOHO_ACCOUNTS_URL": standing.url,
        "ZOHO_CLIENT_ID": standing.client_id,
        "ZOHO_CLIENT_SECRET": standing.client_secret,
        "ZOHO_REFRESH_TOKEN": standing.refresh_token,
    }

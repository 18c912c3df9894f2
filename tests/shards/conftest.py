"""A source for kinds that read one, and a server for those that call one."""

from __future__ import annotations

import pytest

from common.outgoing import calls
from deploy.local.zoho import StandIn
from tests.make import connection
from tests.served import served


@pytest.fixture
def source(configured):
    """The stand-in, with a little of everything and no limits, that this process's settings point at."""
    with StandIn(seed=3, sizes={"product": 25, "invoice": 5}) as zoho:
        zoho.limits.off()
        configured(**connection(zoho))
        yield zoho
        calls.close()


__all__ = ["served", "source"]

"""A source for kinds that read one."""

import pytest

from common.outgoing import calls
from deploy.local.zoho import StandIn
from tests.make import connection


@pytest.fixture
def source(configured):
    """The stand-in, with a little of everything and no limits, that this process's settings point at."""
    with StandIn(seed=3, sizes={"product": 25, "invoice": 5}) as zoho:
        zoho.limits.off()
        configured(**connection(zoho))
        yield zoho
        calls.close()

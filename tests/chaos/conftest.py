"""A durable server per worker, a stack per test."""

from __future__ import annotations

import os

import pytest

from common import db
from common import settings as current
from tests.chaos.processes import Stack, durable_cluster
from tests.conftest import forget


@pytest.fixture(scope="session")
def durable():
    with durable_cluster() as cluster:
        yield cluster


@pytest.fixture
def stack(durable, monkeypatch):
    for variable in current.Settings.__dataclass_fields__:
        monkeypatch.delenv(variable.upper(), raising=False)
    before = dict(os.environ)
    made = Stack(durable)
    yield made
    made.close()
    db.pool().discard()
    os.environ.clear()
    os.environ.update(before)
    forget()

"""One throwaway server for all tests of deploy/local, a fresh database for each."""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pg8000.native
import pytest
from google.cloud import tasks_v2

from deploy.local.postgres import Cluster
from deploy.local.zoho import StandIn
from tests.local.caller import NOW, Caller
from tests.local.client import running
from tests.local.worker import Worker, serving

_numbers = count(1)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory that another account may pass through, which pytest's own tmp_path is not when root runs it."""
    directory = Path(tempfile.mkdtemp(prefix="tidemark-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running server, as fast and careless as possible."""
    directory = Path(tempfile.mkdtemp(prefix="tidemark-test-"))
    directory.chmod(0o711)
    with Cluster(directory / "pg", durable=False) as started:
        yield started
    shutil.rmtree(directory)


@pytest.fixture
def database_url(cluster: Cluster) -> str:
    """The URL of a new, empty database."""
    name = f"tasks_{next(_numbers)}"
    connection = pg8000.native.Connection(
        "postgres", unix_sock=str(cluster.sockets / ".s.PGSQL.5432"), database="postgres", ssl_context=False
    )
    connection.run(f"create database {name}")
    connection.close()
    return cluster.url(name)


@pytest.fixture
def worker() -> Iterator[Worker]:
    """Somebody who receives tasks."""
    with serving() as listening:
        yield listening


@pytest.fixture
def client(database_url: str) -> Iterator[tasks_v2.CloudTasksClient]:
    """A client of a look-alike of its own."""
    with running(database_url, shortest_deadline=timedelta(seconds=0.1)) as (_, found):
        yield found


@pytest.fixture
def zoho() -> Iterator[StandIn]:
    """Zoho's stand-in with a few records of everything; its clock only turns by hand."""
    with StandIn(now=NOW) as served:
        yield served


@pytest.fixture
def caller(zoho: StandIn) -> Iterator[Caller]:
    """Somebody who calls it."""
    one = Caller(zoho)
    yield one
    one.close()

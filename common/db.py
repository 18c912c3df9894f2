"""The only importer of pg8000: transactions, named queries, a bounded pool, timeouts, and errors by class.

Everything runs inside BEGIN..COMMIT, so it works behind a pooler in transaction mode. Nothing here keeps session state.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import re
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pg8000.core import Context
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection as Socket
from pg8000.native import to_statement

from common import encoding, log, settings
from common.errors import AppError, Broken, Conflict, Invalid, Replayable, Unavailable

Shape = TypeVar("Shape")
Result = TypeVar("Result")

QUERIES = Path(__file__).parent.parent / "sql" / "queries"
STATEMENT = timedelta(seconds=10)
LOCK = timedelta(seconds=2)
CONNECT_SECONDS = 3
CHECKOUT_SECONDS = 3
MAX_AGE_SECONDS = 600
JSONB, TIMESTAMPTZ = 3802, 1184
LOST = (InterfaceError, OSError, struct.error, EOFError)
ROLES = ("ingest", "worker", "status", "operator", "migrate")


# Named queries ---------------------------------------------------------------------------------------------------


def blocks(text: str) -> dict[str, str]:
    """The statements of a query file by name: each opens with `-- name: <name>` and ends at its semicolon."""
    found: dict[str, str] = {}
    for part in re.split(r"^-- name: *", text, flags=re.MULTILINE)[1:]:
        name, _, statement = part.partition("\n")
        found[name.strip()] = statement.strip().rstrip(";")
    return found


@functools.cache
def queries() -> Mapping[str, str]:
    """Every statement of sql/queries as `<file>.<name>`."""
    return {
        f"{path.stem}.{name}": statement
        for path in sorted(QUERIES.glob("*.sql"))
        for name, statement in blocks(path.read_text()).items()
    }


@functools.lru_cache(maxsize=512)
def _prepared(statement: str) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    # pg8000 walks the text character by character at each call: 0.5 ms for our longest, so do it once.
    return to_statement(statement)  # type: ignore[no-any-return]


def literal(text: str) -> str:
    """`text` as an SQL literal that no content can leave: quotes doubled, everything else left as it is.

    Right only while standard_conforming_strings is on, which every connection is checked for.

    Raises: Invalid, for a NUL character: Postgres has no such text.
    """
    if "\x00" in text:
        message = "A NUL character cannot be stored as text."
        raise Invalid(message)
    return "'" + text.replace("'", "''") + "'"


# Connections -----------------------------------------------------------------------------------------------------


class Address:
    """Where Postgres is, as DATABASE_URL says."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        options = dict(urllib.parse.parse_qsl(parts.query))
        self.user = urllib.parse.unquote(parts.username or options.get("user", "postgres"))
        self.password = urllib.parse.unquote(parts.password) if parts.password else None
        self.database = urllib.parse.unquote(parts.path.lstrip("/")) or self.user
        self.port = parts.port or int(options.get("port", "5432"))
        host = options.get("host") or urllib.parse.unquote(parts.hostname or "localhost")
        self.socket = f"{host}/.s.PGSQL.{self.port}" if host.startswith("/") else None
        self.host = host
        self.tls = options.get("sslmode", "") != "disable" and not self.socket and host not in {"localhost", "127.0.0.1", "::1"}
        self.root_certificate = options.get("sslrootcert")
        if self.password:
            log.protect(self.password)


@functools.cache
def _tls(root_certificate: str | None) -> ssl.SSLContext:
    # One per process: making it costs 20 ms of CPU, and pg8000's own default does not verify.
    return ssl.create_default_context(cafile=root_certificate)


def _instant(text: str) -> datetime | str:
    return text if text.endswith("infinity") else datetime.fromisoformat(text).astimezone(UTC)


class Connection:
    """One connection of the pool: used by one thread at a time, thrown away at the first doubt."""

    def __init__(self, address: Address) -> None:
        self.opened = time.monotonic()
        with _ours("The database cannot be reached."):
            self.socket = Socket(
                address.user,
                host=address.host,
                port=address.port,
                unix_sock=address.socket,
                database=address.database,
                password=address.password,
                ssl_context=_tls(address.root_certificate) if address.tls else False,
                timeout=CONNECT_SECONDS,
                application_name="tidemark",
            )
        self.raw: socket.socket = self.socket._usock  # noqa: SLF001 - pg8000 leaves Nagle on: 40 ms stalls; pinned and tested
        if self.raw.family != socket.AF_UNIX:
            self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.register_in_adapter(TIMESTAMPTZ, _instant)
        self.socket.register_in_adapter(JSONB, encoding.loads)
        if self.socket.parameter_statuses.get("standard_conforming_strings") != "on":
            self.close()
            message = "The database must keep standard_conforming_strings on."
            raise Broken(message)

    def begin(self, opening: str, seconds: float) -> list[list[Any]]:
        """Run `opening`, waiting `seconds` at most for each answer from here on; closed if it fails."""
        try:
            with _ours():
                self.raw.settimeout(seconds)
                return self.script(opening)
        except AppError:
            self.close()
            raise

    def script(self, text: str) -> list[list[Any]]:
        """Send `text` as one simple-protocol message; the rows are those of its last statement that had any."""
        return self.socket.execute_simple(text).rows or []

    def execute(self, statement: str, params: Mapping[str, Any]) -> tuple[list[list[Any]], int]:
        """Run one statement; rows and the number of rows it touched."""
        text, values = _prepared(statement)
        context = self.socket.execute_unnamed(text, values(params))
        return context.rows or [], context.row_count

    def close(self) -> None:
        """Close, whatever state it is in."""
        try:
            self.socket.close()
        except (*LOST, DatabaseError):
            self.raw.close()


class Pool:
    """At most `size` connections to one address; waits a bounded time for a free one."""

    def __init__(self, address: Address, size: int) -> None:
        self.address = address
        self.size = size
        self._places = threading.BoundedSemaphore(size)
        self._idle: collections.deque[Connection] = collections.deque()
        self._is_closed = False

    @property
    def in_use(self) -> int:
        """How many connections are out now."""
        return self.size - self._places._value  # noqa: SLF001 - the semaphore is the count

    @contextmanager
    def connection(self, opening: str, seconds: float) -> Iterator[tuple[Connection, list[list[Any]]]]:
        """A connection on which `opening` has been run, with its rows; given back only when left in order.

        A connection that died while idle is replaced once; what `opening` does must bear being done twice.
        """
        if not self._places.acquire(timeout=CHECKOUT_SECONDS):
            message = f"All {self.size} database connections of this instance are busy."
            raise Unavailable(message, retry_after_seconds=1)
        try:
            connection, rows = self._opened(opening, seconds)
            try:
                yield connection, rows
            except BaseException:
                connection.close()
                raise
            self._keep(connection)
        finally:
            self._places.release()

    def _opened(self, opening: str, seconds: float) -> tuple[Connection, list[list[Any]]]:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.opened > MAX_AGE_SECONDS:
                connection.close()
                continue
            try:
                return connection, connection.begin(opening, seconds)
            except Unavailable:
                self.discard()
        connection = Connection(self.address)
        return connection, connection.begin(opening, seconds)

    def take(self) -> Connection:
        """An idle connection, which the caller must put back.

        Raises: Unavailable, at once, when there is none.
        """
        if self._places.acquire(blocking=False):
            while self._idle:
                connection = self._idle.pop()
                if time.monotonic() - connection.opened <= MAX_AGE_SECONDS:
                    return connection
                connection.close()
            self._places.release()
        message = "No connection is idle."
        raise Unavailable(message, retry_after_seconds=1)

    def put_back(self, connection: Connection | None) -> None:
        """Give back what was taken; None when it was closed."""
        if connection is not None:
            self._keep(connection)
        self._places.release()

    def _keep(self, connection: Connection) -> None:
        self._idle.append(connection)
        if self._is_closed:
            self.discard()

    def discard(self) -> None:
        """Close every idle connection: one dead one means a restart, so the others are dead too."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._idle.pop().close()

    def close(self) -> None:
        """Close every connection, those that are out as soon as they come back."""
        self._is_closed = True
        self.discard()


@functools.cache
def _pool(url: str, size: int) -> Pool:
    return Pool(Address(url), size)


def pool() -> Pool:
    """The pool of this process."""
    current = settings.load()
    return _pool(current.database_url, current.db_pool)


# Transactions ----------------------------------------------------------------------------------------------------


class Transaction:
    """What may be done inside a transaction: run named queries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, shape: Callable[..., Shape], name: str, /, **params: Any) -> list[Shape]:
        """Every row of the query `name`, each as `shape(*columns)`."""
        rows, _ = self.statement(queries()[name], params)
        return [shape(*row) for row in rows]

    def one(self, shape: Callable[..., Shape], name: str, /, **params: Any) -> Shape | None:
        """The only row, or None."""
        rows, _ = self.statement(queries()[name], params)
        return shape(*rows[0]) if rows else None

    def value(self, name: str, /, **params: Any) -> Any:
        """The first column of the first row, or None."""
        rows, _ = self.statement(queries()[name], params)
        return rows[0][0] if rows else None

    def run(self, name: str, /, **params: Any) -> int:
        """How many rows the query touched."""
        return self.statement(queries()[name], params)[1]

    def statement(self, text: str, params: Mapping[str, Any]) -> tuple[list[list[Any]], int]:
        """Run a statement that is not in sql/queries as it stands, such as one rendered for an entity.

        Raises: Conflict, Invalid, Replayable, Unavailable, Broken, by the database's own error class.
        """
        with _ours():
            return self._connection.execute(text, params)

    def script(self, text: str) -> None:
        """Run several statements without parameters, such as a migration."""
        with _ours():
            self._connection.script(text)


def _opening(role: str | None, statement: timedelta, lock: timedelta, *, read_only: bool = False) -> str:
    if role is not None and role not in ROLES:
        message = f"there is no role {role}"
        raise Broken(message)
    return (
        ("begin read only; " if read_only else "begin; ")
        + (f"set local role tidemark_{role}; " if role else "")
        + f"set local statement_timeout = {_milliseconds(statement)}; "
        + f"set local lock_timeout = {_milliseconds(lock)}; "
        + f"set local idle_in_transaction_session_timeout = {_milliseconds(statement + lock)}"
    )


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


@contextmanager
def transaction(
    role: str | None = None, *, timeout: timedelta = STATEMENT, lock: timedelta = LOCK, read_only: bool = False
) -> Iterator[Transaction]:
    """One transaction as `tidemark_<role>` (None: as the owner), committed when the block ends without an error.

    Raises: Unavailable, when the database cannot be reached, or when it went away during COMMIT: then whether the
    transaction took effect is not known, and the caller must act as if it had not.
    """
    opening = _opening(role, timeout, lock, read_only=read_only)
    with pool().connection(opening, timeout.total_seconds() + CONNECT_SECONDS) as (connection, _):
        yield Transaction(connection)
        with _ours("The connection was lost during COMMIT."):
            connection.script("commit")


def replayed(work: Callable[[Transaction], Result], role: str | None = None, *, times: int = 3, **limits: Any) -> Result:
    """What `work` returns from one transaction; a deadlock or a serialization failure runs all of it again."""
    for _ in range(times - 1):
        try:
            with transaction(role, **limits) as tx:
                return work(tx)
        except Replayable as error:
            log.warning("transaction.replayed", reason=error.detail)
    with transaction(role, **limits) as tx:
        return work(tx)


def call(role: str, name: str, document: Any, *, timeout: timedelta = STATEMENT) -> Any:
    """The first column of query `name` with `:document` as one JSON literal: a whole transaction in one round trip.

    For the one or two hottest calls only; everything else takes parameters.
    """
    message = _whole(role, name, document, timeout)
    with pool().connection(message, timeout.total_seconds() + CONNECT_SECONDS) as (_, rows):
        return rows[0][0]


def _whole(role: str, name: str, document: Any, timeout: timedelta) -> str:
    statement = queries()[name].replace(":document", literal(encoding.rows(document)))
    return f"{_opening(role, timeout, LOCK)}; {statement}; commit"


class Sent:
    """A `call` whose answer is still to be read, for event loops: `fileno()` is readable when it is there.

    Either `answer` or `abandon` must be called, once. Only a connection that is open and idle is used; where there is
    none, Unavailable is raised at once, and `call` is the way.
    """

    def __init__(self, role: str, name: str, document: Any, *, timeout: timedelta = STATEMENT) -> None:
        self._message = _whole(role, name, document, timeout)
        self._pool = pool()
        self._connection = self._pool.take()
        try:
            with _ours():
                self._connection.raw.settimeout(timeout.total_seconds() + CONNECT_SECONDS)
                self._connection.socket.send_QUERY(self._message)
                self._connection.socket._sock.flush()  # noqa: SLF001 - its execute_simple does this and the reading in one go
        except AppError:
            self.abandon()
            raise

    def fileno(self) -> int:
        """The socket's."""
        return self._connection.raw.fileno()

    def answer(self) -> Any:
        """The first column.

        Raises: as `call` does.
        """
        context = Context(self._message)
        try:
            with _ours():
                self._connection.socket.handle_messages(context)
        except AppError:
            self.abandon()
            raise
        self._pool.put_back(self._connection)
        return (context.rows or [])[0][0]

    def abandon(self) -> None:
        """Wait no longer; whether the call took effect is not known."""
        self._connection.close()
        self._pool.put_back(None)


def outside(text: str, timeout: timedelta) -> None:
    """Run each statement of `text` on a connection of its own outside a transaction, as CREATE INDEX CONCURRENTLY asks.

    Only migrations need it, and they must connect directly, not through a pooler.
    """
    connection = Connection(pool().address)
    try:
        connection.begin(f"set statement_timeout = {_milliseconds(timeout)}", timeout.total_seconds() + CONNECT_SECONDS)
        for statement in filter(None, (part.strip() for part in text.split(";\n"))):
            connection.begin(statement, timeout.total_seconds() + CONNECT_SECONDS)
    finally:
        connection.close()


# Errors ----------------------------------------------------------------------------------------------------------

_BY_STATE: tuple[tuple[str, type[AppError], str], ...] = (
    ("40001", Replayable, "Two transactions met."),
    ("40P01", Replayable, "Two transactions waited for each other."),
    ("55P03", Unavailable, "A lock was not given in time."),
    ("57014", Unavailable, "The database did not answer in time."),
    ("25006", Unavailable, "The database is read only now."),
    ("25P03", Unavailable, "The transaction was idle for too long."),
    ("08", Unavailable, "The connection to the database failed."),
    ("53", Unavailable, "The database has no room for more work now."),
    ("57", Unavailable, "The database is stopping or starting."),
    ("58", Unavailable, "The database has trouble with its disk."),
    ("22", Invalid, "The database cannot store a value"),
    ("54", Invalid, "A value is beyond what the database can hold"),
    ("23", Conflict, "A rule of the database said no"),
)


@contextmanager
def _ours(lost: str = "The connection to the database was lost.") -> Iterator[None]:
    """Raises what Tidemark calls the driver's errors."""
    try:
        yield
    except DatabaseError as error:
        raise _named(error) from error
    except UnicodeEncodeError as error:
        message = "Half of a surrogate pair cannot be stored as text."
        raise Invalid(message) from error
    except LOST as error:
        raise Unavailable(lost) from error


def _named(error: DatabaseError) -> AppError:
    """The error that Tidemark calls it, by SQLSTATE; nobody reads messages."""
    facts = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    state = str(facts.get("C", ""))
    for prefix, kind, said in _BY_STATE:
        if state.startswith(prefix):
            reason = f": {facts.get('n') or facts.get('M', state)}." if kind in (Invalid, Conflict) else ""
            named = kind(said + reason)
            named.fields["sqlstate"] = state
            return named
    broken = Broken(f"{facts.get('M', error)} ({state})")
    broken.fields["sqlstate"] = state
    return broken

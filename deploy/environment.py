"""What `make run` wrote down for those who come after it: the variables in .tidemark/env, and where that is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def state() -> Path:
    """The directory that holds everything a local run leaves behind; TIDEMARK_STATE moves it."""
    return Path(os.environ.get("TIDEMARK_STATE") or ROOT / ".tidemark").expanduser().resolve()


def file() -> Path:
    """The file of variables, in a form that `source` understands."""
    return state() / "env"


def load(path: Path) -> dict[str, str]:
    """The variables of a file that `save` wrote; none when there is no such file, or it is not ours to read."""
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    found = {}
    for line in lines:
        name, sign, value = line.partition("=")
        if sign and name.isidentifier():
            found[name] = "".join(shlex.split(value))
    return found


def save(path: Path, variables: Mapping[str, str]) -> None:
    """Write the variables for nobody but the owner, all of them or none."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    # Made 0600 rather than changed to it: between the two, others could have opened it.
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.writelines(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    unfinished.replace(path)

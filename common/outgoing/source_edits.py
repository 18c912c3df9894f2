"""Changes to the files below HXO_SOURCE_DIR: each file whole or not at all, and never one that is not as it was seen."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from common.errors import Conflict
from common.outgoing import source_tree

LARGEST, MOST = 1 << 20, 64 << 20  # bytes of one file, and of all, that are read
Content = bytes | None  # None: there is no such file


class Read(NamedTuple):
    """The files of a tree."""

    files: Mapping[str, bytes]
    skipped: tuple[str, ...]  # too large


class Edit(NamedTuple):
    """A file, what must stand in it, and what is to."""

    path: str
    mode: int
    before: Content
    after: Content


def read() -> Read:
    """Every file below the source directory, but for caches, what is hidden, and what is too large to be source.

    Raises: Invalid, when a link leads out of it.
    """
    files: dict[str, bytes] = {}
    skipped: list[str] = []
    left = MOST
    for file in source_tree.listed("", exclude=("venv",)):
        if file.bytes > min(LARGEST, left):
            skipped.append(file.path)
            continue
        with contextlib.suppress(Conflict), source_tree.opened("", file.path) as opened:  # gone meanwhile: then it is not there
            files[file.path] = opened.read(LARGEST)
            left -= len(files[file.path])
    return Read(files, tuple(skipped))


def mode(path: str) -> int:
    """How a file may be used, as chmod has it.

    Raises: Conflict, when it is not there.
    """
    try:
        return _place(path).stat().st_mode & 0o7777
    except FileNotFoundError as error:
        message = f"The file {path} is not there any more."
        raise Conflict(message) from error


def apply(edits: Iterable[Edit], *, force: bool = False) -> list[str]:
    """Make every edit, or none: those that were made are taken back when one cannot be. The paths that changed.

    A file that already stands as wanted is left alone; `force` writes over one that is neither.
    Raises: Conflict, when a file is not as it was seen, or the tree cannot be written to.
    """
    edits = list(edits)
    now = {edit.path: _content(edit.path) for edit in edits}
    odd = [edit.path for edit in edits if now[edit.path] not in (edit.before, edit.after)]
    if odd and not force:
        message = f"These files have changed since: {', '.join(odd[:20])}. Nothing was written."
        raise Conflict(message, paths=odd)
    made: list[Edit] = []
    for edit in edits:
        if now[edit.path] == edit.after:
            continue
        try:
            _write(edit.path, edit.after, edit.mode)
        except OSError as error:
            for done in reversed(made):
                _write(done.path, now[done.path], done.mode)
            message = f"The source directory cannot be written to ({edit.path}: {error.strerror}): nothing was changed."
            raise Conflict(message) from error
        made.append(edit)
    return [edit.path for edit in made]


def _place(path: str) -> Path:
    """Where a file is. Raises: Conflict, when that leads out of the source directory, or over a link."""
    root = source_tree.root()
    found = root / path
    if found.is_symlink() or not found.resolve().is_relative_to(root) or Path(path).is_absolute():
        message = f"{path[:200]} is a link, or leads out of the source directory."
        raise Conflict(message)
    return found


def _content(path: str) -> Content:
    try:
        return _place(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"The file {path} cannot be read: {error.strerror}."
        raise Conflict(message) from error


def _write(path: str, content: Content, permissions: int) -> None:
    """A file appears whole, under its name, or not at all."""
    place = _place(path)
    if content is None:
        place.unlink()
        return
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".arie-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(permissions)
        Path(name).replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise

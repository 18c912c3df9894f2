"""The files below HXO_SOURCE_DIR: listed, and opened for reading. Nothing outside of it is ever read."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from common import settings
from common.errors import Conflict, Invalid
from common.rules.partitions import File

PROJECT = Path(__file__).resolve().parent.parent.parent
MOST_FILES = 200_000
LEFT_OUT = ("__pycache__", "node_modules", "*.pyc", "*.egg-info")
UNKNOWN_TYPE = "application/octet-stream"


def root() -> Path:
    """The directory below which everything is read."""
    return Path(settings.load().hxo_source_dir or PROJECT).resolve()


def directory(name: str, pointer: str = "/directory") -> Path:
    """A directory below the root.

    Raises: Invalid, with `pointer`, when it is outside, is not there, or is none.
    """
    found = _inside(root(), name, pointer)
    if not found.is_dir():
        raise _refused(pointer, f"there is no directory {name[:200]} below the source directory")
    return found


def _inside(base: Path, name: str, pointer: str) -> Path:
    if "\x00" in name:
        raise _refused(pointer, "must not contain a NUL character")
    found = (base / name).resolve()
    if not found.is_relative_to(root()):
        raise _refused(pointer, f"{name[:200]} leads out of the source directory")
    return found


def listed(name: str, *, exclude: Sequence[str] = (), hidden: bool = False, pointer: str = "/directory") -> list[File]:
    """Every file below a directory, by path; what is hidden (.git, .env) only if asked for, and never caches and compiled code.

    Patterns of `exclude` are of a path below the directory, or of a name on the way. A link is read as the file that it
    leads to; links to directories are left out, since they could go in circles.
    Raises: Invalid, with `pointer`, when a link leads out of the source directory, or there are more than 200,000 files.
    """
    base = directory(name, pointer)
    found: list[File] = []
    for path in _walked(base, (*LEFT_OUT, *exclude), hidden=hidden):
        _inside(base, path, pointer)
        stat = (base / path).stat()
        found.append(File(path, stat.st_size, bool(stat.st_mode & 0o100)))
        if len(found) > MOST_FILES:
            raise _refused(pointer, f"has more than {MOST_FILES:,} files")
    return sorted(found, key=lambda file: file.path.encode())


def _walked(base: Path, exclude: Sequence[str], *, hidden: bool) -> Iterator[str]:
    artifacts = (PROJECT / settings.load().hxo_artifacts_dir).resolve()  # what was packed is no source
    for folder, folders, names in os.walk(base):
        above = Path(folder).relative_to(base)

        def is_wanted(name: str, above: Path = above) -> bool:
            path = (above / name).as_posix()
            return (hidden or not name.startswith(".")) and not any(
                fnmatchcase(name, each) or fnmatchcase(path, each) for each in exclude
            )

        folders[:] = [each for each in folders if is_wanted(each) and (Path(folder) / each).resolve() != artifacts]
        yield from ((above / each).as_posix() for each in names if is_wanted(each) and (Path(folder) / each).is_file())


def opened(name: str, path: str) -> BinaryIO:
    """A file of a directory, open for reading.

    Raises: Conflict, when it is not there any more; Invalid, when it leads out of the source directory by now.
    """
    found = _inside(directory(name), path, "/directory")
    try:
        return os.fdopen(os.open(found, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except OSError as error:
        message = f"The file {path} cannot be read any more: {error.strerror}. It was there when the stage opened."
        raise Conflict(message) from error


def content_type(path: str) -> str:
    """What a file's name says that it is."""
    return mimetypes.guess_type(path)[0] or UNKNOWN_TYPE


def _refused(pointer: str, message: str) -> Invalid:
    said = "The files cannot be read."
    return Invalid(said, errors=[{"pointer": pointer, "message": message}])

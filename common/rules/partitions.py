"""Partitioners: how real work - files, pages, URLs, rows - falls into parts, one for each shard. Pure, and in one order."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

MEGABYTE = 1_000_000
OTHER = "other"


class File(NamedTuple):
    """A file of a directory."""

    path: str  # below the directory, with slashes
    bytes: int
    is_executable: bool = False

    @property
    def module(self) -> str:
        """The folder right below the directory that it is in; `.` for none."""
        return self.path.partition("/")[0] if "/" in self.path else "."


class Part(NamedTuple):
    """What one shard works on: `part` as JSON, what it costs, and what it belongs with."""

    part: dict[str, Any]
    weight: int
    group: str


class Impossible(ValueError):
    """The work does not fit what the config says of it: where, and why."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.message, self.pointer = message, pointer


def with_modules(files: Sequence[File]) -> list[tuple[str, Any, int]]:
    """Files as `by_module` takes them."""
    return [(file.module, list(file), file.bytes) for file in files]


def by_filesize(files: Sequence[File], *, chunk_size_mb: int, total_files: int | None = None) -> list[Part]:
    """Files in order, as many to a part as make up `chunk_size_mb`; a larger one is a part of its own.

    Raises: Impossible, when there are more than `total_files`.
    """
    if total_files is not None and len(files) > total_files:
        message = f"there are {len(files):,} files, more than the {total_files:,} that were expected"
        raise Impossible(message, "/total_files")
    parts: list[Part] = []
    start, size = 0, 0
    for number, file in enumerate(files):
        if number > start and size + file.bytes > chunk_size_mb * MEGABYTE:
            parts.append(_range(files, len(parts), start, number, chunk_size_mb))
            start, size = number, 0
        size += file.bytes
    if start < len(files):
        parts.append(_range(files, len(parts), start, len(files), chunk_size_mb))
    return parts


def _range(files: Sequence[File], number: int, start: int, end: int, chunk_size_mb: int) -> Part:
    part = {
        "partition_id": f"files-{number}",
        "file_range_start": start,
        "file_range_end": end,
        "chunk_size_mb": chunk_size_mb,
        "files": [list(file) for file in files[start:end]],
    }
    return Part(part, sum(file.bytes for file in files[start:end]), files[start].module)


def by_module(items: Sequence[tuple[str, Any, int]], *, of: str = "files", modules: Sequence[str] | None = None) -> list[Part]:
    """Things by their module, each (module, the thing as JSON, what it costs): of every module, or of `modules` alone.

    For files the module is the folder right below the directory. `of` is what a part calls its things.
    Raises: Impossible, for a module that has nothing.
    """
    found = _grouped((module, (item, weight)) for module, item, weight in items)
    for number, module in enumerate(modules or ()):
        if module not in found:
            message = f"there is nothing in {module[:64]}; there are: {', '.join(sorted(found))[:500]}"
            raise Impossible(message, f"/modules/{number}")
    return [
        Part(
            {"partition_id": f"module-{module}", "module": module, of: [item for item, _ in found[module]]},
            sum(weight for _, weight in found[module]),
            module,
        )
        for module in (dict.fromkeys(modules) if modules else sorted(found))
    ]


def by_asset_bucket(
    files: Sequence[File], types: Sequence[str], *, buckets: Mapping[str, Sequence[str]] | None = None, chunk_size_mb: int
) -> list[Part]:
    """Files by the first bucket that one of its patterns puts them into, `other` at last; without buckets by their type.

    `types` are the content types of `files`. A pattern such as `*.png` or `img/*` is of the path, one such as `image/*` of
    the content type, whichever fits. A bucket of more than `chunk_size_mb` is several parts.
    """

    def bucket(file: File, type_: str) -> str:
        if buckets is None:
            return type_.partition("/")[0]
        fits = (name for name, patterns in buckets.items() if any(_fits(file, type_, pattern) for pattern in patterns))
        return next(fits, OTHER)

    found = _grouped((bucket(file, type_), file) for file, type_ in zip(files, types, strict=True))
    return [
        Part(
            {"partition_id": f"bucket-{name}-{number}", "bucket": name, "files": piece.part["files"]},
            piece.weight,
            name,
        )
        for name in sorted(found)
        for number, piece in enumerate(by_filesize(found[name], chunk_size_mb=chunk_size_mb))
    ]


def _fits(file: File, type_: str, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (file.path, posixpath.basename(file.path), type_))


def by_route_map(files: Sequence[File], *, routes: Mapping[str, str] | None = None) -> list[Part]:
    """The pages below each route's folder, each page with the route whose folder is the closest; without routes, by folder.

    Raises: Impossible, for a route that leads to no page.
    """
    folders = {f"/{folder}".rstrip("/") or "/": folder for folder in {posixpath.dirname(file.path) for file in files}}
    mapped = {route: folder.strip("/") for route, folder in (folders if routes is None else routes).items()}

    def route(file: File) -> str | None:
        fits = [name for name, folder in mapped.items() if not folder or file.path == folder or file.path.startswith(f"{folder}/")]
        return max(fits, key=lambda name: (len(mapped[name]), name), default=None)

    found = _grouped((name, file) for file in files if (name := route(file)) is not None)
    for name, folder in mapped.items():
        if name not in found:
            message = f"there is no page in {folder or 'the directory'} for this route"
            raise Impossible(message, f"/routes/{_escaped(name)}")
    return [
        Part(
            {"partition_id": f"route-{name}", "route": name, "files": [list(file) for file in found[name]]},
            sum(file.bytes for file in found[name]),
            name,
        )
        for name in sorted(found)
    ]


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def depths(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How long the longest chain of what each thing needs is: 0 for what needs nothing.

    Raises: Impossible, for a circle, and for a need that is not there.
    """
    found: dict[str, int] = {}
    waiting = dict(needs)
    for name, others in needs.items():
        for other in others:
            if other not in needs:
                message = f"{name[:200]} needs {other[:200]}, which is not there"
                raise Impossible(message)
    while waiting:
        ready = {name: others for name, others in waiting.items() if all(other in found for other in others)}
        if not ready:
            message = f"these need each other: {', '.join(sorted(waiting))[:500]}"
            raise Impossible(message)
        found |= {name: 1 + max((found[other] for other in others), default=-1) for name, others in ready.items()}
        waiting = {name: others for name, others in waiting.items() if name not in ready}
    return found


def by_dag_depth(needs: Mapping[str, Sequence[str]], *, max_depth: int | None = None) -> list[Part]:
    """What needs nothing first, then what needs only that, and so on: one part a depth.

    Raises: Impossible, for a circle, a need that is not there, and chains that are longer than `max_depth`.
    """
    found = depths(needs)
    deepest = max(found.values(), default=-1)
    if max_depth is not None and deepest > max_depth:
        message = f"the longest chain has a depth of {deepest}, more than {max_depth}"
        raise Impossible(message, "/max_depth")
    levels = _grouped((depth, name) for name, depth in found.items())
    parts = []
    for depth, names in sorted(levels.items()):
        part = {"partition_id": f"depth-{depth}", "module": f"depth-{depth}", "depth": depth, "names": sorted(names)}
        parts.append(Part(part, len(names), ""))
    return parts


def by_sql_batch(*, total_rows: int, batch_size: int) -> list[Part]:
    """[0, total_rows) in batches, as an offset and a limit, and as the range [lo, hi) of a key."""
    return [
        Part(
            {
                "batch_id": number,
                "offset": offset,
                "limit": min(batch_size, total_rows - offset),
                "lo": offset,
                "hi": min(offset + batch_size, total_rows),
            },
            min(batch_size, total_rows - offset),
            "",
        )
        for number, offset in enumerate(range(0, total_rows, batch_size))
    ]


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for name, item in pairs:
        found.setdefault(name, []).append(item)
    return found

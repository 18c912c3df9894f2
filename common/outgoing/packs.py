"""Packs as they lie in the artifact store: a manifest for each part, and every file's content once, by its digest."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import encoding
from common.errors import Broken
from common.outgoing import artifacts


class Entry(NamedTuple):
    """A file of a pack."""

    path: str
    digest: str
    bytes: int
    is_executable: bool

    @property
    def object(self) -> str:
        """Where its content is kept."""
        return f"blobs/{self.digest[:2]}/{self.digest}"


def manifest_name(cas_id: str) -> str:
    """Where the manifest of a part is kept."""
    return f"packs/{cas_id}.json"


def written(cas_id: str, entries: Sequence[Entry]) -> str:
    """Write the manifest of a part, once its contents are there; its digest."""
    content = io.BytesIO(manifest(entries))
    digest, _ = artifacts.sha256(content)
    artifacts.opened().put(manifest_name(cas_id), content, digest, "application/json")
    return digest


def manifest(entries: Sequence[Entry]) -> bytes:
    """The manifest of a part: the same files give the same bytes."""
    return encoding.canonical({"schema": "tidemark.pack.v1", "files": [entry._asdict() for entry in entries]})


def entries(cas_id: str) -> list[Entry]:
    """The files of a part.

    Raises: Broken, when its manifest is not there.
    """
    content = artifacts.opened().get(manifest_name(cas_id))
    if content is None:
        message = f"The artifact store has no part {cas_id}: it was removed, or HXO_ARTIFACTS_DIR is another one now."
        raise Broken(message)
    return [Entry(**each) for each in encoding.loads(content)["files"]]


def unpack(parts: Sequence[str], to: Path) -> int:
    """Write the files of a pack into a directory; how many. Every content is compared with its digest.

    Raises: Broken, when something of it is missing or altered.
    """
    base = to.resolve()
    folder = artifacts.Folder(base)
    count = 0
    for entry in (entry for cas_id in parts for entry in entries(cas_id)):
        content: Any = artifacts.opened().get(entry.object)
        if content is None or artifacts.sha256(io.BytesIO(content))[0] != entry.digest:
            message = f"The content of {entry.path} is {'missing' if content is None else 'not what its digest says'}."
            raise Broken(message)
        folder.put(entry.path, io.BytesIO(content), entry.digest)
        (base / entry.path).chmod(0o755 if entry.is_executable else 0o644)
        count += 1
    return count

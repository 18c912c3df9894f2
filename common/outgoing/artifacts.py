"""Where packs and staged files are kept: a directory, or a bucket that speaks S3. Objects are whole or not there."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from common import settings
from common.errors import Conflict, Invalid, Unavailable
from common.outgoing.source_tree import PROJECT

PIECE = 1024 * 1024
REMOVED_AT_ONCE = 1000  # what S3 takes


def sha256(content: BinaryIO) -> tuple[str, int]:
    """The digest of a file, in hex, and how many bytes it has; read from its beginning, and rewound."""
    found, size = hashlib.sha256(), 0
    content.seek(0)
    while piece := content.read(PIECE):
        found.update(piece)
        size += len(piece)
    content.seek(0)
    return found.hexdigest(), size


class Folder:
    """Objects as files of a directory. No two writers get into each other's way: each file comes into being whole."""

    def __init__(self, base: Path) -> None:
        self._base = base.resolve()

    def _path(self, name: str) -> Path:
        found = (self._base / name).resolve()
        if not found.is_relative_to(self._base) or found == self._base:
            message = f"{name[:200]} leads out of where artifacts are kept."
            raise Invalid(message)
        return found

    def digest(self, name: str) -> str | None:
        """The SHA-256 of an object, in hex; None when it is not there."""
        try:
            with self._path(name).open("rb") as file:
                return sha256(file)[0]
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return self._path(name).is_file()

    def put(self, name: str, content: BinaryIO, digest: str, content_type: str = "") -> None:  # noqa: ARG002 - files have none
        """Write an object.

        Raises: Conflict, when the content is not what `digest` says; Unavailable, when the disk does not take it.
        """
        path = self._path(name)
        seen = hashlib.sha256()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
            try:
                with os.fdopen(handle, "wb") as file:
                    content.seek(0)
                    while piece := content.read(PIECE):
                        seen.update(piece)
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                if seen.hexdigest() != digest:
                    message = f"The file changed while it was read, so {name} was not written."
                    raise Conflict(message)
                Path(temporary).replace(path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    Path(temporary).unlink()
        except OSError as error:
            message = f"{name} could not be written: {error.strerror}."
            raise Unavailable(message) from error

    def get(self, name: str) -> bytes | None:
        """An object; None when it is not there."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, names: list[str]) -> None:
        """Objects, those that are there."""
        for name in names:
            path = self._path(name)
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                while path.parent != self._base:
                    path = path.parent
                    path.rmdir()


class Bucket:
    """Objects of a bucket below a prefix; each carries its SHA-256, which is checked by the other side when it is written."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{name}".lstrip("/")}

    def digest(self, name: str) -> str | None:
        """The SHA-256 of an object, in hex; None when it is not there; empty when somebody else put it there, without one."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - 300 ms

        with _told(self._bucket):
            try:
                head = _client().head_object(**self._key(name))
            except ClientError as error:
                if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                    return None
                raise
        return str(head.get("Metadata", {}).get("sha256", ""))

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return self.digest(name) is not None

    def put(self, name: str, content: BinaryIO, digest: str, content_type: str = "") -> None:
        """Write an object.

        Raises: Unavailable, when the other side does not take it, as when the content is not what `digest` says.
        """
        content.seek(0)
        checked = base64.b64encode(bytes.fromhex(digest)).decode()
        more = {"ContentType": content_type} if content_type else {}
        with _told(self._bucket):
            _client().put_object(**self._key(name), Body=content, ChecksumSHA256=checked, Metadata={"sha256": digest}, **more)

    def get(self, name: str) -> bytes | None:
        """An object; None when it is not there."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        with _told(self._bucket):
            try:
                return bytes(_client().get_object(**self._key(name))["Body"].read())
            except ClientError as error:
                if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                    return None
                raise

    def remove(self, names: list[str]) -> None:
        """Objects, those that are there."""
        with _told(self._bucket):
            for start in range(0, len(names), REMOVED_AT_ONCE):
                keys = [{"Key": self._key(name)["Key"]} for name in names[start : start + REMOVED_AT_ONCE]]
                _client().delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})


def opened(place: str | None = None) -> Folder | Bucket:
    """Where artifacts are kept, or a place of its own: a directory's name below it, or s3://bucket/prefix.

    Raises: Invalid, when the name leads out of it.
    """
    kept = settings.load().hxo_artifacts_dir
    if place is not None and "://" in place:
        return _bucket(place)
    if "://" in kept:
        return _bucket(f"{kept}/{place}" if place else kept)
    base = (PROJECT / kept).resolve()
    found = (base / (place or "")).resolve()
    if not found.is_relative_to(base):
        message = f"{str(place)[:200]} leads out of where artifacts are kept."
        raise Invalid(message, errors=[{"pointer": "/to", "message": "leads out of where artifacts are kept"}])
    return Folder(found)


def _bucket(url: str) -> Bucket:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return Bucket(bucket, prefix.strip("/"))


@contextmanager
def _told(bucket: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        message = f"The bucket {bucket} did not do what it was asked for: {type(error).__name__}."
        raise Unavailable(message) from error


@functools.cache
def _client() -> Any:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client("s3", config=Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 2}))

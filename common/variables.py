"""How each variable of the environment is read: its text becomes a value, or a ValueError says what it must be."""

from __future__ import annotations

import base64
import re
import urllib.parse
from datetime import timedelta

ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+", re.ASCII)  # nothing that ends a header
ARTIFACTS = ".tidemark/artifacts"  # below the project's own root
_SHARED = re.compile(
    r"https://(?:[a-z0-9-]+\.)+[a-z0-9-]+(?::[0-9]{1,5})?|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?"
    r"|https://deploy-preview-\*--[a-z0-9-]+\.netlify\.app"
)


def text(value: str) -> str:
    """As it stands."""
    return value


def flag(value: str) -> bool:
    """A flag, as people write them."""
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    message = "is neither true nor false"
    raise ValueError(message)


def listed(value: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def positive(value: str) -> int:
    """1 or more."""
    number = int(value)
    if number < 1:
        message = "must be 1 or more"
        raise ValueError(message)
    return number


def whole(value: str) -> int:
    """0 or more."""
    number = int(value)
    if number < 0:
        message = "must not be negative"
        raise ValueError(message)
    return number


def seconds(value: str) -> timedelta:
    """Whole seconds, 1 or more."""
    return timedelta(seconds=positive(value))


def milliseconds(value: str) -> timedelta:
    """Whole milliseconds, 1 or more."""
    return timedelta(milliseconds=positive(value))


def database_url(value: str) -> str:
    """Where Postgres is."""
    if not value.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        message = "must begin with postgresql://"
        raise ValueError(message)
    return value


def secret_key(value: str) -> str:
    """What signs, long enough not to be guessed."""
    if len(value) < 16:  # noqa: PLR2004
        message = "must have 16 characters or more"
        raise ValueError(message)
    return value


def seed(value: str) -> str:
    """What signs what leaves us: nothing, or long enough."""
    if value and len(value) < 32:  # noqa: PLR2004
        message = "must have 32 characters or more"
        raise ValueError(message)
    return value


def release(value: str) -> str:
    """The name of a version."""
    if value and not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,63}", value, re.ASCII):
        message = "must be 1 to 64 letters, digits, dots, hyphens, underscores and plus signs"
        raise ValueError(message)
    return value


def consensus(value: str) -> str:
    """A mode of voting."""
    mode = value.strip().upper()
    if mode not in {"HARMONIC", "SIMPLE"}:
        message = "must be HARMONIC or SIMPLE"
        raise ValueError(message)
    return mode


def path(value: str) -> str:
    """A path of an address."""
    if not re.fullmatch(r"/[\w./~-]*", value, re.ASCII):
        message = "must be a path such as /health/live"
        raise ValueError(message)
    return value


def artifacts(value: str) -> str:
    """A directory, or a place in a bucket."""
    found = value.strip().rstrip("/") or ARTIFACTS
    if "://" in value and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[\w.=/-]+)?", found, re.ASCII):
        message = "must be a directory, or s3://bucket/prefix"
        raise ValueError(message)
    return found


def queue(value: str) -> str:
    """One of common/queues."""
    if value not in {"cloud_tasks", "sqs"}:
        message = "must be cloud_tasks or sqs"
        raise ValueError(message)
    return value


def deployment(value: str) -> str:
    """A slug."""
    if not re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", value):
        message = "must be 1 to 63 small letters, digits and hyphens, and not begin with a hyphen"
        raise ValueError(message)
    return value


def data_centre(value: str) -> str:
    """One of the source's data centres."""
    lowered = value.strip().lower()
    if lowered not in {"us", "eu", "in", "au", "jp", "ca", "cn", "sa"}:
        message = "must be us, eu, in, au, jp, ca, cn or sa"
        raise ValueError(message)
    return lowered


def origins(value: str) -> tuple[str, ...]:
    """As browsers write them: in small letters, without a path and the port that goes without saying."""
    found = tuple(each.lower().rstrip("/") for each in listed(value))
    if not all(_SHARED.fullmatch(each) for each in found):
        message = "must be https:// origins, http:// ones of this machine, or https://deploy-preview-*--<site>.netlify.app"
        raise ValueError(message)
    return tuple(re.sub(r"^(https://.*):443$|^(http://.*):80$", r"\1\2", each) for each in found)


def page_token(value: str) -> str:
    """Nothing, or long enough not to be guessed."""
    if value and len(value) < 16:  # noqa: PLR2004
        message = "must have 16 characters or more"
        raise ValueError(message)
    return value


def origin(value: str) -> str:
    """A scheme, a host and perhaps a port; plain http on this machine alone."""
    parts = urllib.parse.urlsplit(value.strip().rstrip("/"))
    is_local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if value and not (parts.hostname and (parts.scheme == "https" or is_local) and not parts.path and not parts.query):
        message = "must be https://host, or http:// on this machine, without a path"
        raise ValueError(message)
    return parts.geturl()


def hook_url(value: str) -> str:
    """An address to post to; plain http on this machine alone."""
    parts = urllib.parse.urlsplit(value.strip())
    is_local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if value and not (_has_host(parts) and (parts.scheme == "https" or is_local) and parts.username is None and not parts.fragment):
        message = "must be an https:// address, or http:// on this machine, without a name and password"
        raise ValueError(message)
    return parts.geturl()


def smtp_url(value: str) -> str:
    """A mail server, and who we are there."""
    parts = urllib.parse.urlsplit(value.strip())
    is_plain = parts.path in {"", "/"} and not parts.query and not parts.fragment
    if value and not (parts.scheme in {"smtp", "smtps"} and _has_host(parts) and is_plain):
        message = "must be smtp://user:password@host:port or smtps://..., the password with % escapes"
        raise ValueError(message)
    return parts.geturl()


def _has_host(parts: urllib.parse.SplitResult) -> bool:
    try:
        return bool(parts.hostname and parts.hostname.encode("idna") and (parts.port is None or parts.port > 0))
    except ValueError:  # a port that is no number, or a name that cannot be one
        return False


def address(value: str) -> str:
    """A mail address."""
    if value and not ADDRESS.fullmatch(value.strip()):
        message = "must be an address such as alerts@example.com"
        raise ValueError(message)
    return value.strip()


def addresses(value: str) -> tuple[str, ...]:
    """Mail addresses."""
    return tuple(address(part) for part in listed(value))


def signing_secrets(value: str) -> tuple[str, ...]:
    """Secrets as Standard Webhooks writes them."""
    found = listed(value)
    for secret in found:
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if not secret.startswith("whsec_") or not 24 <= size <= 64:  # noqa: PLR2004 - as Standard Webhooks has it
            message = "must be whsec_ and 24 to 64 bytes in base64"
            raise ValueError(message)
    return found

"""One frozen object read from the environment; every fault is named at once and nothing else reads os.environ."""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from common import log


class Misconfigured(Exception):
    """The environment does not let Tidemark start; the message lists every fault."""


def _text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    message = "is neither true nor false"
    raise ValueError(message)


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        message = "must be 1 or more"
        raise ValueError(message)
    return number


def _whole(value: str) -> int:
    number = int(value)
    if number < 0:
        message = "must not be negative"
        raise ValueError(message)
    return number


def _seconds(value: str) -> timedelta:
    return timedelta(seconds=_positive(value))


def _milliseconds(value: str) -> timedelta:
    return timedelta(milliseconds=_positive(value))


def _database_url(value: str) -> str:
    if not value.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        message = "must begin with postgresql://"
        raise ValueError(message)
    return value


def _secret_key(value: str) -> str:
    if len(value) < 16:  # noqa: PLR2004
        message = "must have 16 characters or more"
        raise ValueError(message)
    return value


def _queue(value: str) -> str:
    if value not in {"cloud_tasks", "sqs"}:
        message = "must be cloud_tasks or sqs"
        raise ValueError(message)
    return value


def _data_centre(value: str) -> str:
    lowered = value.strip().lower()
    if lowered not in {"us", "eu", "in", "au", "jp", "ca", "cn", "sa"}:
        message = "must be us, eu, in, au, jp, ca, cn or sa"
        raise ValueError(message)
    return lowered


def _origin(value: str) -> str:
    parts = urllib.parse.urlsplit(value.strip().rstrip("/"))
    is_local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if value and not (parts.hostname and (parts.scheme == "https" or is_local) and not parts.path and not parts.query):
        message = "must be https://host, or http:// on this machine, without a path"
        raise ValueError(message)
    return parts.geturl()


def setting(read: Callable[[str], Any], default: str | None, what: str) -> Any:
    """One environment variable: how it is read, what it is when unset (None: it must be set), what it means."""
    return field(metadata={"read": read, "default": default, "what": what})


@dataclass(frozen=True)
class Settings:
    """What the environment says. The field's name in capitals is the variable's name."""

    database_url: str = setting(_database_url, None, "Postgres; postgresql:// and postgresql+asyncpg:// are both read")
    secret_key: str = setting(_secret_key, None, "signs what Tidemark says to itself, such as the calls of tasks")
    secret_key_previous: str = setting(_text, "", "still accepted while SECRET_KEY is being rotated")
    admiral_token: str = setting(_text, "", "the first owner token; make further ones with it and then unset it")
    zoho_organization_id: str = setting(_text, "", "the one organization of this database; records of others are quarantined")
    zoho_webhook_secrets: tuple[str, ...] = setting(
        _listed, "", "secrets of webhooks, comma separated, each `secret` (Zoho) or `scheme:secret`"
    )
    zoho_dc: str = setting(_data_centre, "us", "the data centre of the organization: us, eu, in, au, jp, ca, cn or sa")
    zoho_client_id: str = setting(_text, "", "of the OAuth client that reads from Zoho")
    zoho_client_secret: str = setting(_text, "", "of the same client")
    zoho_refresh_token: str = setting(_text, "", "got once for the same client; without these three nothing is read from Zoho")
    zoho_api_url: str = setting(_origin, "", "where Zoho's API is instead of the data centre's host, such as a stand-in")
    zoho_accounts_url: str = setting(_origin, "", "where access tokens come from instead of the data centre's host")
    webhook_body_limit_bytes: int = setting(_positive, "1048576", "largest webhook body that is read")
    body_timeout_seconds: timedelta = setting(_seconds, "25", "how long a request's body may take to arrive")
    webhook_entities: tuple[str, ...] = setting(_listed, "", "paths that this receiver serves, comma separated; empty: all")
    trusted_proxies: int = setting(_whole, "0", "how many proxies in front append to X-Forwarded-For")
    queue: str = setting(_queue, "cloud_tasks", "what rings: cloud_tasks or sqs")
    tasks_queue: str = setting(
        _text, "projects/local/locations/local/queues/tidemark", "full name of the Cloud Tasks queue, or the SQS queue URL"
    )
    tasks_endpoint: str = setting(_text, "", "host:port of the local Cloud Tasks look-alike; empty: Google's own")
    tasks_service_account: str = setting(_text, "", "the e-mail whose OIDC token tasks carry; empty: the local key")
    functions_url: str = setting(_text, "http://127.0.0.1:8080", "where the functions are reached by tasks")
    function_timeout_seconds: timedelta = setting(_seconds, "60", "how long one call of a function may last")
    shard_kinds: tuple[str, ...] = setting(_listed, "", "shard kinds that this function works on, comma separated; empty: all")
    hxo_enabled: bool = setting(_flag, "true", "false: plan routes answer 503")
    hxo_max_shards: int = setting(_positive, "1000000", "most shards that a plan may have")
    hxo_max_concurrency: int = setting(_positive, "64", "most lanes that a plan may have at once")
    hxo_shard_timeout_ms: timedelta = setting(_milliseconds, "15000", "a shard that takes longer has failed, and is tried again")
    hxo_default_slo_ms: timedelta = setting(_milliseconds, "120000", "how long a stage should take that does not say")
    hxo_autosplit_p95_ms: timedelta = setting(_milliseconds, "8000", "a chunk that takes longer is cut into smaller ones")
    hxo_autosplit_factor: int = setting(_positive, "4", "into how many")
    hxo_heal_depth_limit: int = setting(_positive, "5", "how often one shard is tried again before its plan is halted")
    hxo_predictive_mode: bool = setting(_flag, "true", "false: no forecasts of when a plan will end")
    hxo_quantum_hashing: bool = setting(_flag, "true", "SHA3-256 for the tree of results; false: SHA-256")
    db_pool: int = setting(_positive, "8", "most connections that one instance keeps")

    @property
    def task_key(self) -> str:
        """What a task caller shows to be let in: derived, so that it can be neither forgotten nor leaked apart."""
        return task_key(self.secret_key)

    @property
    def task_keys(self) -> tuple[str, ...]:
        """Every task key that is accepted now."""
        return tuple(task_key(key) for key in (self.secret_key, self.secret_key_previous) if key)


def task_key(secret_key: str) -> str:
    """The task caller's key that belongs to a secret key."""
    return hmac.new(secret_key.encode(), b"tidemark task caller", hashlib.sha256).hexdigest()


def read(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` describes.

    Raises: Misconfigured, naming every missing and every malformed variable.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for each in fields(Settings):
        name, default = each.name.upper(), each.metadata["default"]
        text = environ.get(name, default)
        if text is None or (default is None and not text):
            faults.append(f"{name} is not set ({each.metadata['what']})")
            continue
        try:
            values[each.name] = each.metadata["read"](text)
        except ValueError as error:
            reason = str(error) if str(error).startswith(("is ", "must ")) else "cannot be read as a whole number"
            faults.append(f"{name} {reason} ({each.metadata['what']})")
    if faults:
        raise Misconfigured("; ".join(faults))
    return Settings(**values)


@functools.cache
def load() -> Settings:
    """The settings of this process, read once; their secrets are kept out of the log from here on."""
    settings = read(os.environ)
    secrets = [secret.rpartition(":")[2] for secret in settings.zoho_webhook_secrets]
    log.protect(settings.secret_key, settings.secret_key_previous, settings.admiral_token, *settings.task_keys, *secrets)
    log.protect(settings.zoho_client_secret, settings.zoho_refresh_token)
    return settings

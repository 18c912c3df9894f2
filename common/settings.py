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

from common import log, variables


class Misconfigured(Exception):
    """The environment does not let Tidemark start; the message lists every fault."""


def setting(read: Callable[[str], Any], default: str | None, what: str) -> Any:
    """One environment variable: how it is read, what it is when unset (None: it must be set), what it means."""
    return field(metadata={"read": read, "default": default, "what": what})


@dataclass(frozen=True)
class Settings:
    """What the environment says. The field's name in capitals is the variable's name."""

    database_url: str = setting(variables.database_url, None, "Postgres; postgresql:// and postgresql+asyncpg:// are both read")
    deployment: str = setting(
        variables.deployment, "default", "which deployment this is, of those that share the database; one is ACTIVE"
    )
    secret_key: str = setting(variables.secret_key, None, "signs what Tidemark says to itself, such as the calls of tasks")
    secret_key_previous: str = setting(variables.text, "", "still accepted while SECRET_KEY is being rotated")
    seed_secret: str = setting(
        variables.seed, "", "signs what leaves Tidemark: tokens, exports, certificates; empty: a key of SECRET_KEY"
    )
    seed_secret_previous: str = setting(variables.seed, "", "still accepted while SEED_SECRET is being rotated")
    release: str = setting(
        variables.release, "", "which version of the code this is, such as a commit; empty: the package's own version"
    )
    admiral_token: str = setting(variables.text, "", "the first owner token; make further ones with it and then unset it")
    page_token: str = setting(
        variables.page_token, "", "lets the static page read /api/status, and nothing else; empty: operators only"
    )
    cors_origins: tuple[str, ...] = setting(
        variables.origins, "", "whose pages may read /api/status, comma separated, such as https://status.example.com"
    )
    zoho_organization_id: str = setting(
        variables.text, "", "the one organization of this database; records of others are quarantined"
    )
    zoho_webhook_secrets: tuple[str, ...] = setting(
        variables.listed, "", "secrets of webhooks, comma separated, each `secret` (Zoho) or `scheme:secret`"
    )
    zoho_dc: str = setting(variables.data_centre, "us", "the data centre of the organization: us, eu, in, au, jp, ca, cn or sa")
    zoho_client_id: str = setting(variables.text, "", "of the OAuth client that reads from Zoho")
    zoho_client_secret: str = setting(variables.text, "", "of the same client")
    zoho_refresh_token: str = setting(
        variables.text, "", "got once for the same client; without these three nothing is read from Zoho"
    )
    zoho_api_url: str = setting(variables.origin, "", "where Zoho's API is instead of the data centre's host, such as a stand-in")
    zoho_accounts_url: str = setting(variables.origin, "", "where access tokens come from instead of the data centre's host")
    webhook_body_limit_bytes: int = setting(variables.positive, "1048576", "largest webhook body that is read")
    body_timeout_seconds: timedelta = setting(variables.seconds, "25", "how long a request's body may take to arrive")
    webhook_entities: tuple[str, ...] = setting(
        variables.listed, "", "paths that this receiver serves, comma separated; empty: all"
    )
    trusted_proxies: int = setting(variables.whole, "0", "how many proxies in front append to X-Forwarded-For")
    queue: str = setting(variables.queue, "cloud_tasks", "what rings: cloud_tasks or sqs")
    tasks_queue: str = setting(
        variables.text, "projects/local/locations/local/queues/tidemark", "full name of the Cloud Tasks queue, or the SQS queue URL"
    )
    tasks_endpoint: str = setting(variables.text, "", "host:port of the local Cloud Tasks look-alike; empty: Google's own")
    tasks_service_account: str = setting(variables.text, "", "the e-mail whose OIDC token tasks carry; empty: the local key")
    functions_url: str = setting(variables.text, "http://127.0.0.1:8080", "where the functions are reached by tasks")
    function_timeout_seconds: timedelta = setting(variables.seconds, "60", "how long one call of a function may last")
    shard_kinds: tuple[str, ...] = setting(
        variables.listed, "", "shard kinds that this function works on, comma separated; empty: all"
    )
    hxo_enabled: bool = setting(variables.flag, "true", "false: plan routes answer 503")
    hxo_max_shards: int = setting(variables.positive, "1000000", "most shards that a plan may have")
    hxo_max_concurrency: int = setting(variables.positive, "64", "most lanes that a plan may have at once")
    hxo_shard_timeout_ms: timedelta = setting(
        variables.milliseconds, "15000", "a shard that takes longer has failed, and is tried again"
    )
    hxo_default_slo_ms: timedelta = setting(variables.milliseconds, "120000", "how long a stage should take that does not say")
    hxo_autosplit_p95_ms: timedelta = setting(variables.milliseconds, "8000", "a chunk that takes longer is cut into smaller ones")
    hxo_autosplit_factor: int = setting(variables.positive, "4", "into how many")
    hxo_heal_depth_limit: int = setting(variables.positive, "5", "how often one shard is tried again before its plan is halted")
    hxo_predictive_mode: bool = setting(
        variables.flag, "true", "false: no forecasts: of the ends of plans, of backlogs, of the day's calls, of odd hours"
    )
    hxo_quantum_hashing: bool = setting(variables.flag, "true", "SHA3-256 for the tree of results; false: SHA-256")
    hxo_zero_trust: bool = setting(variables.flag, "true", "false: rings are let in on their caller's key alone")
    hxo_zdu_enabled: bool = setting(variables.flag, "true", "false: migrations refuse to run while plans are active")
    hxo_alir_enabled: bool = setting(variables.flag, "true", "false: as many lanes as plans may have, however slow they get")
    hxo_consensus_mode: str = setting(
        variables.consensus, "HARMONIC", "HARMONIC: Truth and Autonomy must both agree; SIMPLE: Truth alone"
    )
    hxo_federation_timeout: timedelta = setting(
        variables.milliseconds, "5000", "milliseconds that one dependency may take to say how it is"
    )
    hxo_migration_timeout: timedelta = setting(variables.seconds, "300", "seconds that one migration may take")
    hxo_auto_audit_after_deploy: bool = setting(variables.flag, "true", "false: no ARIE run after a deploy")
    hxo_event_cache_limit: int = setting(variables.positive, "10000", "how many notices of the bus are kept")
    hxo_artifacts_dir: str = setting(
        variables.artifacts, variables.ARTIFACTS, "where packs and staged files are kept: a directory, or s3://bucket/prefix"
    )
    hxo_source_dir: str = setting(
        variables.text, "", "the directory below which files are packed and indexed; empty: the project's own root"
    )
    stabilizer_enabled: bool = setting(variables.flag, "true", "false: what fails in a deploy makes no ticket")
    healthcheck_path: str = setting(
        variables.path, "/health/live", "where a target is asked whether it is well, unless it says otherwise"
    )
    render_api_key: str = setting(variables.text, "", "of Render's API")
    render_service_id: str = setting(variables.text, "", "the service that the target `render` stands for, srv-...")
    render_deploy_hook: str = setting(variables.hook_url, "", "the deploy hook of that service")
    render_deploy_hook_green: str = setting(variables.hook_url, "", "the deploy hook of the service that it is switched with")
    render_api_url: str = setting(variables.origin, "", "where Render's API is instead of its own host, such as a stand-in")
    netlify_auth_token: str = setting(variables.text, "", "of Netlify's API")
    netlify_site_id: str = setting(variables.text, "", "the site that the target `netlify` stands for")
    netlify_deploy_hook: str = setting(variables.hook_url, "", "the build hook of that site, called once its backend is live")
    netlify_api_url: str = setting(variables.origin, "", "where Netlify's API is instead of its own host")
    github_token: str = setting(variables.text, "", "of GitHub's API")
    github_repository: str = setting(variables.text, "", "owner/name: the repository that the target `github` stands for")
    github_api_url: str = setting(variables.origin, "", "where GitHub's API is instead of its own host")
    traffic_hook: str = setting(
        variables.hook_url, "", "asked to send the traffic from one target to another; empty: a person does that"
    )
    traffic_hook_secret: tuple[str, ...] = setting(
        variables.signing_secrets, "", "what it is asked with, whsec_...; two while it is changed"
    )
    egress_allow: tuple[str, ...] = setting(
        variables.listed,
        "",
        "host:port of this machine or network that hooks may reach all the same, comma separated; for stand-ins",
    )
    genesis_enabled: bool = setting(
        variables.flag, "true", "false: nobody outside is told of anything: alerts are passed over, subscriptions wait"
    )
    alert_webhook_url: str = setting(variables.hook_url, "", "where alerts are posted to, signed; empty: nowhere")
    alert_webhook_secret: tuple[str, ...] = setting(
        variables.signing_secrets, "", "what they are signed with, whsec_...; two, comma separated, while it is being changed"
    )
    smtp_url: str = setting(
        variables.smtp_url, "", "smtp://user:password@host:port or smtps://...: what mails alerts; empty: nothing does"
    )
    alert_email_from: str = setting(variables.address, "", "the address that mails about alerts come from")
    alert_email_to: tuple[str, ...] = setting(variables.addresses, "", "the addresses they go to, comma separated")
    db_pool: int = setting(variables.positive, "8", "most connections that one instance keeps")

    @functools.cached_property
    def running_release(self) -> str:
        """Which version of the code this is; `unnamed` where neither RELEASE nor an installed package says so."""
        if self.release:
            return self.release
        from importlib import metadata  # noqa: PLC0415 - 20 ms, and only where RELEASE is not set

        try:
            return metadata.version("tidemark")
        except metadata.PackageNotFoundError:
            return "unnamed"

    @property
    def task_key(self) -> str:
        """What a task caller shows to be let in: derived, so that it can be neither forgotten nor leaked apart."""
        return task_key(self.secret_key)

    @property
    def environment_key(self) -> str:
        """What the variables of targets are hashed with, so that two of them can be compared where neither may be shown."""
        return hmac.new(self.secret_key.encode(), b"tidemark environments of targets", hashlib.sha256).hexdigest()

    @property
    def task_keys(self) -> tuple[str, ...]:
        """Every task key that is accepted now."""
        return tuple(task_key(key) for key in (self.secret_key, self.secret_key_previous) if key)

    @functools.cached_property
    def signing_keys(self) -> tuple[tuple[str, bytes], ...]:
        """What signs now, then what is still accepted: of SEED_SECRET, or of SECRET_KEY where there is none."""
        now, before = (
            (self.seed_secret, self.seed_secret_previous) if self.seed_secret else (self.secret_key, self.secret_key_previous)
        )
        return tuple(signing_key(secret) for secret in (now, before) if secret)


def task_key(secret_key: str) -> str:
    """The task caller's key that belongs to a secret key."""
    return hmac.new(secret_key.encode(), b"tidemark task caller", hashlib.sha256).hexdigest()


def signing_key(secret: str) -> tuple[str, bytes]:
    """What signs with SEED_SECRET, or SECRET_KEY where there is none, and the id that it is known by."""
    key = hmac.new(secret.encode(), b"tidemark signing key", hashlib.sha256).digest()
    return hmac.new(key, b"tidemark key id", hashlib.sha256).hexdigest()[:12], key


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
    faults += _missing_together(values)
    if faults:
        raise Misconfigured("; ".join(faults))
    return Settings(**values)


def _missing_together(values: Mapping[str, Any]) -> list[str]:
    """What is not set, though something that needs it is."""
    needs = {"alert_webhook_url": ("alert_webhook_secret",), "smtp_url": ("alert_email_from", "alert_email_to")}
    needs["traffic_hook"] = ("traffic_hook_secret",)
    return [
        f"{other.upper()} is not set, which {name.upper()} needs"
        for name, others in needs.items()
        for other in others
        if values.get(name) and other in values and not values[other]
    ]


def _secrets_of(settings: Settings) -> list[str]:
    """Of where and how alerts go: the signing secrets, the password as it is and as it stands, and a path that may be one."""
    password = urllib.parse.urlsplit(settings.smtp_url).password or ""
    hook = urllib.parse.urlsplit(settings.alert_webhook_url)
    signing = [secret.removeprefix("whsec_") for secret in settings.alert_webhook_secret]
    return [*signing, password, urllib.parse.unquote(password), hook.path, hook.query]


def _secrets_of_targets(settings: Settings) -> list[str]:
    """Of what deploys: keys, and what makes the address of a hook one that only we know."""
    hooks = (settings.render_deploy_hook, settings.render_deploy_hook_green, settings.netlify_deploy_hook, settings.traffic_hook)
    parts = [urllib.parse.urlsplit(hook) for hook in hooks]
    keys = [settings.render_api_key, settings.netlify_auth_token, settings.github_token]
    keys += [secret.removeprefix("whsec_") for secret in settings.traffic_hook_secret]
    return [*keys, *(part.path for part in parts if part.path), *(part.query for part in parts)]


# Variables that rows may name, so that no row holds a secret; by what they are for.
HOOKS = ("RENDER_DEPLOY_HOOK", "RENDER_DEPLOY_HOOK_GREEN", "NETLIFY_DEPLOY_HOOK")


def secret(name: str) -> str:
    """What stands in a variable of HOOKS; empty, when nothing does.

    Raises: KeyError, for any other: a row cannot read the environment.
    """
    if name not in HOOKS:
        raise KeyError(name)
    return str(getattr(load(), name.lower()))


@functools.cache
def load() -> Settings:
    """The settings of this process, read once; their secrets are kept out of the log from here on."""
    settings = read(os.environ)
    secrets = [secret.rpartition(":")[2] for secret in settings.zoho_webhook_secrets]
    log.protect(settings.secret_key, settings.secret_key_previous, settings.admiral_token, *settings.task_keys, *secrets)
    log.protect(settings.zoho_client_secret, settings.zoho_refresh_token, settings.page_token)
    log.protect(settings.seed_secret, settings.seed_secret_previous, *_secrets_of_targets(settings))
    return settings

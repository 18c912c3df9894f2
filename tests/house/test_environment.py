"""`.env.example` names every variable that Tidemark reads. To write it anew: python -m tests.house.test_environment"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

from common import settings
from deploy.local import gateway
from tests.house.tree import ROOT

FILE = ROOT / ".env.example"
HEAD = "# What Tidemark reads from its environment. Written by tests/house/test_environment.py from common/settings.py.\n"


def example() -> str:
    """The file: what must be set stands open, what need not is commented out with its default."""
    parts = [HEAD]
    for each in fields(settings.Settings):
        default = each.metadata["default"]
        line = f"{each.name.upper()}=" if default is None else f"# {each.name.upper()}={default}"
        parts.append(f"# {each.metadata['what']}\n{line}\n")
    return "\n".join(parts)


def test_the_example_names_every_variable_with_its_default():
    assert FILE.read_text() == example()


# What is of this machine, of one function and not of all, or of Google's queue.
ELSEWHERE = {
    "BODY_TIMEOUT_SECONDS", "DB_POOL", "FUNCTION_TIMEOUT_SECONDS", "GITHUB_API_URL", "NETLIFY_API_URL", "RENDER_API_URL", "SHARD_KINDS",
    "TASKS_ENDPOINT", "TASKS_SERVICE_ACCOUNT", "TRUSTED_PROXIES", "WEBHOOK_BODY_LIMIT_BYTES", "WEBHOOK_ENTITIES", "ZOHO_ACCOUNTS_URL",
    "ZOHO_API_URL",
}  # fmt: skip


def on_aws() -> set[str]:
    """What serverless.yml hands to every function."""
    return set(gateway.declared()["provider"]["environment"])


def missing(handed: Collection[str]) -> set[str]:
    """Variables that somebody may set and no function on AWS would see."""
    return {each.name.upper() for each in fields(settings.Settings)} - ELSEWHERE - set(handed)


def test_what_can_be_set_reaches_the_functions_on_aws():
    assert missing(on_aws()) == set()


def test_a_variable_that_does_not_reach_them_would_be_seen():
    assert missing(on_aws() - {"SEED_SECRET"}) == {"SEED_SECRET"}


if __name__ == "__main__":
    FILE.write_text(example())

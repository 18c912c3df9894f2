"""Engine links (9): a dependency that hangs is down within the time limit, and the others are as they were."""

from __future__ import annotations

import time

import pytest

from common import db
from common.flows import links
from common.rules.links import ORIGINAL

TABLES = {
    "autonomy": "tidemark.heartbeats",
    "truth": "tidemark.plans",
    "leviathan": "tidemark.signals",
    "arie": "tidemark.arie_runs",
    "envrecon": "tidemark.links",
    "cascade": "tidemark.breakers",
    "blueprint": "public.tds_schema_versions",
    "parser": "tidemark.rollups",
    "federation": "tidemark.subscriptions",
}
SHARED = {"source", "database", "cascade", "blueprint"}  # which read of the same tables as others


@pytest.mark.parametrize("link", ORIGINAL)
def test_a_dependency_that_hangs_is_down_within_the_limit_and_the_others_are_unaffected(link, sql, configured):
    configured(HXO_FEDERATION_TIMEOUT="600")
    before = {name: found.status for name, found in links.look().items()}
    with db.transaction() as other:
        other.script(f"lock table {TABLES[link]} in access exclusive mode")
        began = time.monotonic()
        during = {name: found.status for name, found in links.look().items()}
        assert time.monotonic() - began < 0.9
    assert during[link] == "down"
    changed = {name for name in during if during[name] != before[name]}
    assert changed <= {link} | SHARED

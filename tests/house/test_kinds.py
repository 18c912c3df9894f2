"""Every shard kind that can be submitted says what it reads and what it says; plans that stand must not be broken by a change.

docs/schemas/kinds.json is what was promised. To write it anew, after a change that breaks nothing: python -m tests.house.test_kinds
"""

from __future__ import annotations

import copy
import json

import pytest

from common import shards
from common.rules import blueprint
from tests.house.tree import ROOT

FILE = ROOT / "docs" / "schemas" / "kinds.json"


def now():
    """The schemas of the code, by kind."""
    found = {kind: shards.find(kind) for kind in shards.kinds()}
    return {
        kind: {"input": blueprint.described(module.INPUT), "output": blueprint.described(module.OUTPUT)}
        for kind, module in found.items()
        if hasattr(module, "INPUT")
    }


def promised():
    return json.loads(FILE.read_text())


def broken(old, new):
    """Why the new schemas cannot take the place of the old ones."""
    gone = [f"{kind}: is gone" for kind in old if kind not in new]
    return gone + [f"{kind}: {why}" for kind in old if kind in new for why in blueprint.breaks(old[kind], new[kind])]


def text(schemas):
    return json.dumps(schemas, indent=1, sort_keys=True) + "\n"


def test_no_change_breaks_what_was_promised():
    assert broken(promised(), now()) == []


def test_the_promise_is_written_down():
    assert FILE.read_text() == text(now()), "run python -m tests.house.test_kinds"


def test_every_kind_that_can_be_submitted_says_what_it_reads_and_says():
    silent = [
        kind
        for kind in shards.kinds()
        if not getattr(shards.find(kind), "IS_OURS", False) and not {"INPUT", "OUTPUT"} <= set(vars(shards.find(kind)))
    ]
    assert silent == []


def planted(change):
    new = copy.deepcopy(promised())
    change(new)
    return broken(promised(), new)


PLANTED = {
    "a kind is gone": lambda new: new.pop("deploy.pack"),
    "a required field of an output is gone": lambda new: new["deploy.pack"]["output"]["required"].remove("cas_id"),
    "a field of an output is gone": lambda new: (
        new["deploy.pack"]["output"]["properties"].pop("cas_id"), new["deploy.pack"]["output"]["required"].remove("cas_id")
    ),
    "an input has a new required field": lambda new: new["deploy.pack"]["input"].update(required=["directory"]),
    "a field of an input is gone": lambda new: new["deploy.pack"]["input"]["properties"].pop("hidden"),
    "an enum is narrower": lambda new: new["deploy.pack"]["input"]["properties"]["partitioner"]["enum"].remove("by_module"),
    "what was free is one of a few": lambda new: new["deploy.pack"]["input"]["properties"]["directory"].update(enum=["."]),
    "an enum of an output is narrower": lambda new: new["deploy.prime"]["output"]["properties"]["status"]["enum"].remove("primed"),
    "an input is of another type": lambda new: new["deploy.pack"]["input"]["properties"]["chunk_size_mb"].update(type="string"),
    "an output is of another type": lambda new: new["deploy.pack"]["output"]["properties"]["bytes"].update(type="string"),
}  # fmt: skip
HARMLESS = {
    "another kind": lambda new: new.update(another=new["noop"]),
    "an output says more": lambda new: new["deploy.pack"]["output"]["properties"].update(more={"type": "string"}),
    "an input may say more": lambda new: new["deploy.pack"]["input"]["properties"].update(more={"type": "string"}),
    "an enum is wider": lambda new: new["deploy.pack"]["input"]["properties"]["partitioner"]["enum"].append("by_owner"),
}


@pytest.mark.parametrize("change", PLANTED)
def test_a_change_that_breaks_plans_is_seen(change):
    assert planted(PLANTED[change]) != []


@pytest.mark.parametrize("change", HARMLESS)
def test_a_change_that_breaks_nothing_is_let_through(change):
    assert planted(HARMLESS[change]) == []


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    if FILE.exists() and (faults := broken(promised(), now())):
        raise SystemExit("\n".join(faults))
    FILE.write_text(text(now()))

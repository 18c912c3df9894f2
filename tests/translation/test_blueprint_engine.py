"""Blueprint engine, hot-swap schema: a registry of schemas by kind, checked for what plans that stand can bear."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from common import encoding, shards
from common.errors import Invalid
from common.flows import kinds, plans
from common.outgoing import source_tree
from common.rules import blueprint
from common.rules.blueprint import Schema
from common.rules.http import Request
from functions import plans as function
from tests.conftest import OWNER
from tests.packs import outputs, ran, submitted


class Before(Schema):
    partitioner: Literal["by_filesize", "by_module"] = "by_filesize"
    directory: str = "."


class Said(Schema):
    status: Literal["packed"] = "packed"
    files_processed: int


def schemas(input_, output):
    return {"input": blueprint.described(input_), "output": blueprint.described(output)}


def test_removing_a_required_output_field_fails():
    class Less(Schema):
        status: Literal["packed"] = "packed"

    assert blueprint.breaks(schemas(Before, Said), schemas(Before, Less)) == ["output: files_processed is not promised any more"]


def test_adding_a_required_input_field_or_narrowing_one_fails():
    class More(Schema):
        partitioner: Literal["by_filesize"] = "by_filesize"
        directory: str

    assert blueprint.breaks(schemas(Before, Said), schemas(More, Said)) == [
        "input: directory is required now",
        "input: partitioner cannot be by_module any more",
    ]


def test_a_schema_that_only_grows_may_be_swapped_in():
    class Wider(Schema):
        partitioner: Literal["by_filesize", "by_module", "by_owner"] = "by_filesize"
        directory: str | None = "."
        exclude: tuple[str, ...] = ()

    class Fuller(Said):
        bytes: int

    assert blueprint.breaks(schemas(Before, Said), schemas(Wider, Fuller)) == []
    assert blueprint.breaks(schemas(Wider, Fuller), schemas(Before, Said)) != []  # and not back again


def test_the_registry_lists_every_kind_with_its_choices(database_url):
    answer = function.handle(Request("GET", "/api/hxo/kinds", headers=(("authorization", f"Bearer {OWNER}"),)))
    assert answer.status == 200
    found = {each["kind"]: each for each in json.loads(answer.body)["kinds"]}
    assert {"deploy.pack", "deploy.migrate", "deploy.prime", "assets.index", "assets.stage", "docs.index", "noop"} <= set(found)
    assert found["deploy.prime"]["partitioners"] == ["by_dag_depth", "by_module"]
    assert found["deploy.prime"]["executors"] == ["prime_caches", "warm_registry"]
    assert found["deploy.pack"]["input"]["properties"]["chunk_size_mb"]["default"] == 16
    assert "cas_id" in found["deploy.pack"]["output"]["required"]
    assert kinds.listed()["schedulers"] == ["fair_round_robin", "hot_shard_splitter", "backpressure_aware"]


@pytest.mark.parametrize("kind", ["deploy.pack", "assets.index", "assets.stage", "docs.index"])
def test_what_a_shard_says_is_what_its_schema_promises(kind, site, sql):
    said = outputs(ran(submitted(kind)))
    assert said
    for each in said:
        shards.find(kind).OUTPUT.model_validate(each)


@pytest.mark.parametrize(
    ("stage", "pointer"),
    [
        ({"partitioner": "by_route_map"}, "/stages/0/partitioner"),
        ({"partitioner": "by_magic"}, "/stages/0/partitioner"),
        ({"executor": "sql_migrate"}, "/stages/0/executor"),
        ({"executor": 7}, "/stages/0/executor"),
        ({"partitioner": "by_module", "config": {"partitioner": "by_filesize"}}, "/stages/0/partitioner"),
        ({"scheduler": "random"}, "/stages/0/scheduler"),
        ({"scheduler": "fair_round_robin", "waves": [50, 50]}, "/stages/0/scheduler"),
        ({"config": {"partitioner": "by_magic"}}, "/stages/0/config/partitioner"),
        ({"config": {"chunk_size_mb": 0}}, "/stages/0/config/chunk_size_mb"),
        ({"config": {"nothing": 1}}, "/stages/0/config/nothing"),
        ({"kind": "noop", "executor": "pack_backend"}, "/stages/0/executor"),
    ],
)
def test_what_does_not_suit_a_kind_is_refused_with_a_pointer(stage, pointer, site):
    given = {"name": "x", "stages": [{"id": "one", "kind": "deploy.pack"} | stage]}
    with pytest.raises(Invalid) as refused:
        plans.submit(Request("POST", "/", body=encoding.canonical(given)), given)
    assert pointer in {fault["pointer"] for fault in refused.value.fields["errors"]}
    assert refused.value.status == 422
    assert source_tree.root() == site

"""deploy.prime: URLs are really called, none of them leads inside, and what is needed comes first."""

from __future__ import annotations

import pytest

from common.errors import Invalid
from common.flows import work
from tests.packs import outputs, ran, submitted


@pytest.fixture
def allowed(served, configured):
    """The server on loopback, which the test's operator allows."""
    configured(EGRESS_ALLOW=served.place)
    return served


def again(sql):
    """Every failed shard is due now, and every lane."""
    sql("update tidemark.shard_failures set ready_at = app_now()")
    sql("update tidemark.lanes set ready_at = '-infinity'")
    work.work()


def test_every_url_is_called_once_by_module(allowed, sql):
    urls = [f"{allowed.url}/shop/1", f"{allowed.url}/shop/2?x=y", {"url": f"{allowed.url}/about", "module": "pages"}]
    plan = ran(submitted("deploy.prime", urls=urls))
    assert sorted(allowed.asked) == ["GET /about", "GET /shop/1", "GET /shop/2?x=y"]
    assert [(each["status"], each["module"], each["urls"]) for each in outputs(plan)] == [
        ("warmed", "pages", 1),
        ("warmed", "shop", 2),
    ]


def test_without_urls_our_own_functions_are_called(served, sql, configured):
    configured(FUNCTIONS_URL=served.url, HEALTHCHECK_PATH="/health/live")
    assert outputs(ran(submitted("deploy.prime")))[0] == {"status": "warmed", "module": "functions", "urls": 1, "cache_entries": 1}
    assert served.asked == ["GET /health/live"]


def test_priming_counts_what_a_cache_may_keep(allowed, sql):
    allowed.answers |= {
        "/a/1": (200, {"Cache-Control": "public, max-age=60"}, b"a"),
        "/a/2": (200, {"Cache-Control": "private"}, b"b"),
        "/a/3": (200, {"Cache-Control": "No-Store"}, b"c"),
    }
    plan = ran(
        submitted("deploy.prime", urls=[f"{allowed.url}/a/{number}" for number in (1, 2, 3)], more={"executor": "prime_caches"})
    )
    assert outputs(plan)[0] == {"status": "primed", "module": "a", "urls": 3, "cache_entries": 1}


def test_a_large_page_is_primed_as_well(allowed, sql):
    allowed.answers["/large/page"] = (200, {}, b"x" * 200_000)
    ran(submitted("deploy.prime", urls=[f"{allowed.url}/large/page"], executor="prime_caches"))
    assert allowed.asked == ["GET /large/page", "HEAD /large/page"]


@pytest.mark.parametrize(
    ("executor", "status", "is_well"), [("warm_registry", 404, True), ("prime_caches", 404, False), ("warm_registry", 503, False)]
)
def test_an_error_is_no_warmth(allowed, sql, executor, status, is_well):
    allowed.answers["/a"] = (status, {}, b"")
    plan = submitted("deploy.prime", urls=[f"{allowed.url}/a"], executor=executor)
    work.work()
    assert bool(outputs(plan)) is is_well
    if not is_well:
        assert f"answers with status {status}" in sql("select message from tidemark.shard_failures")[0][0]
        allowed.answers.clear()
        again(sql)
        assert outputs(ran(plan))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "ftp://example.com/",
        "nonsense",
        "https://localhost/",
    ],
)
def test_an_address_that_leads_inside_is_refused_when_it_is_submitted(url, database_url):
    with pytest.raises(Invalid) as refused:
        submitted("deploy.prime", urls=[url])
    assert [fault["pointer"] for fault in refused.value.fields["errors"]] == ["/stages/0/config/urls/0"]


def test_an_address_that_is_not_allowed_any_more_is_not_called(allowed, sql, configured):
    submitted("deploy.prime", urls=[f"{allowed.url}/a"])
    configured(EGRESS_ALLOW="")
    work.work()
    assert allowed.asked == []
    assert sql("select count(*) from tidemark.shard_failures") == [[1]]


def chain(place):
    """shop needs api, api needs db."""
    shop, api, database = (f"{place.url}/{name}" for name in ("shop", "api", "db"))
    return [{"url": shop, "needs": [api]}, {"url": api, "needs": [database]}, database]


def test_by_depth_what_is_needed_is_called_first_however_many_work(allowed, sql):
    plan = submitted("deploy.prime", urls=chain(allowed), partitioner="by_dag_depth")
    sql("update tidemark.lanes set served_at = app_now() - no * interval '1 s'")  # the deepest lane is taken first
    work.work()
    for _ in range(3):
        again(sql)
    ran(plan)
    assert allowed.asked == ["GET /db", "GET /api", "GET /shop"]
    assert [each["module"] for each in outputs(plan)] == ["depth-0", "depth-1", "depth-2"]


def test_by_depth_nothing_is_called_whose_need_failed_for_good(allowed, sql):
    allowed.answers["/db"] = (500, {}, b"")
    submitted("deploy.prime", urls=chain(allowed), partitioner="by_dag_depth")
    work.work()
    for _ in range(6):
        again(sql)
    assert set(allowed.asked) == {"GET /db"}
    assert sql("select shard, status from tidemark.shard_failures order by 1") == [[0, "dead"], [1, "dead"], [2, "dead"]]


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        (
            {
                "urls": [{"url": "{place}/a", "needs": ["{place}/b"]}, {"url": "{place}/b", "needs": ["{place}/a"]}],
                "partitioner": "by_dag_depth",
            },
            "/urls",
        ),
        ({"urls": [{"url": "{place}/a", "needs": ["{place}/b"]}], "partitioner": "by_dag_depth"}, "/urls"),
        ({"urls": ["{place}/a"], "modules": ["b"]}, "/modules/0"),
    ],
)
def test_needs_that_cannot_be_met_are_refused(allowed, config, pointer):
    def filled(value):
        if isinstance(value, str):
            return value.replace("{place}", allowed.url)
        return [filled(each) for each in value] if isinstance(value, list) else {key: filled(each) for key, each in value.items()}

    with pytest.raises(Invalid) as refused:
        submitted("deploy.prime", **filled(config))
    assert [fault["pointer"] for fault in refused.value.fields["errors"]] == [f"/stages/0/config{pointer}"]

"""The client against the stand-in: what it reads, what it makes of trouble, and what it never does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

from common import db, entities, settings
from common.clients import zoho as client
from common.errors import Broken, SourceRefused, Throttled, Unavailable
from common.outgoing import calls
from common.outgoing import zoho as asking
from common.outgoing.tokens import Access
from common.rules import zoho_access
from common.rules.urgency import Urgency
from common.stores import limits
from deploy.local.zoho import StandIn
from tests.outgoing.conftest import Said, answer

ENTITIES = entities.by_label()
KEPT = "select access_token from tidemark.source_tokens"
PRODUCT, INVOICE, CUSTOMER = ENTITIES["product"], ENTITIES["invoice"], ENTITIES["customer"]


@pytest.fixture(autouse=True)
def unhurried(sql):
    """Calls as fast as they can be made: what the limiter does is tested elsewhere."""
    sql("update tidemark.settings set value = '600000' where key = 'zoho.calls_per_minute'")


def page(entity=PRODUCT, number: int = 1, since: datetime | None = None, **options: Any) -> client.Page:
    return client.page(entity, number, since=since, urgency=Urgency.BULK, until=time.monotonic() + 20, **options)


def details(ids: Sequence[str], entity=PRODUCT) -> client.Read:
    return client.details(entity, ids, urgency=Urgency.INTERACTIVE, until=time.monotonic() + 20)


def asked(zoho: StandIn, path: str = "") -> list[tuple[str, dict[str, str]]]:
    """The API calls that were made, with their arguments as the source decoded them."""
    return [(call.path, dict(parse_qsl(call.query))) for call in zoho.calls if path in call.path and "/oauth" not in call.path]


def refreshes(zoho: StandIn) -> int:
    return sum("/oauth" in call.path for call in zoho.calls)


def limit() -> limits.State:
    with db.transaction("status") as tx:
        (found,) = limits.state(tx)
    return found


# Lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", sorted(ENTITIES))
def test_every_record_of_every_list_is_read_page_by_page_once(label, zoho):
    found: list[str] = []
    number = 0
    has_more = True
    while has_more:
        number += 1
        read = page(ENTITIES[label], number)
        found += read.ids
        has_more = read.has_more
    assert sorted(found) == sorted(zoho.rows(label))
    assert len(set(found)) == len(found)


def test_a_page_carries_the_answer_as_it_came(zoho):
    read = page(number=2)
    document = json.loads(read.body)
    assert document["items"] == read.rows
    assert [row["item_id"] for row in read.rows] == read.ids
    assert (read.number, len(read.rows), read.has_more, read.filter_ignored) == (2, 200, True, False)
    assert 0 < read.took_ms < 10_000
    assert page(number=3).has_more is False
    assert page(number=4).rows == []


@pytest.mark.parametrize("entity", [each for each in entities.every() if each.pull.sort], ids=lambda entity: entity.label)
def test_a_list_is_asked_for_in_an_order_that_keeps_while_it_is_read(entity, zoho):
    read = page(entity)
    context = json.loads(read.body)["page_context"]
    assert (context["sort_column"], context["sort_order"]) == (entity.pull.sort, "A")
    _, arguments = asked(zoho)[-1]
    assert arguments["organization_id"] == zoho.organization


def test_a_served_page_is_stamped_by_the_sources_clock_and_a_difference_is_said(zoho, capsys):
    zoho.skew = timedelta(minutes=5)
    read = page()
    assert abs(read.served_at - datetime.now(UTC) - timedelta(minutes=5)) < timedelta(seconds=5)
    assert "clock.differs" in capsys.readouterr().out
    zoho.skew = timedelta()
    page()
    assert "clock.differs" not in capsys.readouterr().out


@pytest.mark.parametrize("entity", [each for each in entities.every() if each.pull.filter], ids=lambda entity: entity.label)
def test_what_changed_since_then_is_all_that_comes_where_the_source_can_tell(entity, zoho):
    changed = zoho.edit(entity.label, 3)
    since = zoho.now() - timedelta(minutes=5)
    read = page(entity, since=since)
    assert sorted(read.ids) == sorted(changed)
    assert read.filter_ignored is False
    _, arguments = asked(zoho)[-1]
    assert arguments["last_modified_time"] == since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def test_the_plus_of_the_offset_is_sent_so_that_it_arrives(zoho):
    page(since=zoho.now())
    assert "%2B0000" in zoho.calls[-1].query


@pytest.mark.parametrize("offset", ["-0800", "+0530"])
def test_stamps_are_compared_as_moments_whatever_the_organizations_offset(offset, zoho):
    zoho.move(offset)
    changed = zoho.edit("product", 3)
    read = page(since=zoho.now() - timedelta(minutes=1))
    assert (sorted(read.ids), read.filter_ignored) == (sorted(changed), False)


def test_a_filter_that_is_ignored_without_a_word_is_found_out(zoho, capsys):
    zoho.faults.add("unfiltered")
    read = page(since=zoho.now() - timedelta(minutes=5))
    assert (len(read.rows), read.filter_ignored) == (200, True)
    assert "filter.ignored" in capsys.readouterr().out


def test_a_list_without_a_filter_is_walked_from_the_newest_until_it_is_old_enough(zoho):
    changed = zoho.edit("customer", 4)
    zoho.turn(10)
    first = page(CUSTOMER, since=zoho.now() - timedelta(minutes=5), per_page=3)
    assert set(first.ids) <= set(changed)
    assert first.has_more
    second = page(CUSTOMER, 2, since=zoho.now() - timedelta(minutes=5), per_page=3)
    assert set(changed) <= {*first.ids, *second.ids}
    assert (second.has_more, second.filter_ignored) == (False, False)
    assert page(CUSTOMER, 2, per_page=3).has_more


def test_a_list_that_can_do_neither_is_read_whole(zoho):
    read = page(ENTITIES["payment"], since=zoho.now())
    assert (len(read.ids), read.filter_ignored) == (len(zoho.rows("payment")), False)


def test_a_full_page_that_says_it_is_the_last_is_worth_a_line(zoho, capsys):
    page(ENTITIES["price_list"], per_page=3)
    assert "page.full_and_last" in capsys.readouterr().out
    page(ENTITIES["price_list"], per_page=4)
    assert "page.full_and_last" not in capsys.readouterr().out


# Records ---------------------------------------------------------------------------------------------------------


def test_records_are_read_by_their_ids_as_many_as_the_source_gives_at_once(zoho):
    ids = list(zoho.records("product"))[:100]
    gone = zoho.delete("product", ids=ids[:2])
    read = details(ids)
    assert (sorted(read.missing), sorted(read.found)) == (sorted(gone), sorted(ids[2:]))
    assert read.found[ids[5]]["name"] == zoho.records("product")[ids[5]]["name"]
    assert len(asked(zoho)) == 1


@pytest.mark.parametrize("label", sorted(label for label, entity in ENTITIES.items() if entity.pull.has_detail))
def test_a_record_is_read_by_its_id(label, zoho):
    identifier, record = next(iter(zoho.records(label).items()))
    read = details([identifier], ENTITIES[label])
    assert read.found.keys() == {identifier}
    assert json.loads(json.dumps(read.found[identifier], default=float)) == json.loads(json.dumps(record))
    assert abs(read.served_at - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_record_that_is_gone_is_missing_not_an_error(zoho):
    (gone,) = zoho.delete("invoice")
    assert (details([gone], INVOICE).found, details([gone], INVOICE).missing) == ({}, [gone])


def test_amounts_of_a_record_are_exact(zoho):
    (identifier,) = zoho.edit("product", rate=12.1)
    assert details([identifier]).found[identifier]["rate"] == Decimal("12.1")


@pytest.mark.parametrize(("label", "count"), [("product", 101), ("product", 0), ("invoice", 2), ("price_list", 1)])
def test_more_records_than_the_source_gives_at_once_are_a_mistake_of_ours(label, count, zoho):
    with pytest.raises(Broken):
        details(["1"] * count, ENTITIES[label])
    assert zoho.calls == []


def test_an_id_cannot_lead_to_another_address(zoho):
    with pytest.raises(SourceRefused):
        details(["../items"], INVOICE)
    assert all("/items" not in call.path or "invoices" in call.path for call in zoho.calls)


def test_the_source_counts_and_sums_where_it_can(zoho):
    found = client.total(INVOICE, arguments={}, urgency=Urgency.REPAIR, until=time.monotonic() + 20)
    rows = zoho.rows("invoice").values()
    assert found.count == len(rows)
    assert found.sum_total == sum(Decimal(str(row["total"])) for row in rows)
    assert found.sum_balance == sum(Decimal(str(row["balance"])) for row in rows)
    assert client.total(PRODUCT, arguments={}, urgency=Urgency.REPAIR, until=time.monotonic() + 20) is None


# Trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["error", "unavailable", "failing", "truncated", "cut", "down"])
def test_the_sources_own_trouble_is_to_be_tried_again_later(fault, zoho):
    page(per_page=1)
    zoho.faults.add(fault)
    with pytest.raises(Unavailable) as refusal:
        page()
    assert refusal.value.retry_after_seconds == 10
    zoho.faults.clear()
    assert len(page().rows) == 200
    assert limit().slowdown == 1


def test_a_token_that_ends_in_the_middle_of_a_walk_is_replaced_without_a_word(zoho):
    page()
    zoho.revoke()
    assert len(page(number=2).rows) == 200
    assert refreshes(zoho) == 2


def test_when_a_new_token_does_not_help_it_is_said_what_to_check(zoho):
    zoho.faults.add("unauthorized")
    with pytest.raises(SourceRefused, match=r"ZOHO_ORGANIZATION_ID.*ZOHO_DC.*scopes"):
        page()
    assert refreshes(zoho) == 2
    assert len(asked(zoho)) == 2


def test_a_foreign_organization_is_refused_without_another_token(zoho, configured):
    configured(ZOHO_ORGANIZATION_ID="1")
    with pytest.raises(SourceRefused, match="6041"):
        page()
    assert refreshes(zoho) == 1


def test_too_many_calls_in_a_minute_stop_everybody_and_slow_them(zoho):
    page(per_page=1)
    zoho.faults.add("minute", calls=1)
    with pytest.raises(Throttled) as refusal:
        page()
    assert refusal.value.retry_after_seconds == 60
    before = len(zoho.calls)
    with pytest.raises(Throttled) as refusal:
        page()
    assert 57 <= refusal.value.retry_after_seconds <= 60
    assert len(zoho.calls) == before  # nobody asked again
    found = limit()
    assert (found.slowdown, found.blocked_reason[:12]) == (1.25, "For security")


def test_a_used_up_day_stops_everybody_until_it_ends(zoho):
    zoho.limits.daily = 3
    for _ in range(3):
        details(["1"])
    before = len(zoho.calls)
    with pytest.raises(Throttled) as refusal:
        details(["1"])
    assert len(zoho.calls) == before  # the headers had said so
    assert 0 < refusal.value.retry_after_seconds <= 86_400


def test_a_day_that_is_said_to_be_used_up_is_believed(zoho):
    zoho.faults.add("daily", calls=1)
    with pytest.raises(Throttled) as refusal:
        page()
    with pytest.raises(Throttled):
        page()
    assert len(asked(zoho)) == 1
    assert refusal.value.retry_after_seconds >= 60
    assert limit().blocked_until - datetime.now(UTC) <= timedelta(seconds=refusal.value.retry_after_seconds)
    assert limit().slowdown == 1


def test_what_others_use_of_the_day_is_noticed(zoho):
    page(per_page=1)
    zoho.limits._today = 9_000
    page(per_page=1)
    assert (limit().used_today, limit().left_today, limit().day_limit) == (9_001, 999, 10_000)
    with pytest.raises(Throttled):  # a full sync leaves that to the more urgent
        page()
    assert details([next(iter(zoho.records("product")))]).found


def test_one_call_too_many_at_once_is_tried_again_after_a_pause_that_blocks_nobody(zoho, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(asking.time, "sleep", pauses.append)
    zoho.faults.add("busy", calls=2)
    assert len(page().rows) == 200
    assert len([pause for pause in pauses if 1 <= pause <= 3]) == 2
    assert limit().blocked_until is None


def test_calls_that_stay_too_many_at_once_are_given_up(zoho, monkeypatch):
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)
    zoho.faults.add("busy")
    with pytest.raises(Throttled, match="at once"):
        page()
    assert len(asked(zoho)) == 1 + asking.PAUSES


def test_no_call_begins_when_the_time_is_up(zoho):
    page()
    before = len(zoho.calls)
    block = "update tidemark.source_limits set free_at = clock_timestamp() + interval '1 s'"
    with db.transaction() as tx:
        tx.script(block)
    with pytest.raises(Throttled):
        client.page(PRODUCT, 1, since=None, urgency=Urgency.INTERACTIVE, until=time.monotonic() + 0.2)
    assert len(zoho.calls) == before


@pytest.fixture
def scripted(zoho: StandIn, configured) -> Iterator[Callable[..., Said]]:
    """`scripted(body, (body, status), ...)`: an API that answers these, one after the other; tokens come from the stand-in."""
    servers: list[Said] = []

    def start(*bodies: bytes | tuple[bytes, str]) -> Said:
        server = Said([answer(*(each if isinstance(each, tuple) else (each,))) for each in bodies])
        servers.append(server)
        configured(ZOHO_API_URL=server.url)
        return server

    yield start
    calls.close()
    for server in servers:
        server.close()


GONE = (b'{"code":1002,"message":"Item does not exist."}', "404 Not Found")


def test_ids_that_are_numbers_are_their_digits(scripted):
    scripted(b'{"code":0,"items":[{"item_id":17775000000227649},{"item_id":123456789012345678901},{"item_id":"7"}]}')
    assert page().ids == ["17775000000227649", "123456789012345678901", "7"]


def test_rows_without_an_id_of_their_own_are_counted_and_left_out(scripted, capsys):
    scripted(b'{"code":0,"items":[{"name":"x"},{"item_id":"1"},{"item_id":""},{"item_id":"1"},7]}')
    read = page()
    assert (read.ids, read.has_more) == (["1"], False)
    assert '"rows":4,"ids":1' in capsys.readouterr().out


def test_when_one_of_many_is_missing_and_it_is_not_said_which_each_is_asked_for(scripted):
    server = scripted(GONE, b'{"code":0,"item":{"item_id":"1"}}', GONE, b'{"code":0,"item":{"item_id":3}}')
    read = details(["1", "2", "3"])
    assert (list(read.found), read.missing, len(server.requests)) == (["1", "3"], ["2"], 4)


def test_what_was_learnt_before_the_source_went_down_is_kept(scripted):
    scripted(GONE, GONE, (b"<html>", "503 Service Unavailable"))
    read = details(["1", "2", "3"])
    assert (read.found, read.missing) == ({}, ["1"])
    scripted(GONE, (b"<html>", "503 Service Unavailable"))
    with pytest.raises(Unavailable):
        details(["1", "2", "3"])


@pytest.mark.parametrize("body", [b'{"code":0,"item":{"item_id":"2"}}', b'{"code":0,"item":[]}', b'{"code":0}'])
def test_another_record_than_was_asked_for_is_none(body, scripted):
    scripted(body)
    with pytest.raises(SourceRefused, match="no item with the id 1"):
        details(["1"])


def test_a_list_that_does_not_exist_is_refused_not_empty(scripted):
    scripted(GONE)
    with pytest.raises(SourceRefused, match="has no list items"):
        page()


def test_an_answer_without_its_list_is_never_an_empty_list(zoho):
    wrong = entities.by_label()["product"].__class__(
        **{**vars(PRODUCT), "pull": client.Pull(path="items", base="inventory", key="x")}
    )
    with pytest.raises(SourceRefused, match="holds no list 'x'"):
        page(wrong)
    nowhere = PRODUCT.__class__(**{**vars(PRODUCT), "pull": client.Pull(path="nowhere", base="inventory", key="x")})
    with pytest.raises(SourceRefused, match="code 5"):
        page(nowhere)


# Access ----------------------------------------------------------------------------------------------------------


def test_the_token_is_sent_to_its_data_centre_and_to_the_stand_in_only_when_that_is_asked_for(configured):
    access = Access("t", "https://www.zohoapis.eu")
    configured(ZOHO_DC="in", ZOHO_API_URL="")
    assert asking._origin(settings.load(), access) == "https://www.zohoapis.eu"
    assert asking._origin(settings.load(), Access("t", None)) == zoho_access.CENTRES["in"].api
    configured(ZOHO_API_URL="http://127.0.0.1:7000")
    assert asking._origin(settings.load(), access) == "http://127.0.0.1:7000"


def test_where_an_answer_says_the_api_is_counts_only_if_it_is_zohos(zoho, sql):
    page()  # the stand-in names itself, which is nobody that we know
    assert sql("select api_domain from tidemark.source_tokens") == [[None]]


@pytest.mark.parametrize("variable", ["ZOHO_ORGANIZATION_ID", "ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN"])
def test_what_is_not_set_is_named(variable, zoho, configured):
    configured(**{variable: ""})
    with pytest.raises(SourceRefused, match=variable):
        page()
    assert zoho.calls == []


def test_a_refresh_token_that_was_revoked_is_asked_with_once(zoho, configured):
    configured(ZOHO_REFRESH_TOKEN="1000.of.old")
    for _ in range(3):
        with pytest.raises(SourceRefused, match=r"invalid_code.*make a new one"):
            page()
    assert refreshes(zoho) == 1


def test_neither_secret_nor_token_stands_in_the_log_or_in_an_address(zoho, capsys, sql):
    zoho.faults.add("unauthorized")
    with pytest.raises(SourceRefused) as refusal:
        page()
    said = capsys.readouterr().out + str(refusal.value) + "".join(call.query for call in zoho.calls)
    assert all(secret not in said for secret in (zoho.client_secret, zoho.refresh_token, *sql(KEPT)[0]))


# Diagnosis -------------------------------------------------------------------------------------------------------


def test_a_check_tries_every_list_and_every_filter(zoho):
    tried = client.check(entities.every())
    assert [each.name for each in tried] == ["access token", *(f"list {entity.path}" for entity in entities.every())]
    assert all(each.is_good for each in tried)
    assert sum("filter is honoured" in each.said for each in tried) == 4


def test_a_check_says_what_does_not_work(zoho, configured):
    zoho.faults.add("unfiltered", path="/items")
    zoho.faults.add("unavailable", path="/users")
    bad = {each.name: each.said for each in client.check(entities.every()) if not each.is_good}
    assert bad.keys() == {"list products", "list users"}
    assert "ignores the filter" in bad["list products"]
    configured(ZOHO_CLIENT_ID="")
    assert [(each.name, each.is_good) for each in client.check(entities.every())] == [("access token", False)]

"""Bad input of every kind, through both of functions-framework's applications.

Before a valid signature we refuse; after it the event is ours: 202, stored, and in quarantine with a pointer when it
cannot be read. The numbers in the ids are those of the list of bad inputs that the project keeps.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as chances
from hypothesis import strategies as st

from common.flows import process
from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import HUNG_UP, asgi, keeps_the_promises_of_a_refusal, raw, served, wsgi
from tests.make import SECRET, a_form, a_request, a_ring, an_item, signed

Sql = Callable[..., list[list[Any]]]

pytestmark = pytest.mark.usefixtures("secrets")
SHELLS = pytest.mark.parametrize("shell", [wsgi, asgi], ids=["wsgi", "asgi"])
WHSEC = "whsec_" + base64.b64encode(b"a secret of the standard, 32 long").decode()
OTHER = "whsec_" + base64.b64encode(b"of another source, of as many 32").decode()
MIB = 1024 * 1024


def zoho(signature: str | None, *, body: bytes | None = None) -> Request:
    """A webhook with this Zoho signature."""
    request = a_request("products", an_item() if body is None else body)
    return request if signature is None else with_headers(request, ("x-zoho-webhook-signature", signature))


def with_headers(request: Request, *headers: tuple[str, str]) -> Request:
    return replace(request, headers=(*request.headers, *headers))


def right(request: Request) -> str:
    """The signature Zoho would send."""
    return signed(request).headers[-1][1]


def standard(*, signature: str | None = None, identifier: str = "msg_1", at: str | float = 0, body: Any = None) -> Request:
    """A webhook by the Standard Webhooks scheme; `at` is seconds from now, or the header as it stands."""
    request = a_request("products", an_item() if body is None else body)
    stamp = at if isinstance(at, str) else str(int(datetime.now(UTC).timestamp() + at))
    if signature is None:
        signature = standard_signature(identifier, stamp, request.body)
    return with_headers(request, ("webhook-id", identifier), ("webhook-timestamp", stamp), ("webhook-signature", signature))


def standard_signature(identifier: str, stamp: str, body: bytes, secret: str = WHSEC) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, f"{identifier}.{stamp}.".encode() + body, hashlib.sha256).digest()).decode()


def twice(request: Request, name: str) -> Request:
    return with_headers(request, (name, request.header(name) or ""))


WRONG = "v1," + base64.b64encode(bytes(32)).decode()


@pytest.fixture
def secrets(configured: Callable[..., None]) -> None:
    configured(ZOHO_WEBHOOK_SECRETS=f"{SECRET},{WHSEC}")


# Before the signature: refused, and nothing is stored --------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], Request], set[int]]] = {
    "1 no signature": (lambda: zoho(None), {401}),
    "2 empty signature": (lambda: zoho(""), {401}),
    "3 a space after the signed body": (lambda: zoho(right(zoho(None)), body=zoho(None).body + b" "), {401}),
    "4 the secret of another source": (lambda: signed(zoho(None), "another-secret"), {401}),
    "6 a digit too few": (lambda: zoho(right(zoho(None))[:-1]), {401}),
    "6 a digit too many": (lambda: zoho(right(zoho(None)) + "0"), {401}),
    "6 not hexadecimal": (lambda: zoho("g" * 64), {401}),
    "6 not ASCII": (lambda: zoho("\xe9" * 64), {401}),
    "7 base64 with bad padding": (lambda: standard(signature="v1,AAA"), {401}),
    "7 not base64": (lambda: standard(signature="v1,\xfc\xfc"), {401}),
    "8 a thousand signatures": (lambda: standard(signature=" ".join([WRONG] * 1000)), {401, 431}),
    "8 a hundred signatures": (lambda: standard(signature=" ".join([WRONG] * 100)), {401}),
    "9 an unknown version only": (lambda: standard(signature=WRONG.replace("v1,", "v2,")), {401}),
    "12 a timestamp too old": (lambda: standard(at=-301), {401}),
    "12 a timestamp too new": (lambda: standard(at=+310), {401}),
    "13 milliseconds": (lambda: standard(at=str(int(datetime.now(UTC).timestamp() * 1000))), {401}),
    "13 a negative timestamp": (lambda: standard(at="-1"), {401}),
    "13 a timestamp of 1e30": (lambda: standard(at="1e30"), {401}),
    "13 a timestamp that is a word": (lambda: standard(at="abc"), {401}),
    "14 a dot in the id": (lambda: standard(identifier="msg.1"), {400}),
    "14 an id of a megabyte": (lambda: standard(identifier="m" * MIB), {400, 431}),
    "14 an empty id": (lambda: standard(identifier=""), {400}),
    "15 two signatures of Zoho": (lambda: twice(signed(zoho(None)), "x-zoho-webhook-signature"), {400}),
    "15 two signatures of the standard": (lambda: twice(standard(), "webhook-signature"), {400}),
    "15 two ids": (lambda: twice(standard(), "webhook-id"), {400, 401}),
    "18 an unknown path": (lambda: signed(a_request("unicorns", an_item())), {404}),
    "19 GET": (lambda: signed(a_request("products", b"", method="GET")), {405}),
    "19 PATCH": (lambda: signed(a_request("products", an_item(), method="PATCH")), {405}),
    "21 a gzip": (lambda: with_headers(signed(zoho(None)), ("content-encoding", "gzip")), {415}),
    "22 a byte more than a mebibyte": (lambda: signed(zoho(None, body=b" " * (MIB + 1))), {413}),
    "31 a string of 10 MB": (lambda: signed(a_request("products", an_item(name="x" * 10_000_000))), {413}),
    "85 a path with dots": (lambda: replace(signed(zoho(None)), path="/webhooks/%2e%2e/products"), {404}),
    "85 a path with NUL": (lambda: replace(signed(zoho(None)), path="/webhooks/products%00"), {400}),
    "85 an address of 5 KB": (lambda: replace(signed(zoho(None)), path="/webhooks/" + "p" * 5000), {414}),
    "headers of 20 KB": (lambda: with_headers(signed(zoho(None)), ("x-padding", "x" * 20_000)), {431}),
}


@SHELLS
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_authentic_or_not_acceptable_is_refused(shell, case, sql: Sql):
    build, statuses = REFUSED[case]
    reply = shell(build())
    assert reply.status in statuses
    assert keeps_the_promises_of_a_refusal(reply)
    assert sql("select count(*) from tds_inbox_events") == [[0]]


@SHELLS
def test_19_what_a_framework_refuses_by_itself_names_the_methods_that_are_allowed(shell):
    reply = shell(signed(a_request("products", b"", method="TRACE")))
    assert (reply.status, bool(reply.headers["allow"])) == (405, True)


@SHELLS
def test_85_two_slashes_lead_nowhere_else(shell):
    reply = shell(replace(signed(zoho(None)), path="/webhooks//products"))
    assert reply.status in {202, 308, 404}  # Flask's router asks the caller to send it to the path with one slash
    assert reply.headers.get("location", "/webhooks/products").endswith("/webhooks/products")


@SHELLS
def test_89_whatever_is_accepted_the_answer_is_json(shell):
    reply = shell(with_headers(signed(zoho(None)), ("accept", "text/xml")))
    assert (reply.status, reply.headers["content-type"], reply.json["success"]) == (202, "application/json", True)


# After the signature: stored, and applied when it can be read ------------------------------------------------------

TAKEN: dict[str, Callable[[], Request]] = {
    "5 hexadecimal in upper case": lambda: zoho(right(zoho(None)).upper()),
    "10 a wrong and a right signature": lambda: standard(signature=f"{WRONG} " + (standard().header("webhook-signature") or "")),
    "12 a timestamp of 290 seconds ago": lambda: standard(at=-290),
    "19 PUT": lambda: signed(a_request("products", an_item(), method="PUT")),
    "19 DELETE": lambda: signed(a_request("products", an_item(), method="DELETE")),
    "20 text/plain": lambda: typed("text/plain"),
    "20 no Content-Type": lambda: typed(None),
    "20 UTF-16": lambda: typed("application/json; charset=utf-16"),
    "20 JSON sent as a form": lambda: typed("application/x-www-form-urlencoded"),
    "20 JSON sent as several parts": lambda: typed("multipart/form-data; boundary=x"),
    "22 a mebibyte": lambda: signed(a_request("products", padded(MIB))),
    "29 an id of 25 digits": lambda: signed(a_request("products", an_item(int("9" * 25)))),
    "29 an id of 25 digits in a form": lambda: signed(a_request("products", a_form(JSONString=json.dumps(an_item(int("9" * 25)))))),
    "29 a field nobody knows of 25 digits": lambda: signed(a_request("products", an_item(unknown=int("9" * 25)))),
    "30 a field nobody knows of 60 levels": lambda: signed(a_request("products", an_item(unknown=nested(60)))),
    "32 a key twice": lambda: signed(a_request("products", b'{"item":{"item_id":"1","name":"a","name":"b"}}')),
    "33 NUL in a text": lambda: signed(a_request("products", an_item(name="a\x00b"))),
    "35 names of all kinds": lambda: signed(a_request("products", an_item(name="💡\u202egnp.exe\u200b\u0645"))),
    "82 a malformed traceparent": lambda: with_headers(signed(zoho(None)), ("traceparent", "00-zz-1-01")),
    "82 a traceparent of zeros": lambda: with_headers(signed(zoho(None)), ("traceparent", f"00-{'0' * 32}-{'0' * 16}-01")),
    "82 a tracestate of 1 KB": lambda: with_headers(signed(zoho(None)), ("tracestate", "k=" + "v" * 1024)),
    "83 an X-Forwarded-For of one's own": lambda: with_headers(signed(zoho(None)), ("x-forwarded-for", "6.6.6.6")),
    "84 a Host of one's own": lambda: with_headers(signed(zoho(None)), ("host", "evil.example")),
}


def nested(levels: int) -> list[Any]:
    return [] if levels == 1 else [nested(levels - 1)]


def typed(kind: str | None) -> Request:
    request = signed(a_request("products", an_item()))
    rest = tuple(pair for pair in request.headers if pair[0] != "content-type")
    return replace(request, headers=rest if kind is None else (*rest, ("content-type", kind)))


def padded(size: int) -> bytes:
    body = json.dumps(an_item()).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


@SHELLS
@pytest.mark.parametrize("case", TAKEN)
def test_what_is_authentic_and_readable_is_stored_and_applied(shell, case, sql: Sql):
    request = TAKEN[case]()
    reply = shell(request)
    process.process()
    assert (reply.status, reply.json["success"], reply.json["queued"]) == (202, True, True)
    assert sql("select status, processing_result->>'outcome' from tds_sync_queue") == [["completed", "applied"]]
    assert bytes(sql("select raw_body from tds_inbox_events")[0][0]) in {request.body, b"\\x" + request.body.hex().encode()}


QUARANTINED: dict[str, tuple[bytes, str]] = {
    "25 an empty body": (b"", ""),
    "26 an empty list": (b"[]", ""),
    "26 null": (b"null", ""),
    "26 a text": (b'"x"', ""),
    "26 a number": (b"1", ""),
    "27 truncated": (b'{"item":{"item_id":"1","na', ""),
    "28 NaN": (b'{"item":{"item_id":"1","rate":NaN}}', ""),
    "28 Infinity": (b'{"item":{"item_id":"1","rate":-Infinity}}', ""),
    "28 1e400": (b'{"item":{"item_id":"1","rate":1e400}}', ""),
    "29 5,000 digits": (b'{"item":{"item_id":"1","rate":' + b"9" * 5000 + b"}}", ""),
    "29 an id of 5,000 digits": (b'{"item":{"item_id":' + b"9" * 5000 + b"}}", ""),
    "30 100,000 brackets": (b"[" * 100_000, ""),
    "30 100,000 nested objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, ""),
    "30 1,000 nested lists in a record": (b'{"item":{"item_id":"1","tags":' + b"[" * 1000 + b"]" * 1000 + b"}}", ""),
    "31 60,000 keys": (b"{" + b",".join(b'"k%d":1' % n for n in range(60_000)) + b"}", "/item_id"),
    "34 a lone surrogate": (b'{"item":{"item_id":"1","name":"\\ud800"}}', ""),
    "34 no UTF-8": (b'{"item":{"item_id":"1","name":"\xff\xfe"}}', ""),
    "34 an overlong slash": (b'{"item":{"item_id":"1","name":"\xc0\xaf"}}', ""),
    "34 a byte order mark of UTF-16": ('{"item":{"item_id":"1"}}'.encode("utf-16"), ""),
    "a batch of nothing": (b'{"events":[]}', "/events"),
    "no id": (b'{"item":{"name":"Lamp"}}', "/item/item_id"),
    "an id of 600 characters": (json.dumps(an_item("1" * 600)).encode(), "/item/item_id"),
    "an unknown entity": (b'{"entity_type":"unicorn","item_id":"1"}', "/entity_type"),
    "another organization": (b'{"organization_id":"1","item":{"item_id":"1"}}', "/organization_id"),
    "a wrong type": (b'{"item":{"item_id":"1","rate":"cheap"}}', "/item/rate"),
    "92 a change in the year 2999": (json.dumps(an_item(at="2999-01-01T00:00:00Z")).encode(), "/item/last_modified_time"),
    "92 a change in two days": (
        json.dumps(an_item(at=(datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="seconds"))).encode(),
        "/item/last_modified_time",
    ),
}


@SHELLS
@pytest.mark.parametrize("case", QUARANTINED)
def test_what_is_authentic_but_unreadable_is_kept_in_quarantine_with_a_pointer(shell, case, sql: Sql):
    body, pointer = QUARANTINED[case]
    reply = shell(signed(a_request("products", body)))
    process.process()
    assert (reply.status, reply.json["success"]) == (202, True)
    [[is_valid, waits, errors, kept]] = sql(
        "select is_valid, processed_at is null, validation_errors, encode(raw_body, 'hex') from tds_inbox_events"
    )
    assert (is_valid, waits, kept) == (False, False, body.hex())
    assert (errors[0]["pointer"], bool(errors[0]["message"])) == (pointer, True)
    assert sql("select count(*) from erp.products") == [[0]]


@SHELLS
def test_11_an_old_secret_counts_inside_its_window_and_not_after_it(shell, sql: Sql, turn_clock):
    fingerprint = "zoho:" + hashlib.sha256(SECRET.encode()).hexdigest()[:8]
    sql(
        "insert into tidemark.webhook_secrets (fingerprint, not_after) values (:fingerprint, app_now() + interval '1 day')",
        fingerprint=fingerprint,
    )
    inside = shell(signed(a_request("products", an_item("1"))))
    turn_clock(timedelta(days=2))
    after = shell(signed(a_request("products", an_item("2"))))
    assert (inside.status, after.status) == (202, 401)
    assert keeps_the_promises_of_a_refusal(after)
    assert sql("select source_entity_id from tds_inbox_events") == [["1"]]


@SHELLS
def test_16_an_exact_replay_is_answered_with_the_originals_id(shell, sql: Sql):
    first, second = shell(signed(zoho(None))), shell(signed(zoho(None)))
    assert (second.status, second.json["success"], second.json["queued"]) == (202, True, False)
    assert second.json["event_id"] == first.json["event_id"]
    assert sql("select (select count(*) from tds_inbox_events), (select count(*) from tidemark.duplicates)") == [[1, 1]]


@SHELLS
def test_17_another_content_under_the_same_delivery_id_is_kept_in_quarantine_with_an_alert(shell, sql: Sql):
    shell(standard(body=an_item(name="one")))
    reply = shell(standard(body=an_item(name="two")))
    assert (reply.status, reply.json["queued"]) == (202, False)
    assert sql("select alert_type, affected_count from tds_alerts") == [["delivery_id_conflict", 1]]
    assert sql("select count(*) from tds_inbox_events where validation_errors is not null") == [[1]]


@SHELLS
def test_32_of_a_key_that_comes_twice_the_last_counts_and_the_event_is_flagged(shell, sql: Sql):
    shell(TAKEN["32 a key twice"]())
    process.process()
    assert sql("select flags from tds_inbox_events") == [[["duplicate_keys"]]]
    assert sql("select name from erp.products") == [["b"]]


@SHELLS
def test_33_a_nul_is_kept_in_the_raw_body_and_replaced_in_the_table(shell, sql: Sql):
    shell(TAKEN["33 NUL in a text"]())
    process.process()
    assert sql("select name from erp.products") == [["a\ufffdb"]]


@SHELLS
def test_35_a_name_comes_back_as_it_was_sent(shell, sql: Sql):
    shell(TAKEN["35 names of all kinds"]())
    process.process()
    assert sql("select name from erp.products") == [["💡\u202egnp.exe\u200b\u0645"]]


@SHELLS
@pytest.mark.parametrize("case", [case for case in TAKEN if case.startswith("82")])
def test_82_a_trace_nobody_can_follow_is_replaced_by_a_new_one(shell, case, sql: Sql):
    shell(TAKEN[case]())
    assert sql("select traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-01$', traceparent ~ '^00-0{32}' from tds_inbox_events") == [
        [True, False]
    ]


@SHELLS
@pytest.mark.parametrize(
    ("proxies", "forwarded_and_address"),
    [("0", ("6.6.6.6", "127.0.0.1")), ("1", ("6.6.6.6, 7.7.7.7", "7.7.7.7")), ("2", ("7.7.7.7", "127.0.0.1"))],
)
def test_83_only_what_our_own_proxies_say_of_the_caller_is_believed(shell, proxies, forwarded_and_address, configured, sql: Sql):
    forwarded, address = forwarded_and_address
    configured(TRUSTED_PROXIES=proxies)
    shell(with_headers(signed(zoho(None)), ("x-forwarded-for", forwarded)))
    assert sql("select ip_address from tds_inbox_events") == [[address]]


@SHELLS
def test_a_bad_event_of_a_batch_does_not_take_the_others_with_it(shell, sql: Sql):
    events = [an_item("1"), 5, {"item": {"name": "no id"}}, an_item("2"), an_item("3", name="\x00")]
    reply = shell(signed(a_request("products", {"events": events})))
    process.process()
    assert (reply.status, reply.json["accepted"], reply.json["rejected"]) == (202, 3, 2)
    assert [error["event_index"] for error in reply.json["errors"]] == [1, 2]
    assert sql("select source_id from erp.products order by 1") == [["1"], ["2"], ["3"]]


@SHELLS
def test_when_it_cannot_be_stored_the_sender_is_told_when_to_send_it_again(shell, configured):
    configured(DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing")
    reply = shell(signed(zoho(None)))
    assert (reply.status, keeps_the_promises_of_a_refusal(reply)) == (503, True)


# Whatever comes ----------------------------------------------------------------------------------------------------

MANY = chances(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["\x00", "2026-06-09T09:45:44-0400", "9999-99-99", "1e999", "-0", "%00", "=&=", "delete"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.integers(2**63, 2**80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["item", "data", "events", "entity_type", "entity_id", "event_id", "event_type", "event_time", "organization_id"]
) | st.sampled_from(["item_id", "name", "rate", "last_modified_time", "JSONString", "contact", "line_items", "locations"])
PAYLOADS = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=4), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=4
)
BODIES = (
    st.binary(max_size=200)
    | PAYLOADS.map(lambda value: json.dumps(value).encode())
    | PAYLOADS.map(lambda value: json.dumps(value)[:-2].encode())
    | st.dictionaries(KEYS, TEXTS, max_size=4).map(lambda fields: a_form(**fields))
    | PAYLOADS.map(lambda value: a_form(JSONString=json.dumps(value)))
    | st.lists(PAYLOADS | VALUES, max_size=4).map(lambda events: json.dumps({"events": events}).encode())
)


@SHELLS
@MANY
@given(body=BODIES, method=st.sampled_from(["POST", "PUT", "DELETE"]), query=st.sampled_from(["", "event=deleted", "a=%00&b=%ff"]))
def test_whatever_is_signed_is_taken_and_kept(shell, body, method, query, sql: Sql):
    sql("truncate tds_inbox_events, tidemark.duplicates, tidemark.ready_events")
    reply = shell(signed(a_request("products", body, method=method, query=query)))
    [[kept]] = sql("select (select count(*) from tds_inbox_events) + (select count(*) from tidemark.duplicates)")
    assert reply.status == 202
    assert kept == reply.json.get("total_events", 1)


@MANY
@given(body=BODIES)
def test_whatever_was_taken_ends_in_one_state(body, sql: Sql):
    sql("truncate tds_inbox_events, tidemark.duplicates, tidemark.ready_events, tds_sync_queue, tds_dead_letter_queue")
    wsgi(signed(a_request("products", body)))
    process.process()
    assert sql("select count(*) from tds_sync_queue where status <> 'completed'") == [[0]]
    assert sql("select count(*) from tds_inbox_events where processed_at is null") == [[0]]


@SHELLS
@MANY
@given(
    path=st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20),  # Flask's router refuses a line break by itself
    body=st.binary(max_size=20),
    headers=st.dictionaries(
        st.sampled_from(
            ["x-zoho-webhook-signature", "webhook-signature", "webhook-id", "webhook-timestamp", "x-webhook-key", "traceparent"]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=90),
    ),
)
def test_whatever_is_not_signed_is_refused(shell, path, body, headers):
    reply = shell(Request("POST", f"/webhooks/{quote(path)}" if path else "/webhooks/products", "", tuple(headers.items()), body))
    assert 400 <= reply.status < 500 or reply.status == 308
    assert reply.status == 308 or keeps_the_promises_of_a_refusal(reply)


# Operators and tasks: refused at once ------------------------------------------------------------------------------


def as_owner(method: str, path: str, body: Any = b"", query: str = "") -> Request:
    raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(method, path, query, (("authorization", f"Bearer {OWNER}"), ("content-type", "application/json")), raw_body)


A_TOKEN = {"name": "Ada", "role": "viewer"}
OPERATED: dict[str, tuple[str, Request, int, str | None]] = {
    "28 NaN": ("admin", as_owner("POST", "/admin/tokens", b'{"days":NaN}'), 400, None),
    "29 5,000 digits": ("admin", as_owner("POST", "/admin/tokens", b'{"days":' + b"9" * 5000 + b"}"), 400, None),
    "30 100,000 brackets": ("admin", as_owner("POST", "/admin/tokens", b"[" * 100_000), 400, None),
    "34 no UTF-8": ("admin", as_owner("POST", "/admin/tokens", b'{"name":"\xff"}'), 400, None),
    "34 a lone surrogate": ("admin", as_owner("POST", "/admin/tokens", b'{"name":"\\ud800","role":"viewer"}'), 422, "/name"),
    "34 a lone surrogate as a name": ("admin", as_owner("POST", "/admin/tokens", b'{"\\ud800":1}'), 422, "/?"),
    "33 NUL": ("admin", as_owner("POST", "/admin/tokens", A_TOKEN | {"name": "a\x00"}), 422, "/name"),
    "22 more than 256 KiB": ("admin", as_owner("POST", "/admin/tokens", b" " * (256 * 1024 + 1)), 413, None),
    "47 an event that is not here": ("status", as_owner("GET", f"/dashboard/recent-events/{'0' * 32}"), 404, None),
    "47 a dead letter that is not here": ("admin", as_owner("POST", f"/dashboard/dead-letter/{'0' * 32}/retry"), 404, None),
    "47 a token that is not here": ("admin", as_owner("DELETE", "/admin/tokens/00000000"), 404, None),
    "48 an id that is SQL": ("status", as_owner("GET", "/dashboard/recent-events/' OR 1=1--"), 422, None),
    "50 a limit of 0": ("status", as_owner("GET", "/webhooks/duplicates", query="limit=0"), 422, "limit"),
    "50 a limit of a billion": ("status", as_owner("GET", "/dashboard/dead-letter", query="limit=1000000000"), 422, "limit"),
    "50 a limit that is a word": ("status", as_owner("GET", "/dashboard/recent-events", query="limit=abc"), 422, "limit"),
    "50 an unknown entity": ("status", as_owner("GET", "/dashboard/recent-events", query="entity=unicorn"), 422, None),
    "50 a moment that is none": ("status", as_owner("GET", "/dashboard/recent-events", query="before=now"), 422, None),
    "87 an unknown field": ("admin", as_owner("POST", "/admin/tokens", A_TOKEN | {"is_root": True}), 422, "/is_root"),
    "88 a text for a number": ("admin", as_owner("POST", "/admin/tokens", A_TOKEN | {"days": "5"}), 422, "/days"),
    "88 a list for an object": ("admin", as_owner("POST", "/admin/tokens", []), 422, None),
    "88 a number for a text": ("admin", as_owner("POST", "/admin/tokens", A_TOKEN | {"name": 5}), 422, "/name"),
    "88 an unknown role": ("admin", as_owner("POST", "/admin/tokens", A_TOKEN | {"role": "king"}), 422, "/role"),
    "88 too many days": ("admin", as_owner("POST", "/admin/tokens", A_TOKEN | {"days": 91}), 422, "/days"),
    "a path that is not there": ("health", as_owner("GET", "/health/unicorns"), 404, None),
    "a method that is not there": ("health", as_owner("POST", "/health/live"), 405, None),
    "90 the headers of a task without its key": (
        "process",
        Request("POST", "/tasks/process", "", (("x-cloudtasks-queuename", "tidemark"), ("x-cloudtasks-taskname", "1"))),
        401,
        None,
    ),
    "45 no role": ("admin", Request("GET", "/admin/tokens"), 401, None),
}


@pytest.mark.parametrize("case", OPERATED)
def test_what_an_operator_asks_wrongly_is_refused_at_once(case):
    target, request, status, pointer = OPERATED[case]
    reply = wsgi(request, target)
    assert reply.status == status
    assert keeps_the_promises_of_a_refusal(reply)
    assert pointer is None or pointer in {error["pointer"] for error in reply.json["errors"]}


def test_47_what_is_not_there_and_what_is_not_yours_look_alike():
    replies = [wsgi(as_owner("GET", f"/dashboard/recent-events/{digit * 32}"), "status").json for digit in "01"]
    assert len({tuple(sorted(reply)) for reply in replies}) == 1


def test_91_a_task_that_finds_nothing_to_do_is_done():
    body = b'{"id":"gone"}'
    reply = wsgi(Request("POST", "/tasks/process", "", tuple(a_ring("process", body).items()), body), "process")
    assert (reply.status, reply.json["outcomes"]) == (200, {})


# Bodies that lie about their length: only a server sees them -------------------------------------------------------


def written(request: Request, *lines: str) -> bytes:
    """A request as it goes over the line, with these headers in place of the true length."""
    head = [
        f"{request.method} {request.path} HTTP/1.1",
        "host: localhost",
        *(f"{name}: {value}" for name, value in request.headers),
    ]
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


@pytest.fixture(params=["wsgi", "asgi"])
def served_as(request, tmp_path):
    asgi_wanted = {"FUNCTION_USE_ASGI": "true"} if request.param == "asgi" else {}
    with served("webhook", tmp_path, BODY_TIMEOUT_SECONDS="1", WEBHOOK_BODY_LIMIT_BYTES="100000", **asgi_wanted) as found:
        yield request.param, found


@pytest.mark.process
def test_23_and_24_a_body_that_lies_about_its_length_is_refused_in_time(served_as, sql: Sql):
    kind, port = served_as
    request = signed(zoho(None))
    length = len(request.body)
    chunk = b"400\r\n" + b" " * 0x400 + b"\r\n"
    chunked = written(request, "transfer-encoding: chunked")
    replies = {
        "longer than sent": raw(port, [written(request, f"content-length: {length + 5}"), request.body]),
        "longer than sent, then closed": raw(
            port, [written(request, f"content-length: {length + 5}"), request.body], half_closed=True
        ),
        "not a number": raw(port, [written(request, "content-length: many"), request.body]),
        "chunks without an end": raw(port, [chunked, chunk]),
        "chunks beyond the limit": raw(port, [chunked, chunk * 200]),
        "a chunk that is none": raw(port, [chunked, b"zzz\r\n"]),
    }
    assert {name: reply.status for name, reply in replies.items()} == {
        "longer than sent": 408,
        "longer than sent, then closed": 400 if kind == "wsgi" else HUNG_UP,  # uvicorn takes half a farewell for a whole one
        "not a number": 400,
        "chunks without an end": 408,
        "chunks beyond the limit": 413,
        "a chunk that is none": 400,
    }
    # What is left over is either seen in time and refused by the server, or not and then the signature does not match.
    assert raw(port, [written(request, f"content-length: {length - 5}"), request.body]).status in {400, 401}
    assert raw(port, [written(request, f"content-length: {length}"), request.body]).status == 202
    assert sql("select count(*) from tds_inbox_events") == [[1]]

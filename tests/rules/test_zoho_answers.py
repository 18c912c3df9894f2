"""What an answer of Zoho means, by status, code and form."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from common.rules.http import Answer
from common.rules.zoho_answers import Budget, Verdict, since_text, understood

HTML = b"<!DOCTYPE html><html><body>Service Unavailable</body></html>"


def said(body: bytes, status: int = 200, *, exact: bool = False, **headers: str):
    return understood(Answer(status, body, {name.replace("_", "-"): text for name, text in headers.items()}), exact=exact)


def coded(code: object) -> bytes:
    return b'{"code":%s,"message":"words"}' % str(code).encode()


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, coded(0), Verdict.GOOD),
        (201, coded(0), Verdict.GOOD),
        (429, coded(44), Verdict.MINUTE),
        (200, coded(44), Verdict.MINUTE),
        (429, coded(45), Verdict.DAY),
        (429, coded(1070), Verdict.BUSY),
        (429, coded(9999), Verdict.MINUTE),
        (429, HTML, Verdict.MINUTE),
        (401, coded(57), Verdict.UNAUTHORIZED),
        (200, coded(57), Verdict.UNAUTHORIZED),
        (401, b"", Verdict.UNAUTHORIZED),
        (401, coded(6041), Verdict.REFUSED),
        (400, coded(4029), Verdict.REFUSED),
        (404, coded(1002), Verdict.MISSING),
        (200, coded(1002), Verdict.MISSING),
        (404, coded(5), Verdict.REFUSED),
        (400, coded(2), Verdict.REFUSED),
        (200, coded(2), Verdict.REFUSED),
        (400, coded(0), Verdict.REFUSED),
        (405, coded(37), Verdict.REFUSED),
        (200, coded(1000), Verdict.DOWN),
        (500, coded(0), Verdict.DOWN),
        (502, coded(2), Verdict.DOWN),
        (503, HTML, Verdict.DOWN),
        (200, HTML, Verdict.DOWN),
        (404, HTML, Verdict.DOWN),
        (302, b"", Verdict.DOWN),
        (200, b"", Verdict.DOWN),
        (200, b'{"code":0,"items":[{"item_id":"1"', Verdict.DOWN),
        (200, b'[{"code":0}]', Verdict.DOWN),
        (200, b"{}", Verdict.DOWN),
        (200, b'{"code":0,"name":"\xff"}', Verdict.DOWN),
        (200, b"[" * 100_000, Verdict.DOWN),
        (200, coded("true"), Verdict.REFUSED),
        (200, coded("[1]"), Verdict.REFUSED),
    ],
)
def test_an_answer_is_judged_by_code_and_status_together(status, body, verdict):
    assert said(body, status).verdict is verdict


def test_why_an_answer_cannot_be_read_is_said():
    assert "HTML" in said(HTML, 503).message
    assert "broken JSON" in said(b'{"code":').message
    assert "nothing" in said(b" ").message
    assert said(coded(2), 400).message == "words (status 400, code 2)"


def test_half_of_a_surrogate_pair_does_not_make_an_answer_unreadable():
    assert said(b'{"code":0,"message":"","items":[{"name":"\\ud83d"}]}').verdict is Verdict.GOOD
    assert said(b'{"code":0,"message":"\\ud83d').verdict is Verdict.DOWN


def test_a_long_message_is_cut():
    assert len(said(b'{"code":2,"message":"%s"}' % (b"x" * 10_000)).message) < 400


def test_the_days_budget_is_read_from_the_headers():
    headers = {"x_rate_limit_limit": "1000", "x_rate_limit_remaining": "705", "x_rate_limit_reset": "38445"}
    assert said(coded(0), **headers).budget == Budget(1000, 705, 38445)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "9" * 30, "٣"])
def test_a_budget_that_is_no_number_is_none(text):
    found = said(coded(0), x_rate_limit_limit=text, retry_after=text)
    assert found.budget.limit in {None, 3}
    assert found.retry_after in {None, 3}


def test_retry_after_is_read_when_it_is_in_seconds_and_never_more_than_a_day():
    assert said(coded(44), 429, retry_after="120").retry_after == 120
    assert said(coded(44), 429, retry_after="99999999").retry_after == 86_400
    assert said(coded(44), 429, retry_after="Fri, 31 Dec 1999 23:59:59 GMT").retry_after is None


def test_the_sources_clock_is_its_date_header():
    assert said(coded(0), date="Tue, 09 Jun 2026 13:45:44 GMT").served_at == datetime(2026, 6, 9, 13, 45, 44, tzinfo=UTC)
    assert said(coded(0), date="yesterday").served_at is None
    assert said(coded(0)).served_at is None


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("number", [9007199254740993, 17775000000227648, 9223372036854775808, 123456789012345678901234567890])
def test_ids_that_are_numbers_stay_exact(number, exact):
    assert said(b'{"code":0,"item_id":%d}' % number, exact=exact).document["item_id"] == number


def test_fractions_are_exact_when_it_is_asked_for():
    assert said(b'{"code":0,"rate":12.10}', exact=True).document["rate"] == Decimal("12.10")
    assert said(b'{"code":0,"rate":12.10}').document["rate"] == 12.1


def test_a_filter_is_written_without_a_colon_and_a_fraction():
    moment = datetime(2026, 6, 9, 9, 45, 44, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert since_text(moment) == "2026-06-09T04:15:44+0000"

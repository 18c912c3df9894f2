"""What the accounts server's answer to a refresh token means."""

import pytest

from common.errors import SourceRefused, Throttled, Unavailable
from common.rules.http import Answer
from common.rules.zoho_access import CENTRES, granted, trusted

BLOCKED = (
    b'{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after'
    b' some time.","status":"failure"}'
)


def answered(body: bytes, status: int = 200):
    return granted(Answer(status, body))


def test_a_token_is_taken_with_its_place_and_its_life():
    body = b'{"access_token":"1000.a.b","api_domain":"https://www.zohoapis.eu","token_type":"Bearer","expires_in":3600}'
    assert answered(body) == ("1000.a.b", "https://www.zohoapis.eu", 3600)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ('"expires_in":1800', 1800),
        ('"expires_in":3600000', 3600),
        ('"expires_in_sec":1800,"expires_in":1800000', 1800),
        ('"expires_in":999999', 999.999),
        ('"expires_in":86400', 3600),
        ('"expires_in":-1', 3600),
        ('"expires_in":"soon"', 3600),
        ('"expires_in":true', 3600),
        ('"scope":"x"', 3600),
    ],
)
def test_a_life_is_read_in_all_the_ways_it_was_ever_told_and_never_longer_than_an_hour(said, seconds):
    assert answered(b'{"access_token":"t",%s}' % said.encode()).seconds == seconds


@pytest.mark.parametrize("error", ["invalid_code", "invalid_client", "invalid_client_secret", "unsupported_grant_type"])
def test_an_error_with_status_200_is_a_refusal_that_says_what_to_do(error):
    with pytest.raises(SourceRefused, match=f"{error}.*ZOHO_DC.*ZOHO_REFRESH_TOKEN"):
        answered(b'{"error":"%s"}' % error.encode())


@pytest.mark.parametrize(("body", "status"), [(BLOCKED, 400), (BLOCKED, 200), (b'{"error":"slow down"}', 429)])
def test_too_many_refreshes_are_waited_out(body, status):
    with pytest.raises(Throttled) as refusal:
        answered(body, status)
    assert refusal.value.retry_after_seconds == 600


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 503), (b"", 200), (b"[]", 200), (b'{"error":"oops"}', 500), (b"{", 200)])
def test_an_accounts_server_in_trouble_may_be_asked_again(body, status):
    with pytest.raises(Unavailable):
        answered(body, status)


@pytest.mark.parametrize("token", ['""', "null", "7", '"a b\\u00e9"', '"a\\r\\nX: y"'])
def test_a_token_that_could_not_be_sent_is_none(token):
    with pytest.raises(SourceRefused):
        answered(b'{"access_token":%s}' % token.encode())


@pytest.mark.parametrize("centre", CENTRES)
def test_every_data_centre_is_trusted(centre):
    assert trusted(CENTRES[centre].api) == CENTRES[centre].api
    assert trusted(CENTRES[centre].api + "/") == CENTRES[centre].api


@pytest.mark.parametrize(
    "domain",
    [
        "http://www.zohoapis.com",
        "https://www.zohoapis.com.example.org",
        "https://example.org",
        "https://example.org#www.zohoapis.com",
        "https://user@www.zohoapis.com",
        "https://www.zohoapis.com:8443",
        "https://zohoapis.com",
        "www.zohoapis.com",
        "http://127.0.0.1:1",
        "",
        None,
        7,
    ],
)
def test_nobody_else_is_sent_our_token(domain):
    assert trusted(domain) is None

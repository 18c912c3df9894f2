"""Logging in to the Zoho stand-in: tokens, their number, their life, and who is let in with them."""

from __future__ import annotations

import pytest


def test_a_refresh_token_buys_an_access_token_that_opens_the_api(caller, zoho):
    bought = caller.log_in()
    assert bought.status == 200
    assert bought.json == {
        "access_token": caller.token, "api_domain": zoho.url, "token_type": "Bearer", "expires_in": 3600,
    }  # fmt: skip
    assert caller.get("items").code == 0


def test_the_form_of_a_body_does_as_well_as_the_query(caller, zoho):
    form = (
        f"refresh_token={zoho.refresh_token}&client_id={zoho.client_id}&client_secret={zoho.client_secret}&grant_type=refresh_token"
    )
    assert "access_token" in caller.ask("POST", "/oauth/v2/token", form).json


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"refresh_token": "1000.wrong"}, "invalid_code"),
        ({"client_id": "1000.WRONG"}, "invalid_client"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_what_is_wrong_is_said_with_status_200(caller, changed, error):
    reply = caller.log_in(**changed)
    assert (reply.status, reply.json) == (200, {"error": error})


def test_tokens_are_only_given_to_a_post(caller):
    assert caller.ask("GET", "/oauth/v2/token").status == 405


def test_the_eleventh_token_in_ten_minutes_is_refused_until_they_are_over(caller, zoho):
    for _ in range(10):
        assert "access_token" in caller.log_in().json
        zoho.turn(30)
    blocked = caller.log_in()
    assert (blocked.status, blocked.json["error"], blocked.json["status"]) == (400, "Access Denied", "failure")
    zoho.turn(299)
    assert caller.log_in().status == 400
    zoho.turn(1)
    assert "access_token" in caller.log_in().json


def test_the_31st_token_ends_the_oldest_and_no_other(caller, zoho):
    tokens = []
    for number in range(31):
        if number and number % 10 == 0:
            zoho.turn(601)
        caller.log_in()
        tokens.append(caller.token)
    answers = []
    for token in (tokens[0], tokens[1], tokens[30]):
        caller.token = token
        answers.append(caller.get("items", per_page=1).status)
    assert answers == [401, 200, 200]


def test_a_token_lives_for_an_hour(caller, zoho):
    caller.log_in()
    zoho.turn(3599)
    assert caller.get("items").status == 200
    zoho.turn(1)
    late = caller.get("items")
    assert (late.status, late.code) == (401, 57)


def test_revoking_ends_every_token_at_once(caller, zoho):
    caller.log_in()
    zoho.revoke()
    assert caller.get("items").status == 401


def test_the_word_before_the_token_is_zohos_own_and_not_bearer(caller, zoho):
    caller.log_in()
    target = f"/books/v3/items?organization_id={zoho.organization}"
    assert caller.ask("GET", target, Authorization=f"Bearer {caller.token}").status == 401
    assert caller.ask("GET", target).status == 401
    assert caller.ask("GET", target, Authorization=f"Zoho-oauthtoken {caller.token}").status == 200


def test_every_call_names_its_organization_except_the_one_that_lists_them(caller, zoho):
    caller.log_in()
    header = {"Authorization": f"Zoho-oauthtoken {caller.token}"}
    missing = caller.ask("GET", "/books/v3/items", **header)
    foreign = caller.ask("GET", "/books/v3/items?organization_id=1", **header)
    by_header = caller.ask("GET", "/books/v3/items", **header, X_com_zoho_organizationid=zoho.organization)
    assert [(reply.status, reply.code) for reply in (missing, foreign, by_header)] == [(401, 57), (401, 6041), (200, 0)]
    (one,) = caller.ask("GET", "/books/v3/organizations", **header).json["organizations"]
    assert (one["organization_id"], one["time_zone"]) == (zoho.organization, "UTC+03:00")

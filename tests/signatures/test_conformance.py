"""What every signature scheme must do, whichever it is."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from common import lookup
from common.errors import Refused
from common.rules.http import Request
from tests.make import a_form, a_request, an_item

SCHEMES = lookup.names("signatures")
SECRETS = {"standard_webhooks": "whsec_" + base64.b64encode(b"a secret of the standard, 32 long").decode()}
OTHERS = {"standard_webhooks": "whsec_" + base64.b64encode(b"another one, and just as long....").decode()}
UNSIGNED = {
    "JSON": a_request("products", an_item()),
    "JSON with a query": a_request("products", an_item(), query="org=1&event=item.updated&name=%D8%AA%D8%B3"),
    "a form": a_request("products", a_form(item_id="1", name="تسوية")),
    "nothing": a_request("products", b""),
    "an empty argument": a_request("products", an_item(), query="a=&b"),
}


def secret(scheme: str) -> str:
    return SECRETS.get(scheme, "mysecretkey12")


def other(scheme: str) -> str:
    return OTHERS.get(scheme, "mysecretkey13")


def signed_by(scheme: str, request: Request) -> Request:
    added = lookup.find("signatures", scheme).sign(secret(scheme), request)
    return replace(request, headers=(*request.headers, *((name.lower(), value) for name, value in added.items())))


@pytest.mark.parametrize("form", UNSIGNED)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_scheme_signed_matches_it_under_its_secret_and_no_other(scheme, form):
    plug = lookup.find("signatures", scheme)
    request = signed_by(scheme, UNSIGNED[form])
    assert plug.is_offered(request)
    assert plug.matches(secret(scheme), request)
    assert not plug.matches(other(scheme), request)


@pytest.mark.parametrize("form", UNSIGNED)
@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "shared_secret"])
def test_a_body_with_a_byte_more_matches_no_longer(scheme, form):
    request = signed_by(scheme, UNSIGNED[form])
    assert not lookup.find("signatures", scheme).matches(secret(scheme), replace(request, body=request.body + b" "))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_request_without_its_header_is_not_of_the_scheme(scheme):
    assert not lookup.find("signatures", scheme).is_offered(UNSIGNED["JSON"])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nonsense", ["", " ", "v1,", "é", "0" * 64, "\x00", "v1," + "A" * 43 + "=", "%s%s%s"])
def test_nonsense_matches_nothing_and_breaks_nothing(scheme, nonsense):
    plug = lookup.find("signatures", scheme)
    request = signed_by(scheme, UNSIGNED["JSON"])
    faked = replace(request, headers=tuple((name, nonsense if name == plug.HEADER else value) for name, value in request.headers))
    assert not plug.matches(secret(scheme), faked)
    assert not any(fits for _, fits in plug.variants(secret(scheme), faked))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_header_that_comes_twice_is_refused(scheme):
    plug = lookup.find("signatures", scheme)
    request = signed_by(scheme, UNSIGNED["JSON"])
    with pytest.raises(Refused):
        plug.is_offered(replace(request, headers=(*request.headers, (plug.HEADER, request.header(plug.HEADER)))))


@pytest.mark.parametrize("form", UNSIGNED)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_doctor_names_the_documented_way_first(scheme, form):
    plug = lookup.find("signatures", scheme)
    fitting = [name for name, fits in plug.variants(secret(scheme), signed_by(scheme, UNSIGNED[form])) if fits]
    assert fitting[0].startswith("as documented")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_doctor_names_nothing_when_the_secret_is_another(scheme):
    request = signed_by(scheme, UNSIGNED["JSON with a query"])
    assert not any(fits for _, fits in lookup.find("signatures", scheme).variants(other(scheme), request))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_signing_shows_the_secret_only_where_the_scheme_is_the_secret(scheme):
    added = lookup.find("signatures", scheme).sign(secret(scheme), UNSIGNED["JSON"])
    assert any(secret(scheme) in value for value in added.values()) == (scheme == "shared_secret")
    assert hashlib.sha256(secret(scheme).encode()).hexdigest() not in str(added)

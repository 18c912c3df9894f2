"""What each URL of Books and Inventory answers, limits, faults and refusals included."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timezone

import orjson

from deploy.local.zoho.clock import Clock
from deploy.local.zoho.faults import REFUSALS, Faults
from deploy.local.zoho.limits import Limits
from deploy.local.zoho.lists import PER_PAGE, Lists, totals
from deploy.local.zoho.modules import BOOKS, INVENTORY, MODULES, Module
from deploy.local.zoho.store import Store
from deploy.local.zoho.tokens import Tokens
from deploy.local.zoho.wire import HTML, Answer, Request, said

ITEMS_AT_ONCE = 100
_BUSY_BODY = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>Please try again later.</p></body></html>"
_MESSAGES = {
    44: (
        "For security reasons your organization has been blocked as it have exceeded the maximum number of requests per minute"
        " that can originate from an organization."
    ),
    45: "The API call for this organization has exceeded the maximum call rate limit of {limit}.",
    1070: "You have reached the maximum number of in process requests allowed. Kindly try again after some time.",
    57: "You are not authorized to perform this operation",
}


class Refusal(Exception):
    """Carries the answer that ends a call early."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = said(status, code, message)


@dataclass(frozen=True)
class Call:
    """One call that was answered; `at` in seconds by the stand-in's clock."""

    at: float
    method: str
    path: str
    query: str
    status: int  # 0: the connection ended without an answer
    code: int | None  # Zoho's; 0 is success


class Api:
    """Answers calls; `lock` guards everything it looks at, and whoever changes that holds it."""

    def __init__(self, organization: str, store: Store, tokens: Tokens, *, limits: Limits, faults: Faults, clock: Clock) -> None:
        self.calls: list[Call] = []
        self.before_list: Callable[[], None] = lambda: None
        self.url = ""
        self.lock = threading.RLock()
        self._store, self._limits, self._tokens, self._faults, self._clock = store, limits, tokens, faults, clock
        self._organization = organization
        self._lists = Lists(store)

    def answer(self, request: Request) -> Answer:
        """The answer to one request; whoever sends it calls its `end` afterwards."""
        at = self._clock.elapsed()
        struck = self._faults.strike(request.path)
        if "down" in struck:
            answer = Answer(0, b"", spoilt={"down": 1})
        elif request.path == "/oauth/v2/token":
            answer = self._token(request, struck)
        else:
            answer = self._limited(request, struck)
            answer.spoilt = {name: value for name, value in struck.items() if name in {"truncated", "cut", "slow"}}
        with self.lock:
            self.calls.append(Call(at, request.method, request.path, request.query, answer.status, answer.code))
        return answer

    def _token(self, request: Request, struck: Mapping[str, float]) -> Answer:
        if refused := next((name for name in REFUSALS if name in struck), None):
            return self._refusal(refused)
        if request.method != "POST":
            return said(405, 37, "The HTTP method is not allowed for the requested resource")
        with self.lock:
            status, body = self._tokens.answer(request.form(), self.url)
        return Answer(status, orjson.dumps(body))

    def _limited(self, request: Request, struck: Mapping[str, float]) -> Answer:
        with self.lock:
            zone = self._zone()
            refused = self._limits.take(zone)
            headers = self._limits.headers(zone)
        if refused is not None:
            answer = said(429, refused, _MESSAGES[refused].format(limit=self._limits.daily))
        else:
            try:
                answer = self._let_in(request, struck)
            except BaseException:
                self._end()
                raise
            answer.end = self._end
        answer.headers = headers
        return answer

    def _end(self) -> None:
        with self.lock:
            self._limits.end()

    def _zone(self) -> timezone:
        return self._store.books.zone

    def _let_in(self, request: Request, struck: Mapping[str, float]) -> Answer:
        if "held" in struck:
            self._faults.wait_while_held()
        if refused := next((name for name in REFUSALS if name in struck), None):
            return self._refusal(refused)
        with self.lock:
            try:
                return self._routed(request, struck)
            except Refusal as refusal:
                return refusal.answer

    def _refusal(self, name: str) -> Answer:
        codes = {"minute": 44, "daily": 45, "busy": 1070}
        if name in codes:
            return said(429, codes[name], _MESSAGES[codes[name]].format(limit=self._limits.daily))
        if name == "unauthorized":
            return said(401, 57, _MESSAGES[57])
        if name == "failing":
            return said(200, 1000, "Internal error")
        status, title = (500, "Internal Server Error") if name == "error" else (503, "Service Unavailable")
        return Answer(status, _BUSY_BODY.format(title).encode(), HTML)

    # Routes

    def _routed(self, request: Request, struck: Mapping[str, float]) -> Answer:
        word, _, token = request.headers.get("authorization", "").partition(" ")
        if word != "Zoho-oauthtoken" or not self._tokens.is_alive(token):
            raise Refusal(401, 57, _MESSAGES[57])
        base = next((base for base in (BOOKS, INVENTORY) if request.path.startswith(f"{base}/")), None)
        parts = request.path.removeprefix(f"{base}/").split("/") if base else []
        route = self._route(base or "", parts)
        if route is None:
            raise Refusal(404, 5, "Invalid URL Passed")
        if request.method != "GET":
            raise Refusal(405, 37, f"The HTTP method {request.method} is not allowed for the requested resource")
        query = request.arguments()
        if parts != ["organizations"]:
            self._check_organization(query.get("organization_id") or request.headers.get("x-com-zoho-organizationid", ""))
        return route(query, struck)

    def _route(self, base: str, parts: list[str]) -> Callable[[dict[str, str], Mapping[str, float]], Answer] | None:
        if parts == ["organizations"]:
            return lambda _query, _struck: self._organizations()
        if parts == ["itemdetails"]:
            return lambda query, _struck: self._item_details(query)
        if not parts or not (module := MODULES.get((base, parts[0]))):
            return None
        if len(parts) == 1:
            return lambda query, struck: self._list(module, query, struck)
        if len(parts) == 2 and module.has_detail:  # noqa: PLR2004 - /items/1
            return lambda _query, _struck: self._detail(module, parts[1])
        return None

    def _check_organization(self, given: str) -> None:
        if not given:
            raise Refusal(401, 57, _MESSAGES[57])
        if given != self._organization:
            raise Refusal(401, 6041, f"This user is not associated with the CompanyID/CompanyName:{given}.")

    def _organizations(self) -> Answer:
        one = {
            "organization_id": self._organization, "name": "Harbour & Tide", "contact_name": "Layla Haddad", "currency_code": "SEK",
            "is_default_org": True, "language_code": "en", "time_zone": f"UTC{self._zone().tzname(None).removeprefix('UTC')}",
            "plan_type": 2, "plan_name": "PREMIUM", "is_org_active": True, "account_created_date": "2019-02-18",
        }  # fmt: skip
        return Answer(200, orjson.dumps({"code": 0, "message": "success", "organizations": [one]}), code=0)

    def _item_details(self, query: Mapping[str, str]) -> Answer:
        ids = [each for each in query.get("item_ids", "").split(",") if each]
        if not ids or len(ids) > ITEMS_AT_ONCE:
            raise Refusal(400, 2, "Invalid value passed for item_ids")
        self._store.settle()
        found = [row for each in dict.fromkeys(ids) if (row := self._store.find(("product",), each))]
        return _enveloped("items", b"[" + b",".join(row.detail for row in found) + b"]")

    def _detail(self, module: Module, identifier: str) -> Answer:
        self._store.settle()
        row = self._store.find(module.labels, identifier)
        if row is None:
            raise Refusal(404, 1002, f"{module.named} does not exist.")
        return _enveloped(module.detail_key, row.detail)

    def _list(self, module: Module, query: Mapping[str, str], struck: Mapping[str, float]) -> Answer:
        page, size = _number(query, "page", 1), min(_number(query, "per_page", PER_PAGE), PER_PAGE)
        self.before_list()
        self._store.settle()
        found = self._lists.find(module, query, is_filtered="unfiltered" not in struck)
        first = 0 if "repeating" in struck else (page - 1) * size
        rows = found.rows[first : first + size]
        context: dict[str, object] = {
            "page": page, "per_page": size, "has_more_page": "repeating" in struck or first + size < len(found.rows),
            "report_name": module.report, "applied_filter": found.applied_filter, "custom_fields": [],
            "sort_column": found.column, "sort_order": found.order,
        }  # fmt: skip
        option = query.get("response_option", "0") if module.has_totals else "0"
        if option in {"1", "2", "3"}:
            context |= {"total": len(found.rows), "total_pages": -(-len(found.rows) // size)}
        if option in {"1", "3", "4"}:
            context |= totals(found.rows)
        tail = b',"page_context":' + orjson.dumps(context) if module.has_context else b""
        if option in {"2", "3"}:
            return Answer(200, b'{"code":0,"message":"success"' + tail + b"}", code=0)
        return _enveloped(module.key, b"[" + b",".join([row.row for row in rows]) + b"]", tail)


def _enveloped(key: str, value: bytes, tail: bytes = b"") -> Answer:
    return Answer(200, b'{"code":0,"message":"success","' + key.encode() + b'":' + value + tail + b"}", code=0)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text[:9])):
        raise Refusal(400, 2, f"Invalid value passed for {name}")
    return int(text[:9])

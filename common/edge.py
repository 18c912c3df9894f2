"""The edge: turns what a web framework hands over into a Request, a flow's result into an Answer, and errors into
problem+json; checks who calls, bounds what is read, and writes one log line per request.
"""

from __future__ import annotations

import importlib
import io
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from common import auth, encoding, log, settings
from common.auth import Role
from common.errors import (
    AppError,
    Broken,
    Forbidden,
    HeadersTooLarge,
    Invalid,
    Refused,
    Throttled,
    TooLarge,
    TooSlow,
    Unavailable,
    Unknown,
    UriTooLong,
    WrongMethod,
)
from common.rules import cors
from common.rules.capability import HEADER
from common.rules.http import Answer, Request

if TYPE_CHECKING:
    import flask
    from starlette.requests import Request as StarletteRequest
    from starlette.responses import Response as StarletteResponse

Result: TypeAlias = "Answer | tuple[int, Any] | Any"
Handler = Callable[..., Result]

HEADER_BYTES = 16 * 1024
ADDRESS_CHARACTERS = 4096
ADMIN_BODY_BYTES = 256 * 1024
READING = frozenset({"GET", "HEAD", "OPTIONS"})
SWEEPING = frozenset({"/tasks/process", "/tasks/tick"})  # which sweep as a part of their work
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Route:
    """One method and path, who may use it, and what answers; `{name}` in the path is passed on by name."""

    def __init__(
        self,
        method: str,
        path: str,
        need: Role | str,
        handler: Handler,
        *,
        down: Callable[[], Result] | None = None,
        act: str | None = None,
    ) -> None:
        self.down = down  # what answers when the database cannot even say who calls
        self.act = act  # what a Tidemark-Token must allow to be let in without a role: another deployment of ours calls
        self.method = method
        self.path = path
        self.need = need  # a role, "page" (a viewer or the static page), "task", or "open"
        self.handler = handler
        self.pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


class Flows:
    """The modules of common.flows, as in `flows.status.queue`, each loaded when a function of it is first called: of a
    deployable's many routes one is called first, and waits only for what it needs.
    """  # fmt: skip

    def __getattr__(self, name: str) -> _Flow:
        return _Flow(f"common.flows.{name}")


class _Flow:
    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, function: str) -> Handler:
        def call(*given: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(self._module), function)(*given, **named)

        return call


flows = Flows()


def routed(*routes: Route) -> Callable[[Request], Answer]:
    """A function that answers these routes, each only for those who may."""

    def answer(request: Request) -> Result:
        matching = [(route, match) for route in routes if (match := route.pattern.fullmatch(request.path))]
        if not matching:
            message = f"There is nothing at {request.path[:128]}."
            raise Unknown(message)
        for route, match in matching:
            if route.method == request.method or (route.method == "GET" and request.method == "HEAD"):
                check_origin(request)
                if route.act is not None and request.header(HEADER.lower()) is not None:
                    with log.bound(operator=f"token:{auth.capability(request, route.act)['sub']}"):
                        return route.handler(request, **match.groupdict())
                if isinstance(route.need, Role) or route.need == "page":
                    try:
                        name = auth.operator(request, route.need) if isinstance(route.need, Role) else auth.page(request)
                    except Unavailable as error:
                        if route.down is None or isinstance(error, Throttled):
                            raise
                        return route.down()
                    with log.bound(operator=name):
                        return route.handler(request, **match.groupdict())
                if route.need == "task":
                    auth.task(request)
                    auth.rung(request)
                    _sweep_beside(route.path)
                return route.handler(request, **match.groupdict())
        raise WrongMethod(tuple(sorted({route.method for route, _ in matching})))

    pages = [route for route in routes if route.need == "page"]
    return shared(guarded(answer), pages) if pages else guarded(answer)


def _sweep_beside(path: str) -> None:
    """Whoever is called for a task looks for what has come to a halt, too: so it moves even if nobody heals."""
    if path not in SWEEPING:
        from common.flows import sweep  # noqa: PLC0415 - only deliveries of tasks pay for it

        sweep.beside(path.rpartition("/")[2])


def shared(handler: Callable[[Request], Answer], pages: Sequence[Route]) -> Callable[[Request], Answer]:
    """`handler`, whose answers on the paths of `pages` tell browsers which origins may read them, refusals included."""

    def answer(request: Request) -> Answer:
        found = handler(request)
        if not any(page.pattern.fullmatch(request.path) for page in pages):
            return found
        return replace(found, headers=cors.headers(request.header("origin"), settings.load().cors_origins) | found.headers)

    return answer


def check_origin(request: Request) -> None:
    """Raises: Forbidden, when a page of a foreign origin wants to change something."""
    asking = request.header("origin")
    if request.method in READING or cors.may_write(asking, settings.load().cors_origins, request.header("host")):
        return
    message = "A page of another origin may not do this."
    raise Forbidden(message)


def guarded(handler: Callable[[Request], Result]) -> Callable[[Request], Answer]:
    """`handler` with its errors as problem+json, its headers, and one log line per request."""

    def answer(request: Request) -> Answer:
        started = time.perf_counter()
        with log.bound(trace_id=request.trace_id):
            try:
                check_size(request)
                found = answered(handler(request))
            except Exception as error:  # noqa: BLE001 - nothing of a fault may reach a caller but its class
                found = problem(request, error)
            log_line(request, found, started)
        return found

    return answer


def hook(handler: Callable[[Request], Result]) -> Callable[[Request], Answer]:
    """As `guarded`, for those who send events: whatever keeps one from being stored, they are told to send it again."""

    def answer(request: Request) -> Result:
        try:
            return handler(request)
        except Exception as error:
            raise unstored(error) from error

    return guarded(answer)


def hook_together(handler: Callable[[Request], Awaitable[Result]]) -> Callable[[Request], Awaitable[Answer]]:
    """As `hook`, in an event loop. What is stored is logged once per group, by the flow; here only what is refused."""

    async def answer(request: Request) -> Answer:
        try:
            check_size(request)
            return answered(await handler(request))
        except Exception as error:  # noqa: BLE001
            started = time.perf_counter()
            with log.bound(trace_id=request.trace_id):
                refused = problem(request, unstored(error))
                log_line(request, refused, started)
            return refused

    return answer


def unstored(error: Exception) -> AppError:
    """What a sender is told when its event was not stored: why it was refused, or to send it again."""
    if isinstance(error, Refused | Unavailable):
        return error
    log.error("webhook.not_stored", error=type(error).__name__, detail=str(error)[:500], where=_where(error))
    message = "The event could not be stored; send it again."
    return Unavailable(message)


def check_size(request: Request) -> None:
    """Raises: HeadersTooLarge, UriTooLong or Refused, before anything is done with the request."""
    if sum(len(name) + len(value) + 4 for name, value in request.headers) > HEADER_BYTES:
        message = f"All headers together may have {HEADER_BYTES} bytes."
        raise HeadersTooLarge(message)
    if len(request.path) + len(request.query) > ADDRESS_CHARACTERS:
        message = f"The address may have {ADDRESS_CHARACTERS} characters."
        raise UriTooLong(message)
    if "\x00" in request.path:
        message = "The path holds a NUL character."
        raise Refused(message)


def answered(result: Result) -> Answer:
    """What a handler returned as an Answer: an Answer, (status, body), or the body of a 200."""
    if isinstance(result, Answer):
        return result
    status, body = result if isinstance(result, tuple) else (200, result)
    again = {"Retry-After": str(Unavailable().retry_after_seconds)} if status == Unavailable.status else {}
    return Answer(status, encoding.dumps(body).encode(), {"Content-Type": "application/json"} | again)


def problem(request: Request, error: Exception) -> Answer:
    """An error as RFC 9457 problem+json. What is not an AppError is a bug: logged, and never described to the caller."""
    if not isinstance(error, AppError) or isinstance(error, Broken):
        log.error("request.broke", error=type(error).__name__, detail=str(error)[:500], where=_where(error))
        error = AppError("Something went wrong inside Tidemark; the trace id finds it in the log.")
    body = {
        "type": f"urn:tidemark:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": request.path[:256],
        "trace_id": log.field("trace_id"),
        "retryable": error.retryable,
        **error.fields,
    }
    headers = {"Content-Type": "application/problem+json", **error.headers}
    return Answer(error.status, encoding.dumps(log.redact(body)).encode(), headers)


def unread(request: Request, error: Exception) -> Answer:
    """The answer to a request whose body came too slowly, or not whole."""
    late = isinstance(error, TimeoutError)
    message = "The body did not arrive in time." if late else "The body ended early, or its chunks cannot be read."

    def refuse(_: Request) -> Result:
        raise (TooSlow if late else Refused)(message) from error

    return guarded(refuse)(request)


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""


def log_line(request: Request, answer: Answer, started: float) -> None:
    """The one line of a request: never its query, its headers or its body."""
    log.info(
        "request.answered",
        method=request.method,
        path=request.path[:256],
        status=answer.status,
        took_ms=round((time.perf_counter() - started) * 1000, 2),
    )


def json_body(request: Request) -> dict[str, Any]:
    """The body of an operator's request, which must be a JSON object.

    Raises: TooLarge, Refused, Invalid.
    """
    if len(request.body) > ADMIN_BODY_BYTES:
        message = f"The body may have {ADMIN_BODY_BYTES} bytes."
        raise TooLarge(message)
    if not request.body.strip():
        return {}
    try:
        value = encoding.loads(request.body)
    except ValueError as error:
        message = f"The body is not JSON: {error}."
        raise Refused(message) from error
    if not isinstance(value, dict):
        message = "The body must be a JSON object."
        raise Invalid(message)
    return value


def caller_address(peer: str, forwarded: str | None) -> str:
    """Who called: the address that the outermost of our own proxies saw. What comes before it, anybody may have written."""
    hops = settings.load().trusted_proxies
    seen = [part.strip() for part in (forwarded or "").split(",") if part.strip()]
    return seen[-hops] if hops and len(seen) >= hops else peer


# Flask: what functions-framework hands over ----------------------------------------------------------------------


def flask_answer(handle: Callable[[Request], Answer], given: flask.Request) -> flask.Response:
    """Answer a Flask request."""
    import flask  # noqa: PLC0415 - loaded by then; the receiver's event loop never needs it

    bare = Request(
        method=given.method,
        path=given.path,
        query=given.query_string.decode("latin-1"),
        headers=tuple((name.lower(), value) for name, value in given.headers.items()),
        address=caller_address(given.remote_addr or "", given.headers.get("X-Forwarded-For")),
    )
    try:
        request = replace(bare, body=_flask_body(given))
    except Exception as error:  # noqa: BLE001 - each server has its own for a body that does not come
        answer = unread(bare, error)
    else:
        answer = handle(request)
    return flask.Response(answer.body, answer.status, {**SECURITY, **answer.headers})


def _flask_body(given: flask.Request) -> bytes:
    current = settings.load()
    line = given.environ.get("gunicorn.socket")  # functions-framework's server; it waits for ever by itself
    if line is not None:
        line.settimeout(current.body_timeout_seconds.total_seconds())
    stream, given.stream = given.stream, io.BytesIO()  # functions-framework would read what we leave, however much it is
    body = stream.read(current.webhook_body_limit_bytes + 1)
    if len(body) < min(given.content_length or 0, current.webhook_body_limit_bytes + 1):
        raise EOFError
    return body


# Starlette: its asynchronous side --------------------------------------------------------------------------------


async def starlette_answer(handle: Callable[[Request], Awaitable[Answer]], given: StarletteRequest) -> StarletteResponse:
    """Answer a Starlette request."""
    from starlette.responses import Response  # noqa: PLC0415

    try:
        body = await _body(given)
    except Exception as error:  # noqa: BLE001 - as above
        answer = unread(_starlette_request(given, b""), error)
    else:
        answer = await handle(_starlette_request(given, body))
    return Response(answer.body, answer.status, {**SECURITY, **answer.headers})


def _starlette_request(given: StarletteRequest, body: bytes) -> Request:
    scope = given.scope
    headers = tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
    peer = scope["client"][0] if scope.get("client") else ""
    return Request(
        scope["method"],
        scope["path"],
        scope["query_string"].decode("latin-1"),
        headers,
        body,
        caller_address(peer, next((value for name, value in headers if name == "x-forwarded-for"), None)),
    )


async def _body(given: StarletteRequest) -> bytes:
    """Raises: TimeoutError; ClientDisconnect."""
    import asyncio  # noqa: PLC0415

    current = settings.load()
    task = asyncio.current_task()
    # By hand what asyncio.timeout does: that costs as much as reading the event.
    late = asyncio.get_running_loop().call_later(current.body_timeout_seconds.total_seconds(), task.cancel, TimeoutError)  # type: ignore[union-attr]
    parts: list[bytes] = []
    size = 0
    try:
        async for part in given.stream():
            parts.append(part)
            size += len(part)
            if size > current.webhook_body_limit_bytes:
                break
    except asyncio.CancelledError as error:
        if error.args != (TimeoutError,):
            raise
        task.uncancel()  # type: ignore[union-attr]
        raise TimeoutError from error
    finally:
        late.cancel()
    return b"".join(parts)

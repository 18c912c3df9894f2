"""Every error Tidemark raises; its class alone decides the HTTP status and whether a retry makes sense."""

from __future__ import annotations

from typing import Any


class AppError(Exception):
    """Something went wrong inside Tidemark."""

    status = 500
    title = "Internal error"
    slug = "internal"
    retryable = False

    def __init__(self, detail: str | None = None, **fields: Any) -> None:
        """`detail` says what happened, to what, and what to do; `fields` join the problem body as they stand."""
        super().__init__(detail or self.__doc__)
        self.detail = detail or (self.__doc__ or "").strip()
        self.fields = fields
        self.headers: dict[str, str] = {}


class Refused(AppError):
    """The request cannot be carried out as it stands."""

    status, title, slug = 400, "Bad request", "bad-request"


class Unauthentic(Refused):
    """The caller did not prove who it is."""

    status, title, slug = 401, "Not authenticated", "not-authenticated"


class TokenRefused(Unauthentic):
    """A token does not count here and now."""

    def __init__(self, detail: str, *, reason: str, claimed: dict[str, Any]) -> None:
        super().__init__(detail, reason=reason)
        self.reason = reason
        self.claimed = claimed  # what it said, if its signature was good: for the audit, not for the answer


class Forbidden(Refused):
    """The caller's role does not reach this far."""

    status, title, slug = 403, "Insufficient scope", "insufficient-scope"


class Unknown(Refused):
    """There is no such thing."""

    status, title, slug = 404, "Not found", "not-found"


class WrongMethod(Refused):
    """The path exists, but not for this method."""

    status, title, slug = 405, "Method not allowed", "method-not-allowed"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"Use one of: {', '.join(allowed)}.")
        self.headers = {"Allow": ", ".join(allowed)}


class TooSlow(Refused):
    """The body did not arrive in time."""

    status, title, slug, retryable = 408, "Request timeout", "request-timeout", True


class Conflict(Refused):
    """A rule of the database said no."""

    status, title, slug = 409, "Conflict", "conflict"


class InProgress(Conflict):
    """The same is being carried out already for somebody who asked before: ask again in a moment."""

    def __init__(self, detail: str | None = None, **fields: Any) -> None:
        super().__init__(detail, **fields)
        self.headers = {"Retry-After": "1"}


class PreconditionFailed(Refused):
    """What was confirmed is not what stands there now."""

    status, title, slug = 412, "Precondition failed", "precondition-failed"


class TooLarge(Refused):
    """The body is larger than the limit."""

    status, title, slug = 413, "Body too large", "body-too-large"


class UriTooLong(Refused):
    """The address is longer than the limit."""

    status, title, slug = 414, "Address too long", "address-too-long"


class WrongEncoding(Refused):
    """The body's encoding is not accepted."""

    status, title, slug = 415, "Unsupported encoding", "unsupported-encoding"


class Invalid(Refused):
    """The request is well formed, but its values are not acceptable."""

    status, title, slug = 422, "Invalid value", "invalid-value"


class HeadersTooLarge(Refused):
    """The header block is larger than the limit."""

    status, title, slug = 431, "Headers too large", "headers-too-large"


class Unavailable(AppError):
    """A dependency is down or slow; the same call may work later."""

    status, title, slug, retryable = 503, "Unavailable", "unavailable", True

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 5, **fields: Any) -> None:
        super().__init__(detail, **fields)
        self.retry_after_seconds = retry_after_seconds
        self.headers = {"Retry-After": str(retry_after_seconds)}


class Throttled(Unavailable):
    """Too many requests."""

    status, title, slug = 429, "Too many requests", "too-many-requests"


class Suspended(Unavailable):
    """A dependency failed too often and is not called for a while."""


class Waiting(Unavailable):
    """What this waits for has not come yet; nothing is wrong."""

    title, slug = "Not yet", "waiting"


class Passive(Unavailable):
    """Another deployment holds the lease: this one runs no schedule and no plan, and calls nobody."""

    title, slug = "Passive", "passive"


class LeaseLost(Passive):
    """The lease that this was to be written under is lost: nothing of it was written."""

    title, slug = "Lease lost", "lease-lost"


class Replayable(Unavailable):
    """Two transactions met (deadlock or serialization); the whole transaction may be run again."""


class SourceRefused(AppError):
    """The source said no, and would say it again: somebody must change what it is asked, or with what right."""

    status, title, slug = 502, "Refused by the source", "source-refused"


class Broken(AppError):
    """A promise of our own did not hold; somebody must look."""

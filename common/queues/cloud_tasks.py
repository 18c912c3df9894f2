"""Google Cloud Tasks, or its local look-alike: the same API, the same client.

The client library takes 300 ms to import. What rings on the way to an answer that somebody waits for posts the same
request itself; everything else uses the library.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import json
import socket
import threading
import time
from datetime import UTC, datetime
from typing import Any

from common import encoding, settings
from common.errors import Unavailable
from common.rules import capability

SECONDS = 2.0
EXISTS = 409
_local = threading.local()


def ring(function: str, body: dict[str, Any], *, at: datetime | None = None, name: str | None = None, light: bool = False) -> None:
    """Create a task that posts `body` to `/tasks/<function>`, at once or at `at`; one of a `name` that was used is dropped.

    Raises: Unavailable, when the API did not take it.
    """
    if light:
        _post(function, body, at, name)
    else:
        _create(function, body, at, name)


def _task_name(name: str) -> str:
    # Sequential names crowd one shard of the queue, so a hash goes first.
    return f"{settings.load().tasks_queue}/tasks/{hashlib.sha256(name.encode()).hexdigest()[:12]}-{name}"


def _http_request(function: str, body: dict[str, Any], at: datetime | None) -> dict[str, Any]:
    current = settings.load()
    raw = encoding.dumps(body).encode()
    token = capability.ring(function, raw, current.signing_keys[0], now=datetime.now(UTC), at=at)
    request: dict[str, Any] = {
        "url": f"{current.functions_url}/tasks/{function}",
        "headers": {"Content-Type": "application/json", capability.HEADER: token},
        "body": base64.b64encode(raw).decode(),
    }
    if current.tasks_service_account:
        request["oidcToken"] = {"serviceAccountEmail": current.tasks_service_account, "audience": current.functions_url}
    else:
        request["headers"]["Authorization"] = f"Bearer {current.task_key}"
    return request


def _post(function: str, body: dict[str, Any], at: datetime | None, name: str | None) -> None:
    current = settings.load()
    task: dict[str, Any] = {"httpRequest": _http_request(function, body, at) | {"httpMethod": "POST"}}
    if name:
        task["name"] = _task_name(name)
    if at:
        task["scheduleTime"] = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    payload = json.dumps({"task": task}).encode()
    headers = {"Content-Type": "application/json"} | ({} if current.tasks_endpoint else {"Authorization": f"Bearer {_token()}"})
    for attempt in (1, 2):  # a kept connection may have been closed by the other side since
        connection = _connection(current.tasks_endpoint)
        try:
            connection.request("POST", f"/v2/{current.tasks_queue}/tasks", payload, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            _local.connection = None
            if attempt == 2 or isinstance(error, TimeoutError):  # noqa: PLR2004
                message = f"Cloud Tasks did not take a ring for {function}."
                raise Unavailable(message) from error
            continue
        if answer.status >= 400 and answer.status != EXISTS:  # noqa: PLR2004
            message = f"Cloud Tasks refused a ring for {function} with status {answer.status}."
            raise Unavailable(message)
        return


def _connection(endpoint: str) -> http.client.HTTPConnection:
    kept: http.client.HTTPConnection | None = getattr(_local, "connection", None)
    if kept is None:
        kept = (
            http.client.HTTPConnection(endpoint, timeout=SECONDS)
            if endpoint
            else http.client.HTTPSConnection("cloudtasks.googleapis.com", timeout=SECONDS)
        )
        _local.connection = kept
    if kept.sock is None:
        try:
            kept.connect()
            connected: socket.socket = kept.sock  # type: ignore[assignment]
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            message = "Cloud Tasks cannot be reached."
            raise Unavailable(message) from error
    return kept


_access: tuple[str, float] = ("", 0.0)


def _token() -> str:
    """An access token of the instance's own service account, from the metadata server; kept until it is about to end."""
    global _access  # noqa: PLW0603 - one token per process is the point
    token, until = _access
    if time.monotonic() < until:
        return token
    connection = http.client.HTTPConnection("metadata.google.internal", timeout=SECONDS)
    try:
        path = "/computeMetadata/v1/instance/service-accounts/default/token"
        connection.request("GET", path, headers={"Metadata-Flavor": "Google"})
        answer = json.loads(connection.getresponse().read())
        token = str(answer["access_token"])
        _access = (token, time.monotonic() + int(answer["expires_in"]) - 60)
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        message = "The metadata server gave no access token."
        raise Unavailable(message) from error
    finally:
        connection.close()
    return token


@functools.cache
def _client() -> Any:
    from google.cloud import tasks_v2  # noqa: PLC0415 - 300 ms

    endpoint = settings.load().tasks_endpoint
    if not endpoint:
        return tasks_v2.CloudTasksClient()
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksRestTransport  # noqa: PLC0415

    transport = CloudTasksRestTransport(host=endpoint, url_scheme="http", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    return tasks_v2.CloudTasksClient(transport=transport)


def _create(function: str, body: dict[str, Any], at: datetime | None, name: str | None) -> None:
    from google.api_core import exceptions  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
    from google.cloud import tasks_v2  # noqa: PLC0415

    asked = _http_request(function, body, at)
    request = {"url": asked["url"], "headers": asked["headers"], "body": base64.b64decode(asked["body"])}
    if "oidcToken" in asked:
        token = asked["oidcToken"]
        request["oidc_token"] = {"service_account_email": token["serviceAccountEmail"], "audience": token["audience"]}
    task = tasks_v2.Task(http_request=tasks_v2.HttpRequest(http_method=tasks_v2.HttpMethod.POST, **request))
    if name:
        task.name = _task_name(name)
    if at:
        task.schedule_time = at
    try:
        _client().create_task(parent=settings.load().tasks_queue, task=task, timeout=SECONDS)
    except exceptions.Conflict:
        return
    except (exceptions.GoogleAPIError, GoogleAuthError, OSError) as error:
        message = f"Cloud Tasks did not take a ring for {function}."
        raise Unavailable(message) from error

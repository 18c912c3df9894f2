"""Amazon SQS. Its dedupe is of five minutes and its delay of fifteen at most: both only make a ring doubled or early."""

from __future__ import annotations

import functools
import math
from datetime import UTC, datetime
from typing import Any

from common import encoding, settings
from common.errors import Unavailable
from common.rules import capability

LONGEST_DELAY_SECONDS = 900


def ring(function: str, body: dict[str, Any], *, at: datetime | None = None, name: str | None = None, light: bool = False) -> None:  # noqa: ARG001
    """Send a message that rings `function` with `body`, at once or at `at`, fifteen minutes from now at most.

    Raises: Unavailable, when SQS did not take it.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - 300 ms

    current, now = settings.load(), datetime.now(UTC)
    delay = math.ceil((at - now).total_seconds()) if at else 0
    text = encoding.dumps(body)
    token = capability.ring(function, text.encode(), current.signing_keys[0], now=now, at=at)
    try:
        _client().send_message(
            QueueUrl=current.tasks_queue,
            MessageBody=encoding.dumps({"function": function, "body": text, "token": token}),
            DelaySeconds=min(max(delay, 0), LONGEST_DELAY_SECONDS),
        )
    except (BotoCoreError, ClientError) as error:
        message = f"SQS did not take a ring for {function}."
        raise Unavailable(message) from error


@functools.cache
def _client() -> Any:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client("sqs", config=Config(connect_timeout=1, read_timeout=2, retries={"max_attempts": 1}))

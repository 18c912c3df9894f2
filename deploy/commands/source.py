"""The source: whether what a sync needs of it works."""

from __future__ import annotations

import contextlib
import io

from deploy.client import Exit, Problem, write_json, write_rows
from deploy.commands.options import Json, group

source = group("The source that records come from.")


@source.callback()
def _source() -> None:
    """The source that records come from."""


@source.command()
def check(*, as_json: Json = False) -> None:
    """Try the token, each list and each filter, with the variables of this environment: about twenty calls."""
    from common import settings  # noqa: PLC0415
    from common.errors import AppError  # noqa: PLC0415
    from common.flows import sync  # noqa: PLC0415
    from deploy.doctor import adopt_environment  # noqa: PLC0415

    adopt_environment()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # log lines are no data
            found = sync.check_source()
    except settings.Misconfigured as error:
        raise Problem(str(error), Exit.USAGE, then="set the variables that it names") from error
    except AppError as error:
        raise Problem(error.detail, Exit.DEGRADED) from error
    if as_json:
        write_json(found)
    else:
        write_rows(
            ("check", "status", "detail"), [(each["name"], "ok" if each["is_good"] else "failed", each["said"]) for each in found]
        )
    failed = [each["name"] for each in found if not each["is_good"]]
    if failed:
        cause = f"Not well: {', '.join(failed)}."
        raise Problem(cause, Exit.DEGRADED, then="put right what the first of them says, and run `tidemark source check` again")

"""Looking at what is deployed, and at what it all depends on; the exit status says whether it is as it should be, for pipelines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, write_facts, write_json, write_rows
from deploy.commands.options import Json, Token, Url, segment, unknown

SECONDS = 90.0  # a provider takes its time, and each of several its own
TARGETS = "tidemark deploy target list"
CHECKED = ("target", "ok", "serving", "wanted", "health", "logs", "problems")
PARITY = ("name", "wanted", "serving", "differs", "unknown")
DRIFTED = ("name", "on", "missing_on", "values")
LINKS = ("link", "status", "critical", "reason", "without")

Window = Annotated[int | None, typer.Option(min=1, max=86_400, help="How many seconds of the log are looked at; else 600.")]


def check(
    targets: Annotated[list[str] | None, typer.Argument(help="Targets; else all.")] = None,
    *,
    expected: Annotated[list[str] | None, typer.Option(help="A pattern that must be in the log; may be repeated.")] = None,
    forbidden: Annotated[list[str] | None, typer.Option(help="A pattern that must not be in it; may be repeated.")] = None,
    window: Window = None, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Ask every target what it serves, whether it is well, and for its log; exit status 1 when one is not as it should be."""
    api = Api(url, key, seconds=SECONDS)
    asked = {"expected": expected or None, "forbidden": forbidden or None, "window_seconds": window}
    names = targets or [each["name"] for each in api.get("/api/hxo/targets")["targets"]]
    if not names:
        cause = "There is nothing to check: no target is known."
        raise Problem(cause, Exit.FAILED, then="tidemark deploy target set")
    found = []
    with unknown(then=TARGETS):
        for name in names:
            found.append(api.call("POST", f"/api/hxo/targets/{segment(name)}/check", asked))
            if len(names) > 1:
                say(f"  {name}: {'as it should be' if found[-1]['ok'] else 'not as it should be'}")
    if as_json:
        write_json({"ok": all(each["ok"] for each in found), "targets": found})
    else:
        write_rows(CHECKED, [_checked(each) for each in found])
    bad = [f"{each['target']}: {problem}" for each in found for problem in each["problems"]]
    if bad:
        raise Problem("\n  ".join(["Not everything is as it should be.", *bad]), Exit.FAILED, then="tidemark deploy points")


def _checked(each: dict[str, Any]) -> list[Any]:
    logs = each["logs"]["outcome"] or "not looked at"
    problems = "; ".join(each["problems"])
    return [
        each["target"], each["ok"], _version(each["serving"]), _version(each["wanted"]), each["health"]["said"], logs, problems,
    ]  # fmt: skip


def _version(known: dict[str, Any] | None) -> Any:
    return (known.get("commit") or known.get("artifact") or known.get("id")) if known else None


def parity(
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask every provider and service now.")] = False,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Whether what is served is what the last deploys wanted, field by field; exit status 1 unless it is known to be."""
    found = Api(url, key).get("/api/diagnostics/deploy-parity", fresh=1 if fresh else None)
    if as_json:
        write_json(found)
    else:
        write_facts({name: value for name, value in found.items() if name != "targets"})
        write_rows(
            PARITY,
            [[_version(each[key]) if key in {"wanted", "serving"} else each[key] for key in PARITY] for each in found["targets"]],
        )
    if found["status"] != "ok":
        told = [f"{each['name']}: {', '.join(each['differs'] + [f'{name} is not known' for name in each['unknown']])}"
                for each in found["targets"] if each["differs"] or each["unknown"]]  # fmt: skip
        cause = f"Parity is {found['status']}" + (f": {'; '.join(told)}." if told else ".")
        raise Problem(cause, Exit.FAILED, then="tidemark deploy check")


def drift(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """In which variables the targets differ, by name and never by value; exit status 1 unless they are known not to."""
    found = Api(url, key, seconds=SECONDS).get("/api/diagnostics/env-drift")
    if as_json:
        write_json(found)
    else:
        write_rows(DRIFTED, [[each[column] for column in DRIFTED] for each in found["keys"]])
    lacking = [f"{each['name']} lacks {', '.join(each['missing'])}" for each in found["targets"] if each["missing"]]
    silent = [f"{each['name']} cannot be read: {each['error']}" for each in found["targets"] if each["error"]]
    if found["status"] != "same":
        differing = [f"{len(found['keys'])} variables differ, or may"] if found["keys"] else []
        cause = f"The environments are {found['status']}: {'; '.join(differing + lacking + silent)}."
        raise Problem(cause, Exit.FAILED, then="set the variables at the providers, then: tidemark deploy drift")


def links(
    link: Annotated[str | None, typer.Argument(help="One dependency; else all.")] = None,
    *,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """How the dependencies are, and what goes on without each; exit status 8 when one is degraded or down."""
    api = Api(url, key)
    with unknown(then="tidemark links"):
        path = "/api/hxo/links/health"
        found = api.get(path if link is None else f"{path}/{segment(link)}")
    shown = list(found["links"].values()) if link is None else [found]
    if as_json:
        write_json(found)
    else:
        write_rows(LINKS, [[each[column] for column in LINKS] for each in shown])
    bad = [f"{each['link']} is {each['status']}: {each['reason']}" for each in shown if each["status"] in {"degraded", "down"}]
    if bad:
        raise Problem("; ".join(bad), Exit.DEGRADED)

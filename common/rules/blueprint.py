"""The schemas of shard kinds: what reads their configs, what lists them, and which changes to them old plans can bear.

A kind declares INPUT and OUTPUT, two pydantic models: of a stage's config, and of what each of its shards says. A stage's
`partitioner` and `executor` are a part of the input: their enums say which ones suit the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import Invalid
from common.rules.partitions import Impossible


class Schema(BaseModel):
    """What every input and output is: strict, and without fields that nobody knows."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Model = TypeVar("Model", bound=Schema)


def read(model: type[Model], config: Mapping[str, Any], kind: str) -> Model:
    """A config as its kind reads it.

    Raises: Invalid, with a pointer to each fault.
    """
    try:
        return model.model_validate(dict(config))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise refused(kind, *(("".join(f"/{step}" for step in fault["loc"]), _message(fault)) for fault in faults)) from error


def _message(fault: Any) -> str:
    return "there is no such field" if fault["type"] == "extra_forbidden" else str(fault["msg"]).removeprefix("Value error, ")


def refused(kind: str, *faults: tuple[str, str]) -> Invalid:
    """What says that a config cannot be, with a pointer and a message for each reason."""
    errors = [{"pointer": pointer or "/", "message": message} for pointer, message in faults]
    return Invalid(f"A stage of kind {kind} cannot be carried out as it stands.", errors=errors)


def impossible(kind: str, error: Impossible) -> Invalid:
    """The same, of work that does not fit its config."""
    return refused(kind, (error.pointer, error.message))


def described(model: type[Schema]) -> dict[str, Any]:
    """The JSON Schema of a model."""
    return model.model_json_schema()


def choices(model: type[Schema], field: str) -> tuple[str, ...]:
    """What a field of an input may be, when that is one of a few; empty: there is no such field."""
    schema = described(model)
    found = _enum(schema.get("properties", {}).get(field, {}), schema)
    return tuple(sorted(found or ()))


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Why the schemas of a kind, {"input", "output"}, cannot take the place of older ones: plans that stand rely on those.

    Of an input nothing may become required or narrower, since old configs are still run; of an output nothing that was
    promised may go, since it is still read.
    """
    return _input_breaks(old["input"], new["input"]) + _output_breaks(old["output"], new["output"])


def _input_breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = [f"input: {name} is required now" for name in _required(new) if name not in _required(old)]
    for name, before in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            found.append(f"input: {name} is gone, but configs that stand have it")
            continue
        after = new["properties"][name]
        found += _narrowed(f"input: {name}", _enum(before, old), _enum(after, new))
        found += _fewer_types(f"input: {name}", _types(before, old), _types(after, new))
    return found


def _output_breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = [f"output: {name} is not promised any more" for name in _required(old) if name not in _required(new)]
    for name, before in old.get("properties", {}).items():
        after = new.get("properties", {}).get(name)
        if after is not None:
            found += _narrowed(f"output: {name}", _enum(before, old), _enum(after, new))
            found += _fewer_types(f"output: {name}", _types(after, new), _types(before, old))
    return found


def _required(schema: Mapping[str, Any]) -> list[str]:
    return list(schema.get("required", ()))


def _narrowed(what: str, before: frozenset[str] | None, after: frozenset[str] | None) -> list[str]:
    if before is None:
        return [] if after is None else [f"{what} is one of a few now"]
    gone = sorted(before - after) if after is not None else []
    return [f"{what} cannot be {', '.join(gone)} any more"] if gone else []


def _fewer_types(what: str, wide: frozenset[str], narrow: frozenset[str]) -> list[str]:
    gone = sorted(wide - narrow) if wide and narrow else []
    return [f"{what} is of another type now: {', '.join(gone)}"] if gone else []


def _branches(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "$ref" in schema:
        return _branches(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return [found for branch in schema["anyOf"] for found in _branches(branch, whole)]
    return [schema]


def _enum(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> frozenset[str] | None:
    """What a value is one of; None when it is not one of a few."""
    found: set[str] = set()
    for branch in _branches(schema, whole):
        if "const" in branch or "enum" in branch:
            found |= {str(value) for value in branch.get("enum", [branch.get("const")])}
        elif branch.get("type") != "null":
            return None
    return frozenset(found) if found else None


def _types(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(branch["type"]) for branch in _branches(schema, whole) if "type" in branch)

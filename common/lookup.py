"""Plug-ins by name: the file's name is the registry, and nothing that is not a file of the package can be imported."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path
from types import ModuleType

from common.errors import Unknown

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@functools.cache
def names(package: str) -> tuple[str, ...]:
    """The plug-ins of `common.<package>`, sorted: one per file."""
    module = importlib.import_module(f"common.{package}")
    return tuple(sorted({path.stem for folder in module.__path__ for path in Path(folder).glob("*.py") if path.stem != "__init__"}))


@functools.cache
def find(package: str, name: str) -> ModuleType:
    """The plug-in `name` of `common.<package>`.

    Raises: Unknown, when there is no such file.
    """
    if not NAME.fullmatch(name) or name not in names(package):
        message = f"There is no '{name[:64]}' in {package}; there are: {', '.join(names(package))}."
        raise Unknown(message)
    return importlib.import_module(f"common.{package}.{name}")

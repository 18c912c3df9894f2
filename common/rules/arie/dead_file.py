"""Python files that nothing uses: not imported, not started, not loaded by name, and named nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from common.rules.integrity import Change, Finding, Fix, Module, Policy, Severity, Tree, is_test

CATEGORY = "dead"
STARTED = frozenset({"__init__.py", "__main__.py", "setup.py", "conftest.py", "main.py", "manage.py", "wsgi.py", "asgi.py"})
LOADERS = frozenset({"find", "names", "import_module", "iter_modules", "load"})


def find(tree: Tree) -> Iterator[Finding]:
    """Each such file. Whoever is wrong about one finds it in the journal."""
    imported = _imported(tree)
    loaded = _loaded(tree)
    for module in tree.modules.values():
        package = module.name.rpartition(".")[0]
        if is_test(module.path) or module.path.rpartition("/")[2] in STARTED or module.name in imported or package in loaded:
            continue
        if _is_started(module) or _is_named(tree, module):
            continue
        yield Finding(
            analyzer="dead_file",
            severity=Severity.LOW,
            category=CATEGORY,
            file_path=module.path,
            line_number=1,
            description="is not imported, started, loaded by name, or named anywhere",
            suggested_fix="take it out",
            fix=Fix(Policy.ARCHIVE, (Change(module.path, 0, len(module.source), None),)),
        )


def _imported(tree: Tree) -> set[str]:
    """Every name that something imports, modules and what may be modules."""
    found = set()
    for module in tree.modules.values():
        above = module.name.split(".") if module.path.endswith("/__init__.py") else module.name.split(".")[:-1]
        for node in module.nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = above[: len(above) - node.level + 1] if node.level else []
                owner = ".".join([*base, *([node.module] if node.module else [])])
                found |= {owner} | {f"{owner}.{alias.name}" for alias in node.names}
    return found


def _loaded(tree: Tree) -> set[str]:
    """Packages whose modules are loaded by name: f"package.{name}", or the package's name given to what loads."""
    found = set()
    for module in tree.modules.values():
        for node in module.nodes:
            if isinstance(node, ast.JoinedStr) and len(node.values) == 2 and isinstance(node.values[1], ast.FormattedValue):  # noqa: PLR2004
                first = node.values[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.endswith("."):
                    found.add(first.value[:-1])
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in LOADERS and node.args:
                given = node.args[0]
                if isinstance(given, ast.Constant) and isinstance(given.value, str):
                    found.add(given.value)
    packages = {module.name.rpartition(".")[0] for module in tree.modules.values()}
    return {package for package in packages if any(package == name or package.endswith(f".{name}") for name in found if name)}


def _is_started(module: Module) -> bool:
    return any(isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ ==") for node in module.tree.body)


def _is_named(tree: Tree, module: Module) -> bool:
    """Whether another file names it, by its path or by the name that it is imported by."""
    names = (module.path.encode(), module.name.encode())
    return any(name in source for path, source in tree.files.items() if path != module.path for name in names)

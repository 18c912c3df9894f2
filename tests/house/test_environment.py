"""`.env.example` names every variable that Tidemark reads. To write it anew: python -m tests.house.test_environment"""

from __future__ import annotations

from dataclasses import fields

from common import settings
from tests.house.tree import ROOT

FILE = ROOT / ".env.example"
HEAD = "# What Tidemark reads from its environment. Written by tests/house/test_environment.py from common/settings.py.\n"


def example() -> str:
    """The file: what must be set stands open, what need not is commented out with its default."""
    parts = [HEAD]
    for each in fields(settings.Settings):
        default = each.metadata["default"]
        line = f"{each.name.upper()}=" if default is None else f"# {each.name.upper()}={default}"
        parts.append(f"# {each.metadata['what']}\n{line}\n")
    return "\n".join(parts)


def test_the_example_names_every_variable_with_its_default():
    assert FILE.read_text() == example()


if __name__ == "__main__":
    FILE.write_text(example())

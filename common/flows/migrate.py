"""Bring a database to the schema of this code, by hand or when it begins; how, `common.stores.migrations` says."""

from __future__ import annotations

from common.stores.migrations import migrations, run, wanted_version

__all__ = ["migrations", "run", "wanted_version"]

"""Tidemark's floors: edge, flows, plug-ins and stores, db, rules."""

VERSION = "0.1.0"  # as in pyproject.toml, which functions are deployed without

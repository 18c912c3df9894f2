"""Tidemark's floors: edge, flows, plug-ins and stores, db, rules."""

"""Clients of sources: one file per source that records are read from."""

"""One file per analyzer; its name is the analyzer's. What each must have stands in rules/integrity.py."""

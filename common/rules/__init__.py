"""Pure decisions: no clock, no chance, no world."""

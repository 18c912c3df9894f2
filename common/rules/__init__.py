"""Pure decisions and plain shapes: no clock, no world."""

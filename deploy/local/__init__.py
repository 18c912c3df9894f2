"""The local stand-ins for what a cloud provides."""

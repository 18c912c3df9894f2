"""One file per deployable."""

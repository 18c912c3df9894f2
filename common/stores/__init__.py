"""One file per noun, over the queries of the same name."""

"""Benchmarks: `make bench` prints ratios to peers and limits measured in the same run. They fail nothing by a time."""

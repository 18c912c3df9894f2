"""dlt merging the same list rows into Postgres, run by the Python of its own environment: `python dlt_merge.py <credentials> <file>`.

The file holds pages, one JSON list of rows a line. Prints one JSON line: items a second of a first load, and of the same
rows once more.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"

import dlt


def main() -> None:
    """Load twice."""
    where, file = sys.argv[1:]
    pages = [json.loads(line) for line in Path(file).read_text().splitlines()]
    with tempfile.TemporaryDirectory() as home:
        pipeline = dlt.pipeline(
            "bench", destination=dlt.destinations.postgres(json.loads(where)), dataset_name="dlt", pipelines_dir=home
        )

        @dlt.resource(name="items", primary_key="item_id", write_disposition={"disposition": "merge", "strategy": "upsert"})
        def items() -> Any:
            yield from pages

        sys.stdout.write(json.dumps([_loaded(pipeline, items, sum(map(len, pages))) for _ in range(2)]) + "\n")


def _loaded(pipeline: Any, items: Any, count: int) -> float:
    started = time.perf_counter()
    pipeline.run(items())
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()

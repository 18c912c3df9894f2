"""Keeps the embedded Postgres running for as long as somebody wants it: until SIGTERM, or the end of its parent."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from deploy.local.postgres import Cluster, ClusterError

_LOOK_SECONDS = 0.5
_GONE_SECONDS = 5.0  # somebody may be restarting it


def main() -> None:
    """Run the cluster in the directory that the command line names."""
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Only noted: a start that is cut off half-way could leave a server that nobody knows of.
        signal.signal(number, lambda *_: enough.set())
    cluster = Cluster(Path(sys.argv[1]))
    try:
        cluster.start()
        seen = time.monotonic()
        while not enough.wait(_LOOK_SECONDS):
            seen = time.monotonic() if cluster.pid else seen
            if time.monotonic() - seen > _GONE_SECONDS:
                sys.exit(f"Postgres ended; its own log is {cluster.directory / 'server.log'}")
    except ClusterError as error:
        sys.exit(str(error))
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()

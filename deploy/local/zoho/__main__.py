"""The stand-in on the command line: `python -m deploy.local.zoho`, or `make zoho`."""

from __future__ import annotations

import argparse
import gc
import signal
import socket
import sys
import threading
from pathlib import Path

from deploy.local.zoho.kinds import KINDS
from deploy.local.zoho.standin import ORGANIZATION, SIZE, StandIn

PORT = 8090


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status."""
    given = _arguments().parse_args()
    gc.disable()  # everything that is made now stays: looking through it again and again is most of the work
    sizes = dict.fromkeys(KINDS, given.size)
    sizes |= {label: count for label in KINDS if (count := getattr(given, _option(label))) is not None}
    try:
        zoho = StandIn(
            given.seed, sizes=sizes, organization=given.organization, port=given.port, offset=given.offset, journal=given.journal,
            listener=None if given.fd is None else socket.socket(fileno=given.fd),
        )  # fmt: skip
        gc.freeze()
        gc.enable()
        zoho.start()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"The stand-in cannot serve: {error}\n")
        return 1
    if given.no_limits:
        zoho.limits.off()
    if given.webhooks:
        zoho.webhooks(given.webhooks, given.secret, loss=given.loss, duplicates=given.duplicates)
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    _say(zoho)
    while not enough.wait(60 / given.busy if given.busy else None):
        zoho.change()
    zoho.stop()
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.zoho",
        description="Zoho Books and Inventory on this machine: OAuth, lists, details, limits, faults on request.",
        epilog="For a stream of webhooks alone: tidemark webhook send all --count 200 --faults",
    )
    parser.add_argument("--port", type=int, default=PORT, help="0 takes any that is free (%(default)s)")
    parser.add_argument("--fd", type=int, help="a socket that listens already, instead of a port")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same records (%(default)s)")
    parser.add_argument("--size", type=int, default=SIZE, help="records of each entity (%(default)s)")
    for label in KINDS:
        parser.add_argument(f"--{_option(label).replace('_', '-')}", type=int, metavar="COUNT", help=f"records of {label}")
    parser.add_argument("--organization", default=ORGANIZATION)
    parser.add_argument("--offset", default="+0300", help="the organization's offset from UTC (%(default)s)")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="go on from what stands there, and write down what changes")
    parser.add_argument("--no-limits", action="store_true", help="neither per minute nor per day nor at a time")
    parser.add_argument("--busy", type=float, default=0, metavar="N", help="somebody changes N records a minute")
    parser.add_argument("--webhooks", metavar="URL", help="tell this receiver of every change, with --secret")
    parser.add_argument("--secret", default="", help="what webhooks are signed with")
    parser.add_argument("--loss", type=float, default=0, help="the share of webhooks that are lost")
    parser.add_argument("--duplicates", type=float, default=0, help="the share of webhooks that are sent twice")
    return parser


def _option(label: str) -> str:
    return "items" if label == "product" else f"{label}s"


def _say(zoho: StandIn) -> None:
    sys.stdout.write(f"""Zoho's stand-in listens at {zoho.url}; Ctrl-C ends it.
  log in   {zoho.url}/_/
  items    {zoho.url}/inventory/v1/items?organization_id={zoho.organization}
  calls    {zoho.url}/_/calls
  change   curl -X POST {zoho.url}/_/change -d '{{"count": 5}}'
  faults   curl -X POST {zoho.url}/_/faults -d '{{"name": "unavailable", "calls": 3}}'
""")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The stand-in on the command line: `python -m deploy.local.providers`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from deploy.local.providers.standin import StandIn

PORT = 8091


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.providers",
        description="Render, Netlify and GitHub on this machine: deploys that move on with time, faults on request.",
    )
    parser.add_argument("--port", type=int, default=PORT, help="0 takes any that is free (%(default)s)")
    parser.add_argument("--step", type=float, default=1.0, help="seconds in each state; 0: each look moves on (%(default)s)")
    given = parser.parse_args()
    try:
        providers = StandIn(step=given.step, port=given.port).start()
    except OSError as error:
        sys.stderr.write(f"The stand-in cannot serve: {error}\n")
        return 1
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    lines = [f"The providers' stand-in listens at {providers.url}; Ctrl-C ends it.", f"  what there is  {providers.url}/_/"]
    lines += [f"  {name:<13}  {providers.site(name)}/version" for name in providers.places]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    enough.wait()
    providers.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A process that `make run` starts: it runs a module, and ends when the process that started it does, however that ended.

    python -m deploy.local.child <state directory> <pid of the parent> <module> [arguments]

The state directory stands in its command line, and in that of all it forks, so that the next start knows its own.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time
from typing import Any

_PR_SET_PDEATHSIG = 1


def follow(parent: int) -> None:
    """Have this process told to stop (SIGTERM) when `parent` ends; at once, when it ended before."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's hook: this file is its configuration, too
    """Have a worker of gunicorn follow its master."""
    follow(os.getppid())


def main() -> None:
    """Become the module that the command line names."""
    _, _, parent, module, *arguments = sys.argv
    follow(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

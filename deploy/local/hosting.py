"""Where a local run deploys to: a stand-in for Render, Netlify and GitHub, unless somebody brings accounts of their own."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from deploy.local import source
from deploy.local.processes import Processes

PORT = 8091
STEP_SECONDS = 0.5  # that a deploy stays in each state
ACCOUNTS = ("RENDER_API_KEY", "RENDER_DEPLOY_HOOK", "NETLIFY_AUTH_TOKEN", "NETLIFY_DEPLOY_HOOK", "GITHUB_TOKEN")
NO_DEMONSTRATION = "\nNo deploys are demonstrated: the environment names accounts of your own."
URL = "RENDER_API_URL"


def is_brought(environ: Mapping[str, str], former: Mapping[str, str]) -> bool:
    """Whether the environment names accounts of somebody; what was sourced from our own file names none."""
    return any(environ.get(name) and environ[name] != former.get(name) for name in ACCOUNTS)


def start(processes: Processes, listener: socket.socket) -> dict[str, str]:
    """Start the stand-in on the port of a socket, which is closed for that; the variables that lead there."""
    port = listener.getsockname()[1]
    listener.close()
    processes.start("providers", "deploy.local.providers", ["--port", str(port), "--step", str(STEP_SECONDS)], os.environ)
    return {URL: f"http://127.0.0.1:{port}"}


def environment(url: str) -> dict[str, str]:
    """The variables that make its places targets.

    Raises: OSError, when it does not answer.
    """
    return {name: str(value) for name, value in source.ask(url, "")["environment"].items()}

"""A stand-in for Render, Netlify and GitHub: their deploy APIs with their habits, and the services that run there.

In a test, or anywhere in one process:

    with StandIn() as providers:                        # step=0: each look at a deploy moves it on by one state; or seconds
        providers.url, providers.environment()          # http://127.0.0.1:port; the variables that point everything at it
        providers.places                                # by name: web, green (Render), page (Netlify), api (GitHub)
        providers.places["web"].live.commit, .running   # what its provider says is live, and what really runs there
        providers.target("web")                         # {"provider": ..., "config": {...}}, as /api/hxo/targets takes it
        providers.commit("c0ffee...")                   # the newest commit of every branch, from which nothing follows
        providers.push("c0ffee...")                     # the same, and whoever deploys by himself does so
        providers.behave("c0ffee...", error_rate=0.4)   # how that commit runs: see apps.WELL; place="web" for one place alone
        providers.faults.add("throttled", calls=2, path="/deploys")      # names: faults.NAMES
        providers.turn(60)                              # seconds
        providers.journal, providers.triggers("web")    # every call, and how many deploys were begun over the API or a hook
        providers.forget()

The services run at /sites/<name>/: /health/live, /version -> {"version": commit}, anything else a page that names its commit.

From outside: `python -m deploy.local.providers --port 8091 --step 1`; GET /_/ says what there is, and GET, POST and DELETE
/_/journal, /_/faults, /_/behave, /_/commit, /_/push, /_/turn do the same as the methods above (see control.py).
"""

from __future__ import annotations

from deploy.local.providers.standin import StandIn

__all__ = ["StandIn"]

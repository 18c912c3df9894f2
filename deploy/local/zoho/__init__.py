"""A stand-in for Zoho Books and Inventory: OAuth, their REST reads with all their habits, and webhooks of what changes.

In a test, or anywhere in one process:

    with StandIn(seed=1, sizes={"product": 450, "invoice": 30}) as zoho:   # sizes=25: of every entity
        zoho.url, zoho.accounts_url            # http://127.0.0.1:port; Books under /books/v3, Inventory under /inventory/v1
        zoho.client_id, zoho.client_secret, zoho.refresh_token, zoho.organization
        zoho.records("product")                # {id: detail record, as GET by id shows it now}; labels as in kinds.KINDS
        zoho.rows("product")                   # {id: row, as a list shows it now}
        zoho.change(20)                        # things that people do: creates, edits, deletes; of any entity or of labels=[...]
        zoho.create("product", 3); zoho.edit("product", ids=[...], rate=5); zoho.delete("product", 2)   # each returns the ids
        zoho.edit_in_bulk("product", 300)      # one second for all
        zoho.edit_quietly("product", 5)        # stock figures, `overdue`: last_modified_time stays
        zoho.turn(seconds=3600)                # time travel: tokens, minutes, days and stamps go along
        zoho.late = 3.0                        # seconds from a change's stamp until the API shows it
        zoho.skew = timedelta(minutes=2)       # of the Date header
        zoho.move("+0530")                     # another offset of the organization: every stamp is written anew
        zoho.churn(every=3, edit=2)            # at each 3rd call of a list, 2 edits (create=, delete=, label=) before it answers
        zoho.limits.minute, .daily, .in_flight # 100, 10_000, 10; None switches one off; zoho.limits.off() all of them
        zoho.faults.add("unavailable", calls=2, after=1, path="/items")     # names: faults.NAMES; or seconds=60; .clear()
        zoho.revoke()                          # no access token lives any more
        zoho.webhooks(url, secret, loss=0.1, duplicates=0.1)                # sends what changes from here on, signed
        zoho.round(seed, count, secret, loss=0.03)                          # changes, and the webhooks of them, to be sent
        zoho.calls                             # [Call(at, method, path, query, status, code)], `at` in seconds of its clock
        zoho.busiest_minute(); zoho.throttled()                             # most API calls in any 60 s; {code: count} of 429s

`StandIn(now=datetime)` starts its clock there and stops it: only `turn` moves it then. Otherwise it is the real time. The data
a seed makes ends in the summer of 2024 and is the same to the byte for the same seed and sizes.

From outside: `python -m deploy.local.zoho --port 8090 --items 50000`; GET /_/ says how to log in, and POST /_/<method> with
a JSON object of arguments does the same as the methods above (/_/change, /_/turn, /_/faults, /_/limits, ...; see control.py).

What nobody outside Zoho knows is invented: the keys `sum_total` and `sum_balance` of response_option (`total` is known),
what a list does with a time it cannot read (it ignores the filter), what becomes of ids that /itemdetails does not find
(they are left out), and that refused calls count for no limit.
"""

from __future__ import annotations

from deploy.local.zoho.standin import StandIn

__all__ = ["StandIn"]

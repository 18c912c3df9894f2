"""When a delivery is tried again, and what it says."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules import deliveries as rules
from common.rules.deliveries import Taken

NOW = datetime(2026, 6, 9, 10, tzinfo=UTC)


def taken(kind: str = "opened", hours: int = 0, **alert) -> Taken:
    document = {"title": "A backlog", "message": "It grew.", "severity": "error", "alert_type": "backlog", "id": "a"}
    return Taken(uuid.uuid4(), uuid.uuid4(), kind, hours, document | alert, 1, 7, NOW)


def test_ten_attempts_are_made_in_three_days_and_a_bit():
    waits = [rules.wait(attempt, 0.0) for attempt in range(1, rules.MOST_ATTEMPTS)]
    seconds = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert [wait.total_seconds() for wait in waits] == seconds
    assert rules.wait(rules.MOST_ATTEMPTS, 0.0) is None
    assert rules.MOST_ATTEMPTS == 10
    assert timedelta(days=3) < sum(waits, timedelta()) < timedelta(days=3, hours=4)


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_chance_adds_a_tenth_at_most(attempt, chance):
    wait = rules.wait(attempt, chance)
    assert rules.WAITS[attempt - 1] <= wait <= rules.WAITS[attempt - 1] * 1.1


@pytest.mark.parametrize(
    ("delivery", "said"),
    [
        (taken(), "[Tidemark] error: A backlog"),
        (taken("worsened", severity="critical"), "[Tidemark] now critical: A backlog"),
        (taken("resolved"), "[Tidemark] resolved: A backlog"),
        (taken("reminder", 4), "[Tidemark] error, still open after 4 h: A backlog"),
    ],
)
def test_a_subject_says_what_is_new(delivery, said):
    assert rules.subject(delivery) == said
    assert rules.payload(delivery)["data"]["change"] == delivery.kind


@given(st.text(), st.text())
def test_no_text_of_an_alert_ends_a_header_or_makes_a_line_of_its_own(title, message):
    delivery = taken(title=title, message=message)
    assert len(rules.subject(delivery).splitlines()) == 1
    assert len(rules.text(delivery).splitlines()) == len(rules.text(taken()).splitlines())


def test_a_digest_has_the_worst_first_and_what_is_over_last():
    many = [taken("resolved", title="First", severity="critical"), taken(title="Second", severity="warning"), taken(title="Third")]
    text = rules.digest(many)
    assert text.index("Third") < text.index("Second") < text.index("First")
    assert rules.digest_subject(many) == "[Tidemark] 3 alerts, the worst: error"
    assert rules.digest_subject([taken("resolved")] * 6) == "[Tidemark] 6 alerts, the worst: resolved"

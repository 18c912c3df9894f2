"""What an edit makes of a payload, what differs, and what a confirmation stands for."""

from __future__ import annotations

import pytest

from common.rules import letters


@pytest.mark.parametrize(
    ("document", "patch", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": None}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "x"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        (None, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, 5, 5),
    ],
)
def test_a_patch_is_merged_as_rfc_7396_says(document, patch, merged):
    assert letters.merged(document, patch) == merged


def test_a_patch_leaves_the_document_as_it_was():
    document = {"a": {"b": 1}}
    letters.merged(document, {"a": {"b": 2}})
    assert document == {"a": {"b": 1}}


def test_differences_point_at_each_place():
    before = {"same": 1, "gone": 2, "deep": {"x": [1, {"y": 2}]}, "short": [1], "a/b~c": 1, "flag": 1}
    after = {"same": 1, "new": 3, "deep": {"x": [1, {"y": 5}]}, "short": [1, 2], "a/b~c": 2, "flag": True}
    assert letters.differences(before, after) == [
        {"pointer": "/a~1b~0c", "before": 1, "after": 2},
        {"pointer": "/deep/x/1/y", "before": 2, "after": 5},
        {"pointer": "/flag", "before": 1, "after": True},
        {"pointer": "/gone", "before": 2},
        {"pointer": "/new", "after": 3},
        {"pointer": "/short", "before": [1], "after": [1, 2]},
    ]


def test_differences_are_bounded():
    assert len(letters.differences({}, {str(n): n for n in range(1000)})) == letters.MOST_DIFFERENCES


def test_steps_are_one_ten_and_many():
    assert [letters.step_size(step) for step in range(4)] == [1, 10, letters.MANY, letters.MANY]


def test_a_confirmation_is_for_one_verb_one_filter_and_one_set_of_letters():
    said = letters.confirmation("replay", {"kind": "quarantine"}, "abc")
    assert said == letters.confirmation("replay", {"kind": "quarantine"}, "abc")
    others = [
        ("discard", {"kind": "quarantine"}, "abc"),
        ("replay", {"kind": "dead_letter"}, "abc"),
        ("replay", {"kind": "quarantine"}, "abd"),
    ]
    assert said not in [letters.confirmation(*other) for other in others]

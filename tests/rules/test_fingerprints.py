"""When two errors are the same fault."""

from __future__ import annotations

import pytest

from common.rules.fingerprints import fingerprint, normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it took 12.4 s", "it took 3 s"),
        ("deploy 3f2b1c90-1111-4222-8333-444455556666 failed", "deploy 00000000-aaaa-4bbb-8ccc-dddddddddddd failed"),
        ("no commit 0ddba11c0ffee", "no commit c0ffee10ddba1"),
        ("10.0.0.7:443 did not answer", "192.168.1.20 did not answer"),
        ("at 2026-01-02T03:04:05Z it  broke", "at 2027-11-12 13:14:15.123456+00:00 it broke"),
        ("at 0x7f3a it broke", "at 0x11 it broke"),
    ],
)
def test_what_differs_from_case_to_case_is_left_out(one, other):
    assert normalised(one) == normalised(other)
    assert fingerprint("c", "k", one) == fingerprint("c", "k", other)


@pytest.mark.parametrize(
    "other",
    [("d", "k", "it broke"), ("c", "l", "it broke"), ("c", "k", "it bent"), ("ck", "", "it broke"), ("c", "k it", "broke")],
)
def test_another_class_place_or_wording_is_another_fault(other):
    assert fingerprint("c", "k", "it broke") != fingerprint(*other)


def test_words_that_look_like_hex_are_kept():
    assert normalised("the defaced facade") == "the defaced facade"


def test_a_message_of_any_characters_has_a_fingerprint():
    assert len(fingerprint("c", "k", "\ud800\x00" * 1000)) == 32

"""Proofs over the tree of results, against the definition in RFC 6962 written out as it stands there."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules import faults, merkle, proofs
from common.rules.faults import Fault, Written

SHA3 = merkle.hasher("sha3_256")


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf(SHA3, b"outcome %d" % number) for number in range(count)]


def defined(found: list[bytes]) -> bytes:
    """MTH, recursively: split at the largest power of two that is smaller than the number of leaves."""
    if len(found) == 1:
        return found[0]
    middle = 1 << ((len(found) - 1).bit_length() - 1)
    return SHA3(b"\x01" + defined(found[:middle]) + defined(found[middle:]))


def audit(number: int, found: list[bytes]) -> list[bytes]:
    """PATH, recursively, as the RFC has it."""
    if len(found) == 1:
        return []
    middle = 1 << ((len(found) - 1).bit_length() - 1)
    if number < middle:
        return [*audit(number, found[:middle]), defined(found[middle:])]
    return [*audit(number - middle, found[middle:]), defined(found[:middle])]


def borders(count: int, sizes: list[int]) -> list[tuple[int, int]]:
    """[0, count) cut into chunks of these sizes, and one for the rest."""
    found, at = [], 0
    for size in sizes:
        if at < count:
            found.append((at, min(at + size, count)))
            at += size
    return found + ([(at, count)] if at < count else [])


@given(st.integers(1, 300), st.lists(st.integers(1, 40), max_size=20), st.data())
def test_a_trail_over_any_chunks_is_the_audit_path_of_the_rfc(count, sizes, data):
    every = leaves(count)
    number = data.draw(st.integers(0, count - 1))
    trail = proofs.Trail(SHA3, number)
    for lo, hi in borders(count, sizes):
        peaks = merkle.peaks(SHA3, lo, every[lo:hi])
        trail.push(lo, hi, peaks, b"".join(every[lo:hi]) if lo <= number < hi else None)
    assert trail.root() == defined(every)
    assert [step.hash for step in trail.path] == audit(number, every)
    assert proofs.climbed(SHA3, trail.leaf, trail.path) == defined(every)
    assert trail.path == proofs.path_of(proofs.levels(SHA3, every), number)


@given(st.integers(1, 70), st.lists(st.integers(1, 20), max_size=10), st.data())
def test_the_nodes_of_a_level_are_the_same_however_the_tree_was_cut(count, sizes, data):
    every = leaves(count)
    levels = proofs.levels(SHA3, every)
    level = data.draw(st.integers(0, len(levels) - 1))
    found = proofs.Level(SHA3, level)
    for lo, hi in borders(count, sizes):
        at, peaks = lo, merkle.peaks(SHA3, lo, every[lo:hi])
        for number, height in enumerate(merkle.spans(lo, hi)):
            found.add(at, height, peaks[32 * number : 32 * number + 32], every[at : at + (1 << height)])
            at += 1 << height
    assert list(found.nodes().values()) == levels[level]
    assert levels[-1] == [defined(every)]


def test_a_trail_takes_no_gap_no_wrong_number_of_peaks_and_no_chunk_without_its_digests():
    every = leaves(8)
    peaks = merkle.peaks(SHA3, 0, every)
    for lo, hi, given_peaks in ((1, 9, peaks), (0, 7, peaks), (0, 8, peaks)):
        with pytest.raises(ValueError):
            proofs.Trail(SHA3, 3).push(lo, hi, given_peaks)


def a_proof(count: int = 11, number: int = 6) -> dict[str, object]:
    every = leaves(count)
    stage = merkle.root(SHA3, every)
    plan = proofs.plan_leaves(SHA3, "ab" * 32, [b"1" * 32, stage, b"2" * 32])
    return {
        "hash": "sha3_256",
        "leaf_hash": every[number].hex(),
        "path": proofs.told(proofs.path_of(proofs.levels(SHA3, every), number)),
        "stage_root": stage.hex(),
        "plan_path": proofs.told(proofs.path_of(proofs.levels(SHA3, plan), 2)),
        "root_hash": merkle.root(SHA3, plan).hex(),
    }


def test_a_proof_leads_to_the_root_and_to_no_other():
    proof = a_proof()
    assert proofs.is_proven(proof, proof["root_hash"])
    assert not proofs.is_proven(proof, "00" * 32)


@pytest.mark.parametrize(
    "change",
    [
        {"leaf_hash": "00" * 32},
        {"stage_root": "00" * 32},
        {"root_hash": "00" * 32},
        {"hash": "sha256"},
        {"hash": "md5"},
        {"path": []},
        {"path": [{"side": "above", "hash": "00" * 32}]},
        {"path": [{"side": "left", "hash": "00"}]},
        {"path": [{"side": "left"}]},
        {"path": None},
        {"plan_path": []},
        {"leaf_hash": "no hex"},
    ],
    ids=str,
)
def test_a_proof_of_which_anything_was_changed_or_is_no_proof_at_all_proves_nothing(change):
    proof = a_proof()
    assert not proofs.is_proven(proof | change, proof["root_hash"])


def test_a_proof_with_its_sides_swapped_proves_nothing():
    proof = a_proof()
    swapped = [step | {"side": "left" if step["side"] == "right" else "right"} for step in proof["path"]]
    assert not proofs.is_proven(proof | {"path": swapped}, proof["root_hash"])


@given(st.integers(1, 300), st.data())
def test_what_differs_between_two_trees_is_found_in_one_compare_a_level(count, data):
    every = leaves(count)
    number = data.draw(st.integers(0, count - 1))
    other = [*every[:number], b"x" * 32, *every[number + 1 :]]
    found = proofs.differing(proofs.levels(SHA3, every), proofs.levels(SHA3, other))
    assert found.leaves == [number]
    assert found.compares <= (count - 1).bit_length()


@given(st.integers(1, 100), st.data())
def test_all_that_differs_is_found_when_all_is_wanted(count, data):
    every = leaves(count)
    numbers = data.draw(st.sets(st.integers(0, count - 1), max_size=8))
    other = [b"x" * 32 if number in numbers else leaf for number, leaf in enumerate(every)]
    assert proofs.differing(proofs.levels(SHA3, every), proofs.levels(SHA3, other), most=count).leaves == sorted(numbers)


def test_trees_of_unequal_size_are_not_compared():
    with pytest.raises(ValueError):
        proofs.differing(proofs.levels(SHA3, leaves(3)), proofs.levels(SHA3, leaves(4)))


# Which leaf of a chunk was altered -----------------------------------------------------------------------------------


def a_chunk(lo: int, hi: int) -> Written:
    digests = b"".join(leaves(hi)[lo:])
    return Written(lo, hi, digests, merkle.peaks(SHA3, lo, proofs.cut(digests)), merkle.parity(digests))


def altered(chunk: Written, *shards: int) -> Written:
    digests = bytearray(chunk.digests)
    for shard in shards:
        digests[32 * (shard - chunk.lo)] ^= 1 << (shard % 7)
    return chunk._replace(digests=bytes(digests))


@given(st.integers(0, 200), st.integers(1, 200), st.data())
def test_one_altered_leaf_of_a_chunk_is_named(lo, length, data):
    chunk = a_chunk(lo, lo + length)
    assert faults.checked(SHA3, chunk) == (chunk.peaks, [])
    shard = data.draw(st.integers(lo, lo + length - 1))
    assert faults.checked(SHA3, altered(chunk, shard))[1] == [Fault(shard, shard + 1, "leaf")]


def test_several_altered_leaves_are_named_by_the_node_they_stand_under():
    chunk = a_chunk(0, 64)
    assert faults.checked(SHA3, altered(chunk, 3, 40))[1] == [Fault(0, 64, "leaves")]
    # [7, 24) falls into 7 | 8..15 | 16..23: the first is a leaf of its own, so only one is left to be found.
    chunk = a_chunk(7, 24)
    assert faults.checked(SHA3, altered(chunk, 7, 12))[1] == [Fault(7, 8, "leaf"), Fault(12, 13, "leaf")]
    assert faults.checked(SHA3, altered(chunk, 12, 20))[1] == [Fault(8, 16, "leaves"), Fault(16, 24, "leaves")]


def test_a_chunk_from_before_there_were_parities_is_named_by_its_nodes():
    chunk = a_chunk(7, 24)._replace(parity=None)
    assert faults.checked(SHA3, chunk)[1] == []
    assert faults.checked(SHA3, altered(chunk, 12))[1] == [Fault(8, 16, "leaves")]
    assert faults.checked(SHA3, altered(chunk, 7))[1] == [Fault(7, 8, "leaf")]


def test_an_altered_node_an_altered_parity_and_leaves_that_are_gone_are_told_apart():
    chunk = a_chunk(7, 24)
    assert faults.checked(SHA3, chunk._replace(peaks=chunk.peaks[:64] + b"x" * 32))[1] == [Fault(16, 24, "node")]
    assert faults.checked(SHA3, chunk._replace(parity=b"x" * 32))[1] == [Fault(7, 24, "parity")]
    assert faults.checked(SHA3, chunk._replace(digests=chunk.digests[32:]))[1] == [Fault(7, 24, "leaves")]
    assert faults.checked(SHA3, chunk._replace(peaks=b"")) == (chunk.peaks, [Fault(7, 24, "node")])
    assert faults.checked(SHA3, chunk._replace(peaks=b"", digests=b"")) == (bytes(96), [Fault(7, 24, "leaves")])


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_a_parity_is_the_xor_of_all_digests(digests):
    expected = 0
    for digest in digests:
        expected ^= int.from_bytes(digest, "big")
    assert merkle.parity(b"".join(digests)) == expected.to_bytes(32, "big")


def test_healed_digests_stand_in_the_place_of_failed_ones():
    every = leaves(8)
    healed = hashlib.sha256(b"").digest()
    assert proofs.cut(proofs.replaced(b"".join(every), 100, {103: healed})) == [*every[:3], healed, *every[4:]]

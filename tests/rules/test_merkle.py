"""The tree of results: RFC 6962's, however it was cut into chunks."""

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules import merkle

SHA256 = merkle.hasher("sha256")


def defined(leaves):
    """MTH as section 2.1 of the RFC defines it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + defined(leaves[:half]) + defined(leaves[half:])).digest()


def leaves(count):
    return [merkle.leaf(SHA256, b"%d" % number) for number in range(count)]


def test_the_vectors_of_the_rfcs_reference_implementation():
    data = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    for count, root in roots.items():
        assert merkle.root(SHA256, [merkle.leaf(SHA256, each) for each in data[:count]]).hex() == root


@given(st.integers(0, 200), st.lists(st.integers(1, 199), max_size=8))
def test_any_cut_into_chunks_has_the_same_root(count, cuts):
    every = leaves(count)
    borders = sorted({0, count, *(cut for cut in cuts if cut < count)})
    fold = merkle.Fold(SHA256)
    for lo, hi in itertools.pairwise(borders):
        fold.push(lo, hi, merkle.peaks(SHA256, lo, every[lo:hi]))
    assert fold.root() == defined(every)
    assert fold.size == count


def test_a_leaf_can_never_be_a_node():
    left, right = leaves(2)
    assert merkle.leaf(SHA256, left + right) != merkle.node(SHA256, left, right)


def test_a_gap_is_refused():
    fold = merkle.Fold(SHA256)
    with pytest.raises(ValueError, match="does not continue"):
        fold.push(1, 2, merkle.peaks(SHA256, 1, leaves(1)))

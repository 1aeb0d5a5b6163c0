"""Inclusion proofs: every leaf of every small tree, and every way to change a proof."""

from __future__ import annotations

import pytest

from containerd_lite.errors import SignatureError
from containerd_lite.trust.merkle import leaf_hash, root_hash
from tests.harness.transparency import inclusion_path, subtree

LEAVES = [f"leaf {number}".encode() for number in range(20)]
PLACES = [(index, size) for size in range(1, len(LEAVES) + 1) for index in range(size)]


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_a_proof_leads_to_the_root(index: int, size: int) -> None:
    leaves = LEAVES[:size]
    path = inclusion_path(leaves, index)
    assert root_hash(leaf_hash(leaves[index]), index, size, path) == subtree(leaves)


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_a_proof_with_one_hash_more_or_less_is_refused(index: int, size: int) -> None:
    leaf, path = leaf_hash(LEAVES[index]), inclusion_path(LEAVES[:size], index)
    with pytest.raises(SignatureError, match="too many hashes"):
        root_hash(leaf, index, size, [*path, b"x" * 32])
    if path:
        with pytest.raises(SignatureError, match="too few hashes"):
            root_hash(leaf, index, size, path[:-1])


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_a_proof_proves_one_place_only(index: int, size: int) -> None:
    """Neither another index nor another size leads to the root with the same hashes."""
    leaf, path = leaf_hash(LEAVES[index]), inclusion_path(LEAVES[:size], index)
    root = subtree(LEAVES[:size])
    for other in range(size):
        if other != index:
            try:
                assert root_hash(leaf, other, size, path) != root
            except SignatureError:
                continue
    changed = [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]] if path else []
    if changed:
        assert root_hash(leaf, index, size, changed) != root


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (5, 5), (-1, 5), (2**62, 2**62)])
def test_an_index_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(SignatureError, match="outside"):
        root_hash(b"x" * 32, index, size, [])


def test_a_leaf_is_not_a_node() -> None:
    """A leaf whose bytes are two hashes must not have the hash of their parent (RFC 6962, 2.1)."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != root_hash(left, 0, 2, [right])

"""The Merkle trees of transparency logs.

Source: RFC 6962, section 2.1, and RFC 9162, section 2.1.3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from ..errors import SignatureError

#: The size of a hash in bytes.
HASH_SIZE = 32


def leaf_hash(body: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with two children."""
    return sha256(b"\x01" + left + right).digest()


def root_hash(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree that an inclusion proof describes.

    Args:
        leaf: The hash of the leaf.
        index: The index of the leaf.
        size: The number of leaves of the tree.
        hashes: The hashes of the siblings, from the leaf to the root.

    Raises:
        SignatureError: The index is outside the tree, or the number of hashes is wrong.
    """
    if not 0 <= index < size:
        raise SignatureError(f"the index {index} is outside a log with {size} entries")
    node, last, found = index, size - 1, leaf
    for sibling in hashes:
        if last == 0:
            raise SignatureError("the inclusion proof has too many hashes")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1:  # these levels have no sibling
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise SignatureError("the inclusion proof has too few hashes")
    return found

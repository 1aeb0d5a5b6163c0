"""Digests: what is one, and whether content has it."""

from __future__ import annotations

import hashlib

import pytest

from containerd_lite.errors import DigestMismatch, InvalidArgument, SizeMismatch
from containerd_lite.oci import digest as digests

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256", "sha256:", "sha256:..", "sha256:../canary", EMPTY[:-1], EMPTY + "0",
        EMPTY.upper(), EMPTY + "\n", " " + EMPTY, EMPTY.replace("sha256", "sha384"),
        EMPTY.replace("sha256", "sha512"), "md5:" + "0" * 32, "sha256:" + "g" * 64,
        "sha256:" + "\N{ARABIC-INDIC DIGIT ZERO}" * 64,
    ],
)  # fmt: skip
def test_cve_2024_3727_only_digests_pass(text: str) -> None:
    assert not digests.is_digest(text)
    for check in (digests.validate, digests.algorithm, digests.encoded):
        with pytest.raises(InvalidArgument):
            check(text)


def test_parts_and_computing() -> None:
    assert digests.of(b"") == EMPTY == digests.validate(EMPTY)
    assert digests.of(memoryview(b"x"), "sha512") == f"sha512:{hashlib.sha512(b'x').hexdigest()}"
    assert (digests.algorithm(EMPTY), digests.encoded(EMPTY)) == ("sha256", EMPTY[7:])
    with pytest.raises(InvalidArgument):
        digests.of(b"", "md5")


def test_a_stream_in_pieces() -> None:
    for name in digests.ALGORITHMS:
        verifier = digests.Verifier(digests.of(b"hello", name), 5)
        for piece in (b"he", bytearray(b""), memoryview(b"llo")):
            verifier.update(piece)
        verifier.check()


def test_mismatches_name_the_digest() -> None:
    digest = digests.of(b"hello")
    with pytest.raises(DigestMismatch, match=digest):
        digests.verify(b"hellO", digest, 5)
    with pytest.raises(SizeMismatch, match=digest):
        digests.verify(b"hell", digest, 5)
    with pytest.raises(SizeMismatch, match=digest):
        digests.verify(b"hello!", digest, 5)

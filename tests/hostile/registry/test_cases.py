"""How many cases there are, and that each is played under one name."""

from __future__ import annotations

import pytest

from tests.hostile.registry import (
    test_auth_attacks,
    test_body_attacks,
    test_broken_registries,
    test_document_attacks,
    test_listing_attacks,
    test_redirect_attacks,
    test_upload_attacks,
)

pytestmark = pytest.mark.dependencies

BOOKS = [
    test_auth_attacks.BOOK,
    test_redirect_attacks.BOOK,
    test_body_attacks.BOOK,
    test_document_attacks.BOOK,
    test_upload_attacks.BOOK,
    test_listing_attacks.BOOK,
    test_broken_registries.BOOK,
]
#: What a case may be named after.
_SOURCES = (
    "CVE-", "GHSA-", "RFC-", "distribution-spec-", "image-spec-", "token.md-", "containerd-",
    "ggcr-", "oras-go-", "microk8s-",
)  # fmt: skip
#: What must be among them: what registries have done to clients before.
_KNOWN = (
    "CVE-2014-8178", "CVE-2020-1702", "CVE-2020-15157", "CVE-2021-41092", "CVE-2021-41190",
    "CVE-2023-25153", "CVE-2023-46737", "CVE-2024-3727", "CVE-2024-29902", "CVE-2026-33540",
    "CVE-2026-48978", "CVE-2026-50151", "GHSA-f36w-mj3v-6jqv", "GHSA-vh4v-2xq2-g5cg",
    "containerd-10447", "containerd-11365", "containerd-11650", "containerd-11864", "ggcr-2193",
    "ggcr-2440", "microk8s-5404", "oras-go-1215",
)  # fmt: skip


def test_there_are_enough_cases() -> None:
    names = [name for book in BOOKS for name in book]
    print(f"{len(names)} cases of hostile and broken registries")
    assert len(names) == len(set(names)) >= 80


def test_each_case_says_where_it_comes_from_and_what_it_is_about() -> None:
    for book in BOOKS:
        for name, case in book.items():
            assert name.startswith(_SOURCES)
            assert case.about


def test_what_happened_to_others_is_among_them() -> None:
    names = [name for book in BOOKS for name in book]
    assert not [known for known in _KNOWN if not any(map(known.__eq__, map(_stem, names)))]


def _stem(name: str) -> str:
    """The part of a case's name that others know."""
    return next((known for known in _KNOWN if f"{name}-".startswith(f"{known}-")), name)

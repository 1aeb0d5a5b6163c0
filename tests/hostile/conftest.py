"""Fixtures of the tests of what goes wrong from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.registry import Registry

#: Who may use the locked registry.
LOCK = ("somebody", "s3cret-canary")


@pytest.fixture(scope="session")
def locked_registry(registry: Registry) -> Iterator[Registry]:
    """A registry that wants a name and a password."""
    with Registry(auth=LOCK) as locked:
        yield locked

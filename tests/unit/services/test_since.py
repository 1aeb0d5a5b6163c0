"""What is said of methods that a daemon does not know."""

from __future__ import annotations

import re

import pytest

from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services import since
from containerd_lite.services.since import unimplemented_remedy

pytestmark = pytest.mark.backend

TRANSFER = "containerd.services.transfer.v1.Transfer/Transfer"
ACTIVATE = "containerd.services.mounts.v1.Mounts/Activate"
CRI = "runtime.v1.RuntimeService/Version"


@pytest.mark.parametrize(
    ("method", "version", "said"),
    [
        (TRANSFER, "1.6.20~ds1", "This is containerd 1.6.20~ds1; the method came with 1.7"),
        (TRANSFER, "v1.10.0", "This is containerd v1.10.0, which has the method; but .*"),
        (TRANSFER, "2.1.9+unknown", ".*which has the method; but .*"),
        (TRANSFER, "", "The daemon does not say its version; the method came with 1.7"),
        (TRANSFER, "unknown", "This is containerd unknown; the method came with 1.7"),
        (CRI, "1.5.0", ".*came with 1.6, with its CRI plugin"),
        (CRI, "1.6.20", ".*which has the method; but .*"),
        ("containerd.services.leases.v1.Leases/Create", "1.0.0", "This is containerd 1.0.0"),
        (ACTIVATE, "2.1.9", "This is containerd 2.1.9; the method came with 2.2"),
        (
            ACTIVATE,
            "2.4.2",
            ".*which has the method; mount these .*, unless a type .* transform .*",
        ),
        ("my.Own/Method", "2.1.9", "This is containerd 2.1.9"),
    ],
)
def test_what_is_said(method: str, version: str, said: str) -> None:
    assert re.fullmatch(said, unimplemented_remedy(method, version))


def test_a_service_whose_plugin_is_disabled() -> None:
    said = unimplemented_remedy(CRI, "2.4.2", "unknown service runtime.v1.RuntimeService")
    assert said.startswith("This is containerd 2.4.2, which has the service, but did not start its")
    assert "disabled_plugins" in said
    older = unimplemented_remedy(
        TRANSFER, "1.6.20", f"unknown service {TRANSFER.partition('/')[0]}"
    )
    assert "came with 1.7" in older


def test_the_table_names_what_there_is() -> None:
    for service in since._SERVICES:
        assert CONTAINERD.methods(service)
    for method in (*since._METHODS, *since._REASONS):
        assert CONTAINERD.method(method)

"""What ``doctor`` says of releases and deprecated features of containerd."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from containerd_lite.cli.commands.doctor import support_of
from containerd_lite.services.introspection import Deprecation
from containerd_lite.services.releases import RELEASES
from containerd_lite.services.version import Version


@pytest.mark.parametrize(
    ("version", "days", "state", "text"),
    [
        ("1.6.20~ds1", 0, "ok", "supported until 2025-08-23"),
        ("1.6.20~ds1", 1, "warning", "no security fixes since 2025-08-23"),
        ("v2.3.7+unknown", 0, "ok", "long-term support until 2028-04-30"),
    ],
)
def test_the_last_day_is_still_supported(version: str, days: int, state: str, text: str) -> None:
    found = Version(version, "")
    assert found.release is not None
    finding = support_of(found, found.release.end_of_life + timedelta(days))
    assert finding.state == state
    assert text in finding.found
    assert (finding.remedy == "Upgrade to containerd 2.3 or newer") == (state == "warning")


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("2.5.0", "2.5.0 is newer than 2.4,"),
        ("3.0.0-beta.1", "3.0.0-beta.1 is newer than 2.4,"),
        ("1.5.18", "1.5.18 is not one of 1.6 to 2.4,"),
        ("9" * 5000, "999"),
        ("unknown", "unknown is not one of 1.6 to 2.4,"),
    ],
)
def test_releases_that_are_not_known(version: str, text: str) -> None:
    finding = support_of(Version(version, ""), date(2026, 1, 1))
    assert (finding.state, Version(version, "").release) == ("warning", None)
    assert finding.found.startswith(text)
    assert finding.remedy.startswith("Upgrade")


def test_the_releases_are_in_order() -> None:
    assert list(RELEASES) == sorted(RELEASES)


def test_remedies_of_deprecations() -> None:
    prefix = "io.containerd.deprecation/"
    assert "hosts.toml" in Deprecation(f"{prefix}cri-registry-mirrors", "removed in 2.7").remedy
    assert Deprecation(f"{prefix}not-known-yet", "removed in 3.0").remedy == ""

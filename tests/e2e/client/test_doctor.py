"""``doctor`` on daemons that have what it is to report."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date

import pytest

from containerd_lite.cli import main
from containerd_lite.cli.commands import doctor as doctor_module
from containerd_lite.services import version as version_module
from containerd_lite.services.deprecations import REMEDIES
from containerd_lite.services.releases import RELEASES, Release
from tests.harness.daemon import Daemon

pytestmark = [pytest.mark.daemon, pytest.mark.generations]

#: Settings that each generation from 1.7.9 on reports as deprecated: one of 1.x, one of 2.x.
DEPRECATED = """
[plugins."io.containerd.tracing.processor.v1.otlp"]
endpoint = "http://127.0.0.1:1"
[plugins."io.containerd.cri.v1.images".registry.mirrors."127.0.0.1:1"]
endpoint = ["http://127.0.0.1:1"]
"""
#: A plugin that is configured, and cannot start.
_FAILING = """
[plugins."io.containerd.snapshotter.v1.devmapper"]
pool_name = "no-such-pool"
root_path = "{root}"
base_image_size = "10MB"
"""

Findings = dict[str, dict[str, str]]
Doctor = Callable[[Daemon], tuple[int, Findings]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    def run(daemon: Daemon) -> tuple[int, Findings]:
        code = main(["-a", daemon.address, "doctor", "--format", "json"])
        rows = json.loads(capsys.readouterr().out)
        found = {row["check"]: row for row in rows}
        assert len(found) == len(rows)
        return code, found

    return run


def test_a_daemon_with_deprecated_settings(daemon: Daemon, doctor: Doctor) -> None:
    with Daemon(daemon.generation, extra=DEPRECATED) as own:
        code, found = doctor(own)
        listed = (
            json.loads(own.ctr("deprecations", "list", "--format", "json").stdout)
            if own.version_info >= (1, 7)
            else []
        )
        own.stop()
        stopped = doctor(own)
    assert code == 0  # only warnings
    end = RELEASES[own.version_info[:2]].end_of_life
    assert found["release"]["state"] == ("ok" if date.today() <= end else "warning")
    assert str(end) in found["release"]["found"]
    assert own.version in found["daemon"]["found"]
    reported = [row for check, row in found.items() if check.startswith("deprecation ")]
    assert len(reported) == len(listed)
    for one in listed:
        name = one["id"].rpartition("/")[2]
        row = found[f"deprecation {name}"]
        assert row["state"] == "warning"
        assert row["found"].startswith(one["message"])
        assert one["lastOccurrence"][:10] in row["found"]
        assert row["remedy"] == REMEDIES[name]
    setting = "cri-registry-mirrors" if own.version_info >= (2,) else "tracing-processor-config"
    has_deprecations = own.version_info >= (1, 7, 9)  # and 1.6.25
    assert (f"deprecation {setting}" in found) == has_deprecations
    assert ("deprecations" in found) == (not has_deprecations)
    assert found["services"]["state"] == "ok"
    assert not [check for check in found if check.startswith("plugin ")]
    assert stopped[0] == 1
    assert {row["state"] for row in stopped[1].values()} == {"missing"}
    assert "Start containerd" in stopped[1]["socket"]["remedy"]


def test_a_daemon_whose_plugins_fail(daemon: Daemon, doctor: Doctor) -> None:
    with Daemon(daemon.generation, extra=_FAILING.format(root=daemon.folder / "dm")) as own:
        code, found = doctor(own)
    failed = [row for check, row in found.items() if check.startswith("plugin ")]
    # Others can fail because of it, and their errors end with its own.
    assert [row["check"] for row in failed] == ["plugin io.containerd.snapshotter.v1.devmapper"]
    assert failed[0]["state"] == "warning"
    assert "no such device" in failed[0]["found"]
    assert "devmapper" not in found["snapshotters"]["found"]
    is_serving = found["services"]["state"] == "ok"
    assert code == (0 if is_serving else 1)
    assert is_serving or "namespaces" in found["services"]["found"]


def test_a_daemon_newer_than_known(
    daemon: Daemon, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {(1, 5): Release(date.min), **RELEASES}
    older = {name: known[name] for name in known if name < daemon.version_info[:2]}
    for module in (doctor_module, version_module):
        monkeypatch.setattr(module, "RELEASES", older)
    code, found = doctor(daemon)
    assert code == 0
    assert found["release"]["state"] == "warning"
    assert f"{daemon.version}" in found["release"]["found"]
    assert "is newer than" in found["release"]["found"]

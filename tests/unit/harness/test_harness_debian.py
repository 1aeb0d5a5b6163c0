"""How the harness finds Debian's archive, and its own cache; nothing is fetched here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import apt, cache, debian

TARGETS = """\
http://third.example/debian/ bookworm Docker Docker
http://mirror.example/debian-security/ bookworm-security Debian Debian-Security
http://mirror.example/debian/ bookworm Debian Debian
http://other.example/debian/ trixie Debian Debian
"""

URIS = """\
'http://third.example/linux/dists/bookworm/InRelease' third.example_dists_bookworm_InRelease 0
'http://mirror.example/debian-security/dists/bookworm-security/InRelease' security_InRelease 0
'http://mirror.example/debian/dists/bookworm-updates/InRelease' updates_InRelease 0
'http://mirror.example/debian/dists/bookworm/InRelease' debian_InRelease 0
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' Packages 0
"""


def test_the_archive_is_told_by_its_origin_and_label() -> None:
    assert apt.mirror_of_targets(TARGETS) == "http://mirror.example/debian/"


@pytest.mark.parametrize("output", ["", "\n", "http://x.example/debian/ bookworm $(ORIGIN)\n"])
def test_no_archive_is_made_up(output: str) -> None:
    assert apt.mirror_of_targets(output) is None
    assert apt.mirror_of_uris(output) is None


def test_before_any_index_the_archive_is_told_by_its_path() -> None:
    assert apt.mirror_of_uris(URIS) == "http://mirror.example/debian/"


def test_the_environment_names_another_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(apt.MIRROR_VARIABLE, "http://chosen.example/debian")
    assert apt.machine_mirror() == "http://chosen.example/debian"


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "containerd-lite"
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "own"))
    assert cache.folder() == tmp_path / "own"
    assert debian.fetched() == []


def test_a_program_on_the_path_is_taken_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = debian.program("sh", prefer_path=True)
    assert found.plain
    assert (found.path.name, found.version) == ("sh", "")


def test_what_is_in_the_cache_needs_no_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "packages" / "sid" / "tool_1%3a2.0-1" / "usr" / "bin" / "tool"
    path.parent.mkdir(parents=True)
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(0o755)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    found = debian.program("tool", suite="sid")
    assert found.argv == [str(path)]
    assert found.version == "1:2.0-1"
    assert debian.fetched() == ["sid/tool 1:2.0-1"]

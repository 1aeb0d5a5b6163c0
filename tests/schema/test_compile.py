"""descriptors/compile.py: the package's descriptor sets are what the sources compile to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from descriptors import compile as script
from tests.conftest import ROOT

SETS = ROOT / "containerd_lite" / "schema" / "sets"


@pytest.fixture
def compiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A fresh copy of the sets; without protoc this fails, and says how to install it."""
    if script.main(["--sets", str(tmp_path)]) != 0:
        pytest.fail(capsys.readouterr().err)
    capsys.readouterr()
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_sets_are_what_the_sources_compile_to(compiled: Path) -> None:
    fresh, kept = content(compiled), content(SETS)
    assert fresh.keys() == kept.keys(), "run python descriptors/compile.py"
    assert [name for name in fresh if fresh[name] != kept[name]] == []


def test_check_passes_on_fresh_sets_and_writes_nothing(
    compiled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in compiled.iterdir()}
    assert script.main(["--check", "--sets", str(compiled)]) == 0
    assert capsys.readouterr().out == ""
    assert {path: path.stat().st_mtime_ns for path in compiled.iterdir()} == before


def test_check_lists_every_difference(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (compiled / "google.rpc.status.binpb").unlink()
    (compiled / "types.gone.binpb").write_bytes(b"")
    (compiled / "types.mount.binpb").write_bytes(b"\xff")
    (compiled / "types.platform.binpb").write_bytes((SETS / "types.metrics.binpb").read_bytes())
    assert script.main(["--check", "--sets", str(compiled)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "missing: google.rpc.status.binpb",
        "has no source: types.gone.binpb",
        "differs: types.mount.binpb",
        "differs: types.platform.binpb",
    ]
    assert "  -1 bytes, not a FileDescriptorProto" in lines
    assert '  +name: "types/platform.proto"' in lines


def test_compiling_again_mends_the_folder(compiled: Path) -> None:
    (compiled / "types.gone.binpb").write_bytes(b"")
    (compiled / "types.mount.binpb").unlink()
    assert script.main(["--sets", str(compiled)]) == 0
    assert content(compiled) == content(SETS)


def test_without_protoc_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    assert script.main(["--check"]) == 2
    assert f"pip install {script.PROTOC_REQUIREMENT}" in capsys.readouterr().err

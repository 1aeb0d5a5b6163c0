"""The folder registries.d: hostile files, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci.reference import Reference

yaml = pytest.importorskip("yaml")
registries_d = pytest.importorskip("containerd_lite.trust.containers.registries_d")

IMAGE = Reference.parse("a.example/team/app:1")
ON = "use-sigstore-attachments: true"


def test_aliases_are_not_repeated(tmp_path: Path) -> None:
    """Expanded, they would be 10 to the power of 30 nodes."""
    lines = ["a0: &a0 x"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 31)]
    (tmp_path / "a.yaml").write_text("\n".join([*lines, f"default-docker: {{{ON}}}"]))
    assert registries_d.read_registries_d(str(tmp_path)).uses_attachments(IMAGE)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "&a [*a]",
        "default-docker: &a {x: *a, <<: *a}",
        f"<<: {{default-docker: {{{ON}}}}}",
        "? [a]\n: b",
        "--- {}\n--- {}",
        "default-docker: !!python/object/apply:os.system ['true']",
        "docker: {x: !!binary AAAA}",
        "\0",
        "#" * (300 << 10),
    ],
    ids=range(10),
)
def test_hostile_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InvalidArgument, match=r"a\.yaml"):
        registries_d.read_registries_d(str(tmp_path))


def test_what_is_no_folder_of_files(tmp_path: Path) -> None:
    read = registries_d.read_registries_d
    assert not read(str(tmp_path / "none")).uses_attachments(IMAGE)
    (tmp_path / "file").write_text(ON)
    with pytest.raises(InvalidArgument, match="file cannot be read"):
        read(str(tmp_path / "file"))
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(InvalidArgument, match=r"a\.yaml cannot be read"):
        read(str(tmp_path))

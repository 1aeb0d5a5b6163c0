"""The index of a layout, which others have written, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument, NotFound, ResourceExhausted
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.layout_names import LayoutNames
from containerd_lite.store.layout_store import LayoutStore

REF_NAME = "org.opencontainers.image.ref.name"
ONE = Descriptor(media_types.OCI_MANIFEST, digests.of(b"one"), 3)
TWO = Descriptor(media_types.OCI_MANIFEST, digests.of(b"two"), 3)
LIMIT = 4 << 20


def entry(name: str, **more: object) -> dict[str, Any]:
    return {**ONE.to_json(), "annotations": {REF_NAME: name}, **more}


def written(folder: Path, index: object) -> LayoutNames:
    """The names of a layout with this index."""
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    text = index if isinstance(index, str) else json.dumps(index, ensure_ascii=False)
    (folder / "index.json").write_text(text)
    return LayoutNames(LayoutStore(folder))


def found(folder: Path) -> Any:
    return json.loads((folder / "index.json").read_bytes())


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    before = {
        "org.example.first": [1, 2.5, {"a": None}],
        "schemaVersion": 2,
        "artifactType": "application/x.y",
        "subject": ONE.to_json(),
        "manifests": [
            entry("a", platform={"os": "linux", "architecture": "arm", "features": ["x"]}),
            {**TWO.to_json(), "org.example.flag": True},
        ],
        "annotations": {"org.example.owner": "mé\U0001f600"},
    }
    names = written(tmp_path, before)
    names.put("b", TWO)
    after = found(tmp_path)
    assert after.pop("manifests")[:2] == before["manifests"]
    assert after == {key: value for key, value in before.items() if key != "manifests"}
    assert list(found(tmp_path)) == list(before)
    names.put("b", ONE)
    names.delete("b")
    assert found(tmp_path) == before


def test_what_is_so_already_is_not_written(tmp_path: Path) -> None:
    names = written(tmp_path, {"schemaVersion": 2, "manifests": [entry("a", other=1), entry("b")]})
    before = (tmp_path / "index.json").stat().st_ino
    assert names.put("a", ONE).target == ONE
    assert (tmp_path / "index.json").stat().st_ino == before
    names.put("a", TWO)
    assert [one["digest"] for one in found(tmp_path)["manifests"]] == [ONE.digest, TWO.digest]


def test_half_of_a_surrogate_pair_stays_what_it_is(tmp_path: Path) -> None:
    names = written(tmp_path, r'{"schemaVersion": 2, "x": "\\\ud800", "manifests": null}')
    names.put("a", ONE)
    assert found(tmp_path)["x"] == "\\\ud800"


def test_a_number_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    names = written(tmp_path, '{"schemaVersion": 2, "x": 1e999}')
    before = (tmp_path / "index.json").read_bytes()
    with pytest.raises(InvalidArgument, match=r"index\.json cannot be written"):
        names.put("a", ONE)
    assert (tmp_path / "index.json").read_bytes() == before


def test_a_large_index_can_be_read_after_it_was_written(tmp_path: Path) -> None:
    padding = "é" * (1 << 20)  # 2 MiB
    names = written(tmp_path, {"schemaVersion": 2, "manifests": [entry("a")], "padding": padding})
    before = (tmp_path / "index.json").stat().st_size
    names.put("b", ONE)
    assert [one.name for one in names.list()] == ["a", "b"]
    names.delete("b")
    assert (tmp_path / "index.json").stat().st_size < before  # spaces are what has gone


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    index = {"schemaVersion": 2, "manifests": [entry("a")], "padding": ""}
    index["padding"] = "x" * (LIMIT - len(json.dumps(index, separators=(",", ":"))) - 50)
    names = written(tmp_path, json.dumps(index, separators=(",", ":")))
    before = (tmp_path / "index.json").read_bytes()
    with pytest.raises(ResourceExhausted, match=rf"index\.json .*{LIMIT}.* Delete names"):
        names.put("b", ONE)
    assert (tmp_path / "index.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"oci-layout", "index.json", "blobs"}
    names.delete("a")
    names.put("b", TWO)
    assert names.get("b").target == TWO


def test_an_odd_entry_hides_no_other(tmp_path: Path) -> None:
    odd = {**entry("odd"), "digest": "none"}
    names = written(tmp_path, {"schemaVersion": 2, "manifests": [odd, entry("a")]})
    assert names.get("a").target == ONE
    names.put("b", TWO)
    assert found(tmp_path)["manifests"][0] == odd
    with pytest.raises(InvalidArgument, match="digest"):
        names.get("odd")
    with pytest.raises(InvalidArgument, match="digest"):
        names.list()


@pytest.mark.parametrize("entries", ['"manifests": null', '"manifests": []', '"x": 1'])
def test_no_entries(tmp_path: Path, entries: str) -> None:
    """The first is what umoci writes."""
    names = written(tmp_path, f'{{"schemaVersion": 2, {entries}}}')
    assert names.list() == []
    with pytest.raises(NotFound):
        names.get("a")
    names.put("a", ONE)
    assert names.get("a").target == ONE


@pytest.mark.parametrize(
    "index",
    [
        {"schemaVersion": 1, "manifests": []},
        {"schemaVersion": 2, "manifests": {}},
        {"schemaVersion": 2, "manifests": [1]},
        {"schemaVersion": 2, "manifests": [{"annotations": []}]},
        {"schemaVersion": 2, "manifests": [], "layers": []},
        {"schemaVersion": 2, "manifests": [], "Config": {}},
        {"schemaVersion": 2, "manifests": [], "mediaType": media_types.OCI_MANIFEST},
        '{"schemaVersion": 2, "manifests": [], "manifests": []}',
        "[" * 100_000,
    ],
)
def test_what_is_no_index_is_left_alone(tmp_path: Path, index: object) -> None:
    names = written(tmp_path, index)
    before = (tmp_path / "index.json").read_bytes()
    for call in (names.list, lambda: names.put("a", ONE), lambda: names.get("a")):
        with pytest.raises(InvalidArgument, match=r"index\.json"):
            call()
    assert (tmp_path / "index.json").read_bytes() == before

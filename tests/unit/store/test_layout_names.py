"""What the entries of an index are called, by whoever wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Layout
from containerd_lite.errors import FailedPrecondition, NotFound
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.layout_names import IMAGE_NAME, REF_NAME, LayoutNames
from containerd_lite.store.layout_store import LayoutStore
from tests.unit.store.test_layout_index import ONE, TWO, found, written

APP, WEB = "docker.io/library/app:1", "docker.io/library/web:1"


def entry(target: Descriptor, full: str | None = None, ref: str | None = None) -> dict[str, Any]:
    names = {IMAGE_NAME: full, REF_NAME: ref}
    notes = {key: name for key, name in names.items() if name is not None}
    return {**target.to_json(), "annotations": {"kept": "yes", **notes}}


def index(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": list(entries)}


def calls(folder: Path) -> list[tuple[str | None, str | None]]:
    """What each entry is called, in full and by its tag."""
    notes = [one.get("annotations", {}) for one in found(folder)["manifests"]]
    return [(one.get(IMAGE_NAME), one.get(REF_NAME)) for one in notes]


def test_two_images_of_one_tag(tmp_path: Path) -> None:
    """As docker save, ctr export and our own export write them."""
    names = written(tmp_path, index(entry(ONE, APP, "1"), entry(TWO, WEB, "1")))
    assert [(one.name, one.target.digest) for one in names.list()] == [
        (APP, ONE.digest), (WEB, TWO.digest),
    ]  # fmt: skip
    assert names.get(WEB).target.digest == TWO.digest
    assert names.get(WEB).target.annotations == {"kept": "yes"}
    for ask in (names.get, names.delete):
        with pytest.raises(NotFound, match="'1'"):
            ask("1")
    names.delete(WEB)
    assert calls(tmp_path) == [(APP, "1")]


def test_names_of_all_kinds(tmp_path: Path) -> None:
    names = written(
        tmp_path,
        index(
            entry(ONE, ref="tag"),
            entry(ONE, full=APP),
            entry(TWO),
            entry(TWO, "", "empty"),
            entry(TWO, "", ""),
            TWO.to_json(),
        ),
    )
    assert [one.name for one in names.list()] == ["tag", APP, "empty"]
    with pytest.raises(NotFound):
        names.get("")
    for name in ("tag", APP, "empty"):
        names.delete(name)
    assert calls(tmp_path) == [(None, None), ("", ""), (None, None)]


def test_what_is_new_is_called_as_skopeo_looks_for_it(tmp_path: Path) -> None:
    """What the target was called where it comes from is not what it is called here."""
    names = written(tmp_path, index())
    target = Descriptor.from_json(entry(ONE, WEB, "1"))
    record = names.put(APP, target)
    assert calls(tmp_path) == [(None, APP)]
    assert record == names.get(APP)
    assert (record.name, record.target.annotations) == (APP, {"kept": "yes"})
    with pytest.raises(NotFound):
        names.get(WEB)


def test_what_is_replaced_is_found_by_its_tag_as_before(tmp_path: Path) -> None:
    names = written(tmp_path, index(entry(ONE, APP, "1"), entry(TWO, WEB, "1")))
    names.put(APP, TWO)
    assert calls(tmp_path) == [(WEB, "1"), (APP, "1")]
    assert [one["digest"] for one in found(tmp_path)["manifests"]] == [TWO.digest] * 2
    assert names.get(APP).target == TWO


def test_one_name_of_two_images_is_nobodys(tmp_path: Path) -> None:
    names = written(tmp_path, index(entry(ONE, APP, "a"), entry(TWO, APP, "b"), entry(TWO, WEB)))
    before = found(tmp_path)
    assert [one.target.digest for one in names.list()] == [ONE.digest, TWO.digest, TWO.digest]
    for ask in (names.get, names.delete):
        with pytest.raises(FailedPrecondition, match=rf"several images called '{APP}'.*tag\(\)"):
            ask(APP)
    assert found(tmp_path) == before
    names.put(APP, TWO)
    assert calls(tmp_path) == [(WEB, None), (APP, "a")]
    assert names.get(APP).target == TWO


def test_one_name_of_one_image_twice(tmp_path: Path) -> None:
    arm = {**entry(ONE, APP, "1"), "platform": {"os": "linux", "architecture": "arm"}}
    names = written(tmp_path, index(entry(ONE, ref=APP), arm, entry(TWO, WEB)))
    assert names.get(APP).target.digest == ONE.digest
    names.delete(APP)
    assert calls(tmp_path) == [(WEB, None)]
    assert found(tmp_path)["manifests"] == [entry(TWO, WEB)]


def test_a_folder_that_is_none_does_not_become_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(NotFound):
            LayoutNames(LayoutStore(folder)).delete(APP)
        with pytest.raises(NotFound) as caught:
            Layout(folder).get_image(APP)
        assert caught.value.remedy == "Pull it, or choose a name from list_images()"
    assert [*tmp_path.rglob("*")] == [tmp_path / "empty"]

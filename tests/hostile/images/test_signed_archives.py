"""Archives whose images and signatures take very long to verify."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import SignaturesUnavailable, Unsigned
from containerd_lite.trust import Policy, Rule
from tests.harness import images, signatures
from tests.harness.images import Image, Json
from tests.hostile.images.judged import IMAGE, KEY, OTHER, TAG
from tests.unit.images import archives

pytestmark = pytest.mark.once

REPOSITORY = "registry.example/app"
SIGNED = signatures.signed(IMAGE, KEY)
POLICY = Policy({"**": Rule(keys=[KEY.public])})


def seconds(folder: Path, archive: bytes, policy: Policy | None) -> float:
    """The CPU seconds of an import."""
    start = time.process_time()
    Layout(folder).import_images(io.BytesIO(archive), policy=policy, all_platforms=True)
    return time.process_time() - start


def image_of(document: Json) -> Image:
    body = images.encode({"schemaVersion": 2, "mediaType": images.OCI_INDEX, **document})
    return Image(images.descriptor(images.OCI_INDEX, body), {images.digest_of(body): body})


def test_many_names_beside_many_blobs(tmp_path: Path) -> None:
    """The blobs are searched for referrers once, not once for each name."""
    config = images.descriptor("a/b", b"")
    blobs = [
        images.encode({"schemaVersion": 2, "config": config, "layers": [], "n": number})
        for number in range(400)
    ]
    other = Image({}, {images.digest_of(body): body for body in blobs})
    entries = [archives.named(IMAGE, f"{REPOSITORY}:{number}") for number in range(150)]
    entries.append(archives.named(SIGNED, f"{REPOSITORY}:{TAG}"))
    archive = archives.oci(entries, IMAGE, SIGNED, other)
    without = seconds(tmp_path / "without", archive, None)
    assert seconds(tmp_path / "with", archive, POLICY) < 2 * without + 1


def test_indexes_that_list_others_again_and_again(tmp_path: Path) -> None:
    """Under a name of cosign's form: whether only signatures are below is found out once for each.

    The number of ways down is 10⁶.
    """
    levels = [signatures.signed(IMAGE, OTHER)]
    for _ in range(6):
        manifest = levels[-1].manifest
        entries = [{**manifest, "annotations": {"n": str(number)}} for number in range(10)]
        levels.append(image_of({"manifests": entries}))
    name = f"{REPOSITORY}:sha256-{'0' * 64}.sig"
    archive = archives.oci([archives.named(levels[-1], name)], *levels)
    assert seconds(tmp_path / "layout", archive, POLICY) < 5
    (found,) = Layout(tmp_path / "layout").list_images()
    assert found.target.digest == levels[-1].digest


@pytest.mark.turns(3, "heavy")
def test_many_names_with_many_signatures(tmp_path: Path) -> None:
    """The signatures of all names together are bounded."""
    wrong = signatures.layer(signatures.payload(IMAGE.digest), OTHER)
    layers = [
        ({**wrong[0], "annotations": {**wrong[0]["annotations"], "n": str(n)}}, wrong[1])
        for n in range(500)
    ]
    signed = signatures.manifest([*layers, signatures.layer(signatures.payload(IMAGE.digest), KEY)])
    entries = [
        archives.named(image, f"{REPOSITORY}-{number}:{tag}")
        for number in range(300)
        for image, tag in ((IMAGE, "1"), (signed, TAG))
    ]
    archive = archives.oci(entries, IMAGE, signed)
    start = time.process_time()
    layout = Layout(tmp_path)
    with pytest.raises(SignaturesUnavailable, match="more than 20000"):
        layout.import_images(io.BytesIO(archive), policy=POLICY, all_platforms=True)
    assert time.process_time() - start < 10
    assert layout.list_images() == []


def test_an_image_below_signatures(tmp_path: Path) -> None:
    """An index under a name of cosign's form needs a signature if it lists an image anywhere."""
    inner = image_of({"manifests": [SIGNED.manifest, IMAGE.manifest]})
    outer = image_of({"manifests": [SIGNED.manifest, inner.manifest]})
    name = f"{REPOSITORY}:sha256-{'0' * 64}.sig"
    archive = archives.oci([archives.named(outer, name)], outer, inner, SIGNED, IMAGE)
    layout = Layout(tmp_path)
    with pytest.raises(Unsigned):
        layout.import_images(io.BytesIO(archive), policy=POLICY, all_platforms=True)
    assert layout.list_images() == []
    assert json.loads((tmp_path / "index.json").read_bytes())["manifests"] == []

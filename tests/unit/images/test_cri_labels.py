"""What lazy snapshotters are told of layers; the tests of daemons compare it with theirs."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from containerd_lite.images.pull.cri_labels import append_info
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def layer(place: int) -> Descriptor:
    return Descriptor(media_types.OCI_LAYER_GZIP, digest(f"{place}"), 10, {"own": "kept"})


CONFIG = Descriptor(media_types.OCI_CONFIG, digest("config"), 3)


def test_a_label_holds_so_many_digests() -> None:
    """pkg/snapshotters: whole ones, from the layer on; a label is 4,096 bytes with its key."""
    manifest = Descriptor(media_types.OCI_MANIFEST, digest("manifest"), 1)
    long = "sha512:" + "a" * 128
    layers = [Descriptor(media_types.OCI_LAYER_GZIP, long, 1, {"own": "kept"})]
    layers += [layer(place) for place in range(60)]
    artifact = Descriptor("application/vnd.test", digest("other"), 1)
    asked: dict[str, int] = defaultdict(int)

    def handler(descriptor: Descriptor) -> list[Descriptor]:
        asked[descriptor.digest] += 1
        return [CONFIG, layers[0], artifact, *layers[1:]]

    handle = append_info("busybox")(handler)
    config, bottom, other, *rest = handle(manifest)
    assert (config, other) == (CONFIG, artifact)
    key = "containerd.io/snapshot/cri.image-layers"
    found = bottom.annotations[key].split(",")
    assert found == [one.digest for one in layers[:55]]
    full = len(key) + len(bottom.annotations[key])
    assert full <= 4096 < full + len(f",{layers[55].digest}")
    assert rest[-1].annotations == {
        "own": "kept",
        "containerd.io/snapshot/cri.image-ref": "docker.io/library/busybox:latest",
        "containerd.io/snapshot/cri.layer-digest": layers[-1].digest,
        key: layers[-1].digest,
        "containerd.io/snapshot/cri.manifest-digest": manifest.digest,
    }
    assert layers[0].annotations == {"own": "kept"}  # the handler's own stay as they are
    index = Descriptor(media_types.OCI_INDEX, digest("index"), 1)
    assert handle(index) == handler(index)
    assert asked == {manifest.digest: 1, index.digest: 2}

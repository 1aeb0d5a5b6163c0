"""What a scripted registry serves: one manifest, one blob, one error."""

from __future__ import annotations

import json

from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from tests.unit.registry.scripted import reply

CONFIG = {"mediaType": mt.OCI_CONFIG, "digest": digests.of(b"{}"), "size": 2}
BODY = json.dumps(
    {"schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": CONFIG, "layers": []}
).encode()
TARGET = Descriptor(mt.OCI_MANIFEST, digests.of(BODY), len(BODY))
BLOB = bytes(range(256)) * 40
LAYER = Descriptor(mt.OCI_LAYER, digests.of(BLOB), len(BLOB))
OTHER = digests.of(b"other")
TAGGED = "/v2/app/manifests/v1"
PINNED = f"/v2/app/manifests/{TARGET.digest}"
BLOB_PATH = f"/v2/app/blobs/{LAYER.digest}"
ERROR = {"errors": [{"code": "CODE_X", "message": "bad\x1b[31m thing", "detail": {}}]}


def manifest(body: bytes = BODY, kind: str = mt.OCI_MANIFEST, digest: str = "") -> bytes:
    named = digest or digests.of(body)
    return reply(200, body, Content_Type=kind, Docker_Content_Digest=named)


class Naps(list[float]):
    """Stands in for ``time.sleep`` and notes the waits."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)

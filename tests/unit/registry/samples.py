"""What a scripted registry serves: one manifest, one blob, one error."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from tests.unit.registry.scripted import Request, Scripted, reply

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


class Uploads:
    """A registry's uploads, one at a time, as the distribution-spec has them.

    Each answer names another place, and the last one is the only one that takes content.
    """

    ROOT = "/v2/app/blobs/uploads/"
    PATH = f"{ROOT}one"

    def __init__(self, server: Scripted, descriptor: Descriptor = LAYER) -> None:
        self.held = bytearray()
        #: The blob, once it is whole.
        self.done: bytes | None = None
        self.descriptor = descriptor
        #: What the registry says of the size of chunks.
        self.least_chunk = ""
        self._state = 0
        server.on("HEAD", f"/v2/app/blobs/{descriptor.digest}", self._head)
        server.on("POST", self.ROOT, self.begin)
        server.on("PATCH", self.PATH, self.patch)
        server.on("GET", self.PATH, self.status)
        server.on("PUT", self.PATH, self.put)
        server.on("DELETE", self.PATH, reply(204))

    @property
    def place(self) -> str:
        """Where the upload goes on; its query is one that no library would write so."""
        return f"{self.PATH}?_state=a%2F{self._state}=&x"

    def _head(self, _: Request) -> bytes:
        return reply(404) if self.done is None else reply(200, self.done)

    def _moved(self, status: int) -> bytes:
        self._state += 1
        held, least = f"0-{max(0, len(self.held) - 1)}", self.least_chunk
        return reply(status, Location=self.place, Range=held, OCI_Chunk_Min_Length=least)

    def begin(self, _: Request) -> bytes:
        self.held.clear()
        return self._moved(202)

    def patch(self, request: Request) -> bytes:
        if request.target != self.place:
            return reply(404)
        if int(request.headers["content-range"].partition("-")[0]) != len(self.held):
            return reply(416)
        self.held += request.body
        return b"" if request.cut else self._moved(202)

    def status(self, _: Request) -> bytes:
        return reply(404) if self.done is not None else self._moved(204)

    def put(self, request: Request) -> bytes:
        if not request.target.startswith(f"{self.place}&digest=") or self.done is not None:
            return reply(404)
        self.held += request.body
        if request.cut:
            return b""
        digest = parse_qs(urlsplit(request.target).query)["digest"][0]
        if digests.of(self.held) != digest:
            return reply(400, {"errors": [{"code": "DIGEST_INVALID", "message": "no"}]})
        self.done = bytes(self.held)
        return reply(201, Docker_Content_Digest=digest)

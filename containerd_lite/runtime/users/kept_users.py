"""The passwd and group files of images that were looked at before.

What lives here: keeping them, in this process and, of images that take long to read, in a label of
their config.  What may not: reading layers.

A label is made of the digests of the layers that were read, and is for those alone: a manifest that
puts the config of one image beside the layers of another changes nothing for the first.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from contextlib import suppress
from threading import Lock

from ...errors import ContainerdError
from ...oci import digest as digests
from ...oci.descriptor import Descriptor
from ...oci.manifest import Manifest
from ...store.protocol import ContentStore

Files = tuple[bytes | None, bytes | None]

#: Images whose files are kept, and the bytes that those of one may have to be.
_MAX_IMAGES, _MAX_KEPT = 64, 64 << 10
_LABEL = "containerd-lite/users"
#: containerd allows a label 4096 bytes, its name included.
_MAX_LABEL = 4000
#: Layers of fewer bytes are read in less time than it takes to tell: a MB takes some 30 ms.
_WORTH = 256 << 10


class KeptUsers:
    """The files of the images that were asked for last, by their store and layers."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: OrderedDict[Hashable, Files] = OrderedDict()

    def get(self, store: ContentStore, manifest: Manifest) -> Files | None:
        key = _key(store, manifest.layers)
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        found = _labelled(store, manifest)
        if found is not None:
            self._keep(key, found)
        return found

    def put(self, store: ContentStore, manifest: Manifest, files: Files) -> None:
        if sum(len(file or b"") for file in files) > _MAX_KEPT:
            return
        self._keep(_key(store, manifest.layers), files)
        value = _value(manifest.layers, files)
        if sum(layer.size for layer in manifest.layers) >= _WORTH and len(value) <= _MAX_LABEL:
            with suppress(ContainerdError, OSError):  # it is only for the next one to be quick
                store.update(manifest.config.digest, {_LABEL: value})

    def _keep(self, key: Hashable, files: Files) -> None:
        with self._lock:
            self._files[key] = files
            while len(self._files) > _MAX_IMAGES:
                self._files.popitem(last=False)


def _key(store: ContentStore, layers: Sequence[Descriptor]) -> Hashable:
    return store.identity, *(layer.digest for layer in layers)


def _digest_of(layers: Sequence[Descriptor]) -> str:
    return digests.encoded(digests.of(" ".join(layer.digest for layer in layers).encode()))


def _value(layers: Sequence[Descriptor], files: Files) -> str:
    text = json.dumps([None if file is None else file.decode("latin-1") for file in files])
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return f"{_digest_of(layers)}.{packed}"


def _labelled(store: ContentStore, manifest: Manifest) -> Files | None:
    """What the label says, if it is of these layers; ``None`` for one that says nothing."""
    if sum(layer.size for layer in manifest.layers) < _WORTH:
        return None
    try:
        value = store.info(manifest.config.digest).labels.get(_LABEL, "")
        told, _, packed = value.partition(".")
        if told != _digest_of(manifest.layers):
            return None
        plain = zlib.decompressobj().decompress(base64.b64decode(packed), 4 * _MAX_KEPT)
        passwd, group = (
            None if one is None else one.encode("latin-1") for one in json.loads(plain)
        )
    except (ContainerdError, ValueError, AttributeError, TypeError, zlib.error, binascii.Error):
        return None
    return passwd, group

"""A cache of the passwd and group files of images.

The cache is in the memory of this process. For images with large layers, the files are also stored
in the daemon, in a label of the image's config.

The label has a digest over the list of the layers from which the files were read. For a manifest
with other layers, this client ignores the label. An attacker could publish a manifest with the
config of another image and with the attacker's own layers. Because of the digest, the label that is
written for the attacker's manifest does not change the users of the other image.
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
from ...locks import PerProcess
from ...oci import digest as digests
from ...oci.descriptor import Descriptor
from ...oci.manifest import Manifest
from ...store.protocol import ContentStore

#: The content of the passwd file and of the group file, ``None`` for a file that does not exist.
Files = tuple[bytes | None, bytes | None]

#: Maximum number of images in the cache, and maximum total size of an image's two files in bytes.
_MAX_IMAGES, _MAX_BYTES = 64, 64 << 10
_LABEL = "containerd-lite/users"
#: Maximum size of the label's value, in bytes. containerd allows 4096 bytes for a label's name and
#: value together.
_MAX_LABEL = 4000
#: The label is used only if an image's layers have at least this total size in bytes. Reading 1 MB
#: of a layer takes about 30 ms.
_MIN_LAYER_BYTES = 256 << 10


class UserFileCache:
    """A cache of the passwd and group files of the 64 most recently used images.

    The key of an entry is the content store and the digests of the image's layers.
    """

    def __init__(self) -> None:
        self._lock = PerProcess(Lock)
        self._files: OrderedDict[Hashable, Files] = OrderedDict()

    def get(self, store: ContentStore, manifest: Manifest) -> Files | None:
        """Return an image's files from the cache or from the label.

        Return ``None`` if the files are neither in the cache nor in the label.
        """
        key = _key(store, manifest.layers)
        with self._lock.get():
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        found = _read_label(store, manifest)
        if found is not None:
            self._add(key, found)
        return found

    def put(self, store: ContentStore, manifest: Manifest, files: Files) -> None:
        """Add the files of an image, unless their total size is larger than 64 KiB."""
        if sum(len(file or b"") for file in files) > _MAX_BYTES:
            return
        self._add(_key(store, manifest.layers), files)
        value = _label_value(manifest.layers, files)
        if (
            sum(layer.size for layer in manifest.layers) >= _MIN_LAYER_BYTES
            and len(value) <= _MAX_LABEL
        ):
            with suppress(ContainerdError, OSError):  # the label is optional, as it only saves time
                store.update(manifest.config.digest, {_LABEL: value})

    def _add(self, key: Hashable, files: Files) -> None:
        with self._lock.get():
            self._files[key] = files
            while len(self._files) > _MAX_IMAGES:
                self._files.popitem(last=False)


def _key(store: ContentStore, layers: Sequence[Descriptor]) -> Hashable:
    return store.identity, *(layer.digest for layer in layers)


def _digest_of(layers: Sequence[Descriptor]) -> str:
    return digests.encoded(digests.of(" ".join(layer.digest for layer in layers).encode()))


def _label_value(layers: Sequence[Descriptor], files: Files) -> str:
    text = json.dumps([None if file is None else file.decode("latin-1") for file in files])
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return f"{_digest_of(layers)}.{packed}"


def _read_label(store: ContentStore, manifest: Manifest) -> Files | None:
    """Return the files in the label.

    Return ``None`` if the label is missing, is not valid, or was written for other layers.
    """
    if sum(layer.size for layer in manifest.layers) < _MIN_LAYER_BYTES:
        return None
    try:
        value = store.info(manifest.config.digest).labels.get(_LABEL, "")
        digest, _, packed = value.partition(".")
        if digest != _digest_of(manifest.layers):
            return None
        plain = zlib.decompressobj().decompress(base64.b64decode(packed), 4 * _MAX_BYTES)
        passwd, group = (
            None if file is None else file.encode("latin-1") for file in json.loads(plain)
        )
    except (
        ContainerdError, ValueError, AttributeError, TypeError, RecursionError, zlib.error,
        binascii.Error,
    ):  # fmt: skip
        return None
    return passwd, group

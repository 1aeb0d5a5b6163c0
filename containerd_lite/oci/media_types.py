"""Media types of images, and functions that classify media types.

The image-spec defines OCI's types (media-types.md). Distribution's documentation of manifest v2,
schema 2, defines Docker's types.
"""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
#: A layer that is an EROFS filesystem, not an archive. It can have the suffix ``+zstd``.
EROFS_LAYER = "application/vnd.erofs.layer.v1"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar"

DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

IN_TOTO = "application/vnd.in-toto+json"
#: The type of content of an unknown kind, and of configs in old registries.
OCTET_STREAM = "application/octet-stream"

#: The annotation with which BuildKit marks the descriptor of an attestation manifest, and the
#: value of this annotation.
ATTESTATION_ANNOTATION = "vnd.docker.reference.type"
ATTESTATION_VALUE = "attestation-manifest"

#: The media types in the ``Accept`` header of a request that resolves a reference. The order is the
#: same as in containerd (core/remotes/docker/resolver.go).
ACCEPTED = (DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX)

_INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
_MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_FOREIGN = (OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER)
_OCI_ARCHIVES = frozenset(
    {
        f"{base}{suffix}"
        for base in (OCI_LAYER, OCI_FOREIGN_LAYER)
        for suffix in ("", "+gzip", "+zstd")
    }
)
_OCI_LAYER_PREFIX = "application/vnd.oci.image.layer."
_DOCKER_LAYERS = frozenset(
    {
        f"{base}{suffix}"
        for base in (DOCKER_LAYER, DOCKER_FOREIGN_LAYER)
        for suffix in ("", ".gzip", ".zstd")
    }
)
#: The ``Content-Type`` that some registries send with a manifest of schema 1.
VAGUE_SCHEMA1 = "text/plain"


def bare(content_type: str) -> str:
    """Return a ``Content-Type`` in lower case, without parameters (RFC 9110, section 8.3.1)."""
    return content_type.partition(";")[0].strip().lower()


def is_index(media_type: str) -> bool:
    """Return whether this is the media type of an OCI index or a Docker manifest list."""
    return media_type in _INDEXES


def is_manifest(media_type: str) -> bool:
    """Return whether this is the media type of a manifest.

    The result is false for schema 1 and for indexes.
    """
    return media_type in _MANIFESTS


def is_document(media_type: str) -> bool:
    """Return whether this is the media type of a manifest or an index.

    The result is false for schema 1.
    """
    return media_type in _MANIFESTS or media_type in _INDEXES


def is_schema1(media_type: str) -> bool:
    """Return whether this is a media type of Docker's schema 1 manifests."""
    return media_type in (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)


def may_be_schema1(media_type: str) -> bool:
    """Return whether a schema 1 manifest can have this media type; see ``VAGUE_SCHEMA1``."""
    return is_schema1(media_type) or media_type == VAGUE_SCHEMA1


def is_config(media_type: str) -> bool:
    """Return whether this is the media type of an image config."""
    return media_type in _CONFIGS


def is_layer(media_type: str) -> bool:
    """Return whether this is the media type of a layer, with any compression or encryption.

    The rule is the same as in containerd's ``images.IsLayerType``. The rule includes formats that
    this package cannot unpack.
    """
    base = media_type.partition("+")[0]
    return media_type.startswith(_OCI_LAYER_PREFIX) or base in _DOCKER_LAYERS or base == EROFS_LAYER


def is_archive(media_type: str) -> bool:
    """Return whether this is the media type of a layer that is a tar archive.

    The archive can be uncompressed, or compressed with gzip or zstd. The result is false for an
    encrypted layer and for an EROFS layer.
    """
    return media_type in _OCI_ARCHIVES or media_type in _DOCKER_LAYERS


def is_non_distributable(media_type: str) -> bool:
    """Return whether this is the media type of a foreign layer.

    Registries need not store foreign layers.
    """
    return is_layer(media_type) and media_type.startswith(_FOREIGN)


def is_attestation(media_type: str, annotations: dict[str, str] | None = None) -> bool:
    """Return whether a descriptor refers to an attestation.

    Args:
        media_type: The descriptor's media type. In-toto's media type marks an attestation.
        annotations: The descriptor's annotations. BuildKit marks attestations with an annotation.
            Default: none.
    """
    if media_type == IN_TOTO:
        return True
    return (annotations or {}).get(ATTESTATION_ANNOTATION) == ATTESTATION_VALUE

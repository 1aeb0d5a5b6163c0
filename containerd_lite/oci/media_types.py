"""Media types of images, and predicates that classify them.

The types are OCI's (image-spec media-types.md) and Docker's (distribution's manifest v2 schema 2).
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

#: BuildKit's annotation of the descriptor of an attestation's manifest, and its value.
ATTESTATION_ANNOTATION = "vnd.docker.reference.type"
ATTESTATION_VALUE = "attestation-manifest"

#: Media types for ``Accept`` in a resolve, in containerd's order (core/remotes/docker/resolver.go).
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
#: The media type that some registries give for a manifest of schema 1.
VAGUE_SCHEMA1 = "text/plain"


def bare(content_type: str) -> str:
    """Return a ``Content-Type`` in lower case, without parameters (RFC 9110, section 8.3.1)."""
    return content_type.partition(";")[0].strip().lower()


def is_index(media_type: str) -> bool:
    """Return whether this is the type of an index, or of Docker's manifest list."""
    return media_type in _INDEXES


def is_manifest(media_type: str) -> bool:
    """Return whether this is the type of a manifest, not of an index or of schema 1."""
    return media_type in _MANIFESTS


def is_document(media_type: str) -> bool:
    """Return whether this is the type of a manifest or an index, which refer to other content."""
    return media_type in _MANIFESTS or media_type in _INDEXES


def is_schema1(media_type: str) -> bool:
    """Return whether this is a type of Docker's schema 1 manifests."""
    return media_type in (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)


def may_be_schema1(media_type: str) -> bool:
    """Return whether a manifest of this type may be of schema 1; see ``VAGUE_SCHEMA1``."""
    return is_schema1(media_type) or media_type == VAGUE_SCHEMA1


def is_config(media_type: str) -> bool:
    """Return whether this is the type of an image config."""
    return media_type in _CONFIGS


def is_layer(media_type: str) -> bool:
    """Return whether this is the type of a layer, with any compression or encryption.

    The rule is that of containerd (images.IsLayerType). The layer may have a format that this
    package cannot unpack.
    """
    return (
        media_type.startswith(_OCI_LAYER_PREFIX) or media_type.partition("+")[0] in _DOCKER_LAYERS
    )


def is_archive(media_type: str) -> bool:
    """Return whether this is the type of a layer that is a plain, gzip or zstd tar archive.

    Encrypted layers are not.
    """
    return media_type in _OCI_ARCHIVES or media_type in _DOCKER_LAYERS


def is_non_distributable(media_type: str) -> bool:
    """Return whether this is the type of a foreign layer, which registries need not store."""
    return is_layer(media_type) and media_type.startswith(_FOREIGN)


def is_attestation(media_type: str, annotations: dict[str, str] | None = None) -> bool:
    """Return whether a descriptor is that of an attestation.

    Args:
        media_type: The descriptor's media type. In-toto's type is that of an attestation.
        annotations: The descriptor's annotations. BuildKit marks attestations by an annotation.
    """
    if media_type == IN_TOTO:
        return True
    return (annotations or {}).get(ATTESTATION_ANNOTATION) == ATTESTATION_VALUE

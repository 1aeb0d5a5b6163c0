"""Media types of images, OCI's and Docker's, and what can be read off one.

What lives here: constants and predicates (image-spec media-types.md; distribution's
manifest v2 schema 2).  What may not: parsing of content.
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

#: BuildKit marks the manifest of an attestation by this annotation on its descriptor.
ATTESTATION_ANNOTATION = "vnd.docker.reference.type"
ATTESTATION_VALUE = "attestation-manifest"

#: What a resolve asks for, in containerd's order (core/remotes/docker/resolver.go).
ACCEPTED = (DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX)

_INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
_MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_FOREIGN = (OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER)
_OCI_ARCHIVES = frozenset(
    {f"{base}{end}" for base in (OCI_LAYER, OCI_FOREIGN_LAYER) for end in ("", "+gzip", "+zstd")}
)
_OCI_LAYERS = "application/vnd.oci.image.layer."
_DOCKER_LAYERS = frozenset(
    {
        f"{base}{end}"
        for base in (DOCKER_LAYER, DOCKER_FOREIGN_LAYER)
        for end in ("", ".gzip", ".zstd")
    }
)
#: What some registries call a manifest of schema 1.
VAGUE_SCHEMA1 = "text/plain"


def bare(content_type: str) -> str:
    """A ``Content-Type`` without its parameters, in lower case (RFC 9110, section 8.3.1)."""
    return content_type.partition(";")[0].strip().lower()


def is_index(media_type: str) -> bool:
    return media_type in _INDEXES


def is_manifest(media_type: str) -> bool:
    """Whether this is the manifest of one image; an index is not."""
    return media_type in _MANIFESTS


def is_document(media_type: str) -> bool:
    """Whether content of this type refers to other content: a manifest or an index."""
    return media_type in _MANIFESTS or media_type in _INDEXES


def is_schema1(media_type: str) -> bool:
    return media_type in (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)


def may_be_schema1(media_type: str) -> bool:
    """Whether a manifest of this type is of schema 1, or is called what some registries call it."""
    return is_schema1(media_type) or media_type == VAGUE_SCHEMA1


def is_config(media_type: str) -> bool:
    return media_type in _CONFIGS


def is_layer(media_type: str) -> bool:
    """Whether this is a root file system layer, of whatever compression or encryption.

    As containerd has it (images.IsLayerType): what a layer holds is for who unpacks it.
    """
    return media_type.startswith(_OCI_LAYERS) or media_type.partition("+")[0] in _DOCKER_LAYERS


def is_archive(media_type: str) -> bool:
    """Whether this is a layer that anybody can read: a tar, plain, or gzip's or zstd's."""
    return media_type in _OCI_ARCHIVES or media_type in _DOCKER_LAYERS


def is_non_distributable(media_type: str) -> bool:
    """Whether this is a layer that registries need not hold (a foreign layer, by its URLs)."""
    return is_layer(media_type) and media_type.startswith(_FOREIGN)


def is_attestation(media_type: str, annotations: dict[str, str] | None = None) -> bool:
    """Whether a descriptor stands for an attestation: by its type, or as BuildKit marks it."""
    if media_type == IN_TOTO:
        return True
    return (annotations or {}).get(ATTESTATION_ANNOTATION) == ATTESTATION_VALUE

"""The scopes of images in ``policy.json`` and ``registries.d`` of skopeo and podman.

Source: https://github.com/containers/image (docker/policyconfiguration/naming.go).
"""

from __future__ import annotations

from collections.abc import Iterator

from ...oci.reference import Reference


def scopes_of(reference: Reference) -> Iterator[str]:
    """Yield the scopes that contain an image, the narrowest first.

    They are the reference, the repository and its parents, the host, and the host's parent domains
    with a wildcard (``*.example.com``). If the reference has a tag and a digest, the tag does not
    count, as in podman.
    """
    yield f"{reference.name}{'@' if reference.digest else ':'}{reference.target}"
    name = reference.name
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
    host = name.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"

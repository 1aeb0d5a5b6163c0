"""Reads signatures, attestations and bundles that are attached to an image in a registry."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

from tests.harness import images
from tests.harness.images import OCI_INDEX, OCI_MANIFEST, Image, Json
from tests.harness.registry import Registry


def push(registry: Registry, image: Image) -> str:
    """Push an image to the repository `app`; return its reference, with its digest."""
    images.push(image, registry.host, "app", "1")
    return f"{registry.host}/app@{image.digest}"


def get(registry: Registry, path: str) -> bytes:
    """Return what the registry has at a path of the repository `app`."""
    with closing(http.client.HTTPConnection(registry.host, timeout=10)) as connection:
        accept = f"{OCI_INDEX}, {OCI_MANIFEST}"
        connection.request("GET", f"/v2/app/{path}", headers={"Accept": accept})
        response = connection.getresponse()
        assert response.status == 200, path
        return response.read()


def attached(registry: Registry, ref: str, suffix: str) -> Json:
    """Return the manifest or index at the tag that an image's digest and a suffix make."""
    tag = ref.partition("@")[2].replace(":", "-")
    document: Json = json.loads(get(registry, f"manifests/{tag}{suffix}"))
    return document


def referrer(registry: Registry, ref: str) -> Json:
    """Return the only manifest that refers to an image."""
    (entry,) = attached(registry, ref, "")["manifests"]
    document: Json = json.loads(get(registry, f"manifests/{entry['digest']}"))
    return document


def blob(registry: Registry, descriptor: Json) -> bytes:
    """Return the content of a descriptor."""
    return get(registry, f"blobs/{descriptor['digest']}")

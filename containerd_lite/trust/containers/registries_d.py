"""Reads the folder ``registries.d`` of skopeo and podman: which images have signatures in tags.

Source: containers-registries.d(5), and https://github.com/containers/image
(docker/registries_d.go).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...errors import InvalidArgument
from ...oci.reference import Reference
from ...printable import quoted
from ...records import record
from ..extras import needing
from ..files import read_file
from .scopes import scopes_of

with needing("PyYAML", "the folder registries.d"):
    from yaml import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        MappingNode,
        SafeLoader,
        ScalarNode,
        YAMLError,
        compose,
    )

#: The maximum size of a file in bytes.
_MAX_FILE = 256 << 10
_SETTING = "use-sigstore-attachments"
_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
_TRUE = ("true", "yes", "on")


@record(frozen=True)
class RegistriesD:
    """The setting ``use-sigstore-attachments`` of the folder.

    Attributes:
        scopes: The setting by scope; ``None`` for scopes without the setting.
        default: The setting in the section ``default-docker``.
    """

    scopes: Mapping[str, bool | None]
    default: bool | None

    def uses_attachments(self, reference: Reference) -> bool:
        """Return whether skopeo reads the signatures of an image in tags."""
        found = (self.scopes.get(scope) for scope in scopes_of(reference))
        return next((value for value in found if value is not None), bool(self.default))


def read_registries_d(folder: str) -> RegistriesD:
    """Read all files of the folder whose names end with ``.yaml``. The folder need not exist.

    Raises:
        InvalidArgument: A file is malformed, or two files have the same section.
        PermissionDenied: A file cannot be read.
    """
    scopes: dict[str, bool | None] = {}
    default: list[bool | None] = []
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".yaml"))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise InvalidArgument(f"{folder} cannot be read ({error.strerror})") from None
    for name in names:
        path = os.path.join(folder, name)
        document = _mapping(_parse(path), path)
        if "default-docker" in document:
            if default:
                raise InvalidArgument(f"{path}: another file has the section default-docker, too")
            default.append(_setting(document["default-docker"], path))
        for scope, section in _mapping(document.get("docker"), path).items():
            if scope in scopes:
                raise InvalidArgument(f"{path}: another file has the section {quoted(scope)}, too")
            scopes[scope] = _setting(section, path)
    return RegistriesD(scopes, default[0] if default else None)


def _parse(path: str) -> Any:
    """Return the root node of a file. Nodes do not repeat what their aliases refer to."""
    body = read_file(path, "the file", _MAX_FILE)
    try:
        return compose(body.decode(), SafeLoader)  # type: ignore[no-untyped-call, unused-ignore]
    except (YAMLError, ValueError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
        raise InvalidArgument(f"{path} is not valid YAML ({reason})") from None


def _mapping(node: Any, path: str) -> dict[str, Any]:
    """Return the nodes of a mapping by key; an empty dict for ``null``."""
    if node is None or node.tag == _NULL:
        return {}
    if not isinstance(node, MappingNode):
        raise InvalidArgument(f"{path} has something else in place of a mapping")
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode) or key.value in found or key.value == "<<":
            raise InvalidArgument(f"{path} has a repeated key, or a key that is not a text")
        found[key.value] = value
    return found


def _setting(node: Any, path: str) -> bool | None:
    """Return the setting in a section."""
    value = _mapping(node, path).get(_SETTING)
    if value is None or value.tag == _NULL:
        return None
    if value.tag != _BOOL:
        raise InvalidArgument(f"{path}: {_SETTING} is not true or false")
    return value.value.lower() in _TRUE

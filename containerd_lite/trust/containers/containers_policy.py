"""Policies in the format of skopeo and podman: ``policy.json``, with ``registries.d``.

Source: containers-policy.json(5), and https://github.com/containers/image (signature/
policy_eval.go, policy_reference_match.go).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ...errors import ContainerdError, SignatureError, Unsigned
from ...oci.document import Document
from ...oci.reference import Reference
from ..files import read_file
from ..policy import Policy
from ..proto_json import required
from ..rules import Rule
from .containers_requirements import Requirement, check, read_requirements
from .registries_d import RegistriesD, read_registries_d
from .scopes import scopes_of

StrPath = str | os.PathLike[str]

#: The maximum size of a policy in bytes.
_MAX_FILE = 4 << 20
#: The transport of registries; the others are not for images that have a name.
_TRANSPORT = "docker"


class ContainersPolicy(Policy):
    """A policy in the format of skopeo and podman. Policies can be pickled.

    It is read as skopeo reads it, and so only cosign's tags count, and each platform of an image
    must be signed. The requirements for the transport ``docker`` apply. Keys and certificates are
    read for each verification. An image is refused if its requirements are of a type that this
    package does not verify: ``signedBy`` (GPG) and ``signedBaseLayer``.
    """

    def __init__(
        self,
        what: str,
        requirements: Mapping[str, Sequence[Requirement]],
        default: Sequence[Requirement],
        registries: RegistriesD,
    ) -> None:
        self._what = what
        self._requirements = requirements
        self._default = default
        self._registries = registries

    @classmethod
    def load(cls, path: StrPath | None = None, registries_d: StrPath | None = None) -> Policy:
        """Read a policy from a file.

        Args:
            path: The file. Default: ``~/.config/containers/policy.json`` if it exists, otherwise
                ``/etc/containers/policy.json``.
            registries_d: The folder with the setting ``use-sigstore-attachments``. Where it is not
                true, images count as unsigned. Default: ``~/.config/containers/registries.d`` if it
                exists, otherwise ``/etc/containers/registries.d``.

        Raises:
            NotFound: The file does not exist.
            InvalidArgument: The file or the folder is malformed.
        """
        what = os.fspath(path or _default("policy.json"))
        document = check(
            Document.parse(read_file(what, "the policy", _MAX_FILE), what, limit=_MAX_FILE),
            ("default", "transports"),
        )
        default = read_requirements(document, "default")
        found: Mapping[str, Sequence[Requirement]] = {}
        transports = document.document("transports") or Document({}, what)
        for name in transports.fields:
            scopes = required(transports, name)
            read = {scope: read_requirements(scopes, scope) for scope in scopes.fields}
            if name == _TRANSPORT:
                found = read
        folder = os.fspath(registries_d or _default("registries.d"))
        return cls(what, found, default, read_registries_d(folder))

    def rules_for(self, reference: Reference) -> tuple[str, tuple[Rule, ...]]:
        """Return the scope and the rules that apply to an image.

        Raises:
            Unsigned: The image must be signed, but ``registries.d`` says to ignore its signatures.
            SignatureError: A key cannot be read, or this package does not verify a requirement.
        """
        scopes = (*scopes_of(reference), "")
        scope = next((each for each in scopes if each in self._requirements), None)
        requirements = self._default if scope is None else self._requirements[scope]
        needs_signature = any(each.needs_signature for each in requirements)
        if needs_signature and not self._registries.uses_attachments(reference):
            raise Unsigned(
                f"{self._what} wants {reference} signed, but registries.d disables signatures",
                remedy="Set use-sigstore-attachments to true for the registry in registries.d",
            )
        try:
            rules = tuple(each.rule() for each in requirements)
        except ContainerdError as error:
            raise SignatureError(
                f"{self._what} cannot be applied to {reference}: {error.message}"
            ) from error
        return scope or ("default" if scope is None else _TRANSPORT), rules

    def __reduce__(self) -> tuple[object, ...]:
        return ContainersPolicy, self._parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContainersPolicy) and other._parts == self._parts

    __hash__ = None

    def __repr__(self) -> str:
        return f"<ContainersPolicy {self._what}>"

    @property
    def _parts(self) -> tuple[object, ...]:
        return self._what, self._requirements, self._default, self._registries


def _default(name: str) -> str:
    own = os.path.expanduser(f"~/.config/containers/{name}")
    return own if os.path.exists(own) else f"/etc/containers/{name}"

"""A registry client: the OCI distribution API on urllib3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .host_cache import HostCache as HostCache
    from .hosts import TlsFiles as TlsFiles
    from .listing import delete_content as delete_content
    from .listing import list_catalog as list_catalog
    from .listing import list_tags as list_tags
    from .referrers import delete_manifest as delete_manifest
    from .referrers import find_referrers as find_referrers
    from .referrers import push_manifest as push_manifest
    from .registry_access import RegistryCredentials as RegistryCredentials
    from .registry_access import RegistryOptions as RegistryOptions
    from .registry_access import choose_registry as choose_registry
    from .signature_repository import verify_reference as verify_reference
    from .upload import Outcome as Outcome
    from .upload import Upload as Upload

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "host_cache": ["HostCache"],
        "hosts": ["TlsFiles"],
        "listing": ["delete_content", "list_catalog", "list_tags"],
        "referrers": ["delete_manifest", "find_referrers", "push_manifest"],
        "registry_access": ["RegistryCredentials", "RegistryOptions", "choose_registry"],
        "signature_repository": ["verify_reference"],
        "upload": ["Outcome", "Upload"],
    },
)

"""All verbs for images, which ``Client`` and ``Layout`` share."""

from __future__ import annotations

from .archive.verbs import ArchiveVerbs
from .pull.verbs import PullVerbs
from .push.verbs import PushVerbs
from .signatures.verbs import SignatureVerbs
from .upkeep.verbs import UpkeepVerbs


class ImageVerbs(PullVerbs, PushVerbs, ArchiveVerbs, UpkeepVerbs, SignatureVerbs):
    """Pull, fetch, push, copy, tag, import, export, check, verify, repair, get and list."""

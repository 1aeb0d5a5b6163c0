"""All verbs for images, which ``Client`` and ``Layout`` share."""

from __future__ import annotations

from .archive.verbs import ArchiveVerbs
from .pull.verbs import PullVerbs
from .push.verbs import PushVerbs
from .upkeep.verbs import UpkeepVerbs


class ImageVerbs(PullVerbs, PushVerbs, ArchiveVerbs, UpkeepVerbs):
    """Pull, fetch, push, copy, tag, import, export, check, verify, repair, get and list."""

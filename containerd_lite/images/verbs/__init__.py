"""What one does with images, the same on every store.

What lives here: ``ImageVerbs``, the base of ``Client`` and ``Layout``, of one file for each kind of
verb.  What may not: how any of it is done.
"""

from .archive import ArchiveVerbs
from .pull import PullVerbs
from .push import PushVerbs
from .upkeep import UpkeepVerbs


class ImageVerbs(PullVerbs, PushVerbs, ArchiveVerbs, UpkeepVerbs):
    """Pull, fetch, push, copy, tag, import, export, check, verify, repair, get and list."""

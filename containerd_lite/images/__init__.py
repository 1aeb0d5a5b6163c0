"""Images in a daemon or in a folder: their names, their content and the verbs for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .daemon.daemon_backend import DaemonBackend as DaemonBackend
    from .guards import verify_signatures as verify_signatures
    from .image import Image as Image
    from .image import ImageLike as ImageLike
    from .image import as_image as as_image
    from .image import find_image as find_image
    from .image import list_images as list_images
    from .image import name_and_target as name_and_target
    from .image import tag_image as tag_image
    from .image_backend import ImageBackend as ImageBackend
    from .job import Job as Job
    from .names import Names as Names
    from .pull.needed import WhenToPull as WhenToPull
    from .pull.needed import needed_image as needed_image
    from .resolver import Fetcher as Fetcher
    from .resolver import Pusher as Pusher
    from .resolver import PushResolver as PushResolver
    from .resolver import RegistryResolver as RegistryResolver
    from .resolver import Resolver as Resolver
    from .signatures.policies import load_policy as load_policy
    from .via import Via as Via
    from .walk import Handler as Handler
    from .walk import SkipDescriptor as SkipDescriptor
    from .walk import StopHandlers as StopHandlers
    from .walk import WrapHandler as WrapHandler

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "image_backend": ["ImageBackend"],
        "daemon.daemon_backend": ["DaemonBackend"],
        "guards": ["verify_signatures"],
        "image": [
            "Image",
            "ImageLike",
            "as_image",
            "find_image",
            "list_images",
            "name_and_target",
            "tag_image",
        ],
        "job": ["Job"],
        "names": ["Names"],
        "pull.needed": ["WhenToPull", "needed_image"],
        "resolver": ["Fetcher", "PushResolver", "Pusher", "RegistryResolver", "Resolver"],
        "signatures.policies": ["load_policy"],
        "via": ["Via"],
        "walk": ["Handler", "SkipDescriptor", "StopHandlers", "WrapHandler"],
    },
)

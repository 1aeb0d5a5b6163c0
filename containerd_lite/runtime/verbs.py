"""What a client does with containers.

What lives here: the verbs, and what their arguments mean.  What may not: how any of it is done.

A client that only asks for the version has them, too: what a verb needs is imported in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..images.image import Image
    from .container import Container
    from .containers import Containers
    from .io import Sink
    from .options import ContainerOptions
    from .run import CompletedContainer


class ContainerVerbs:
    """Base of ``Client``, which says where its containers are."""

    def _containers(self) -> Containers:
        raise NotImplementedError

    def _runtime(self) -> str:
        """The name of the runtime that new containers have."""
        raise NotImplementedError

    def lease(self, *, expires: float = 86400) -> AbstractContextManager[str]:
        raise NotImplementedError

    def get_image(self, name: str) -> Image:
        raise NotImplementedError

    def containers(self, *filters: str) -> list[Container]:
        """The namespace's containers, those that match one of ``filters`` if some are given."""
        return self._containers().list(*filters)

    def load_container(self, id: str) -> Container:
        """Raises ``NotFound``."""
        return self._containers().load(id)

    def new_container(
        self,
        id: str,
        *,
        image: Image | str,
        args: Sequence[str] | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Make a container on a snapshot of an image; nothing runs yet.

        ``args`` replaces the image's command and follows its entrypoint; ``options`` are those of
        ``runtime.options.ContainerOptions``.  Raises ``AlreadyExists``, ``NotFound``,
        ``InvalidArgument``.
        """
        with self.lease():
            found = self.get_image(image) if isinstance(image, str) else image
            return self._containers().new(id, found, self._runtime(), args, **options)

    def run(
        self,
        image: Image | str,
        args: Sequence[str] | None = None,
        *,
        input: bytes | None = None,
        timeout: float | None = None,
        stdout: BinaryIO | Sink | None = None,
        stderr: BinaryIO | Sink | None = None,
        max_output: int = 64 << 20,
        id: str | None = None,
        **options: Unpack[ContainerOptions],
    ) -> CompletedContainer:
        """Run a command in a new container to its end, and remove the container.

        ``input`` goes to its stdin.  What it writes is captured, up to ``max_output`` bytes a
        stream, unless ``stdout`` or ``stderr``, a binary file or a function of bytes, takes it
        as it comes.  After ``timeout`` seconds it is killed and ``DeadlineExceeded`` raised.
        Other arguments and errors as ``new_container``; whatever happens, nothing is left.
        """
        from .run import run_container

        with self.lease():
            name = id or f"run-{os.urandom(8).hex()}"
            container = self.new_container(name, image=image, args=args, **options)
            return run_container(container, input, stdout, stderr, max_output, timeout)

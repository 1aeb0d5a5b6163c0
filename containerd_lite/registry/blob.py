"""The stream of one blob, checked while it is read, and begun again where it was cut.

What lives here: the reader.  What may not: requests.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from ..errors import RegistryError, RegistryUnavailable, SizeMismatch
from ..oci.descriptor import Descriptor
from ..oci.digest import Verifier
from .http import Response
from .http_errors import Again, naming
from .session import Cuts

_DISCARD = 1 << 20

#: Asks for a blob from an offset on; gives the answer, and the offset at which its body begins.
Start = Callable[[int], tuple[Response, int]]


class BlobReader(io.RawIOBase):
    """A binary file of the bytes of a blob from ``offset`` to its end.

    Never gives more bytes than the descriptor says.  With a verifier, the read that completes
    the blob raises SizeMismatch or DigestMismatch instead of giving the last bytes of a wrong
    one.  A connection that breaks or stalls is replaced by one that goes on from there; when
    that does not help, RegistryUnavailable is raised, and ``tell()`` is where to go on.  Every
    error closes the reader.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        start: Start,
        offset: int,
        *,
        cuts: Cuts,
        operation: str,
        verify: bool = False,
        end: int | None = None,
        answer: Response | None = None,
    ) -> None:
        """``start`` is how to ask, ``cuts`` whether to ask again, ``operation`` what errors name.

        ``offset`` and ``end`` (bytes, the blob's own unless given) bound what is read.  An
        ``answer`` stands already where reading begins.
        """
        super().__init__()
        self.descriptor = descriptor
        self._start = start
        self._offset = offset
        self._end = descriptor.size if end is None else end
        self._cuts = cuts
        self._operation = operation
        whole = verify and offset == 0 and end is None
        self._verifier = Verifier(descriptor.digest, descriptor.size) if whole else None
        self._answer = answer
        if answer is None and (offset < self._end or not self._end):
            self._open()

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """The offset of the next byte in the blob."""
        return self._offset

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fills ``buffer`` as far as the blob goes; 0 is the end."""
        if self.closed:
            raise ValueError("the reader is closed")
        if self._answer is None:
            return 0
        try:
            with naming(self._operation):
                return self._next(memoryview(buffer).cast("B"))
        except BaseException:
            self.close()
            raise

    def _next(self, view: memoryview) -> int:
        view = view[: self._end - self._offset]
        while True:
            answer = self._answer
            try:
                if answer is None:
                    answer = self._open()
                taken = _take(answer, view) if view else 0
                if taken == len(view) or (taken and answer.declared is not None):
                    break
                self._broke_off(answer, taken)
            except RegistryUnavailable as error:
                self._let_go()
                self._cuts.survive(error, self._offset, self.descriptor.size)
        if self._verifier:
            self._verifier.update(view[:taken])
        self._offset += taken
        if self._offset == self._end:
            self._complete(answer)
        return taken

    def _open(self) -> Response:
        """Asks for the rest, and reads up to it where the registry begins before it."""
        answer, begin = self._start(self._offset)
        self._answer = answer
        try:
            self._skip(answer, self._offset - begin)
        except BaseException:
            self._let_go()
            raise
        return answer

    def _broke_off(self, answer: Response, taken: int) -> None:
        """Raises for a body that ended early: cut, if more was announced, else too short."""
        at, digest, size = self._offset + taken, self.descriptor.digest, self.descriptor.size
        if answer.declared is not None:
            raise RegistryUnavailable(
                f"{answer.url.origin} broke off {digest} at byte {at} of {size}",
                remedy="Try again; what has come can be kept",
            )
        raise SizeMismatch(f"{digest} has {at} bytes, promised were {size}")

    def _complete(self, answer: Response) -> None:
        """Looks for bytes too many, checks the digest, and lets the connection go."""
        whole = self._end == self.descriptor.size
        if whole and answer.length != 0 and _take(answer, memoryview(bytearray(1))):
            raise SizeMismatch(
                f"{self.descriptor.digest} is longer than the {self.descriptor.size} bytes promised"
            )
        if self._verifier:
            self._verifier.check()
        self._answer = None
        answer.finish()

    def _skip(self, answer: Response, count: int) -> None:
        """Reads and drops ``count`` bytes, to where a registry without ranges did not begin."""
        scratch = memoryview(bytearray(min(_DISCARD, count)))
        while count:
            taken = _take(answer, scratch[:count])
            if not taken:
                raise RegistryError(f"{self.descriptor.digest} ends before the offset asked for")
            count -= taken

    def _let_go(self) -> None:
        answer, self._answer = getattr(self, "_answer", None), None
        if answer is not None:
            answer.close()

    def close(self) -> None:
        """Lets the connection go, in whatever state the body is."""
        self._let_go()
        super().close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _take(answer: Response, view: memoryview) -> int:
    try:
        return answer.readinto(view)
    except Again as again:
        raise again.error from again.__cause__

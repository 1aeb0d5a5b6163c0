"""The stream of one blob, checked while it is read.

What lives here: the reader.  What may not: requests.
"""

from __future__ import annotations

import io

from ..errors import RegistryError, RegistryUnavailable, SizeMismatch
from ..oci.descriptor import Descriptor
from ..oci.digest import Verifier
from .failures import Again, naming
from .http import Answer

_DISCARD = 1 << 20


class BlobReader(io.RawIOBase):
    """A binary file of the bytes of a blob from ``offset`` to its end.

    Never gives more bytes than the descriptor says.  With a verifier, the read that completes
    the blob raises SizeMismatch or DigestMismatch instead of giving the last bytes of a wrong
    one.  A connection that breaks raises RegistryUnavailable; ``tell()`` is then where to go on.
    Every error closes the reader.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        answer: Answer | None,
        offset: int,
        verify: bool,
        operation: str,
    ) -> None:
        """``answer`` is where the bytes come from; ``None`` if nothing is left to read.

        ``offset`` (bytes) is where reading begins, ``operation`` what errors name.
        """
        super().__init__()
        self.descriptor = descriptor
        self._answer = answer
        self._offset = offset
        self._operation = operation
        whole = verify and offset == 0
        self._verifier = Verifier(descriptor.digest, descriptor.size) if whole else None

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
        left = self.descriptor.size - self._offset
        view = view[:left]
        taken = self._take(view) if left else 0
        if taken < len(view):
            self._broke_off(taken)
        if self._verifier:
            self._verifier.update(view[:taken])
        self._offset += taken
        if self._offset == self.descriptor.size:
            self._complete()
        return taken

    def _take(self, view: memoryview) -> int:
        if self._answer is None:
            return 0
        try:
            return self._answer.readinto(view)
        except Again as again:
            raise again.error from again.__cause__

    def _broke_off(self, taken: int) -> None:
        """Raises for a body that ended early: cut, if more was announced, else too short."""
        answer, at = self._answer, self._offset + taken
        if answer is None:
            return
        announced = answer.declared is not None
        digest, size = self.descriptor.digest, self.descriptor.size
        if announced:
            raise RegistryUnavailable(
                f"{answer.url.origin} broke off {digest} at byte {at} of {size}",
                remedy="Try again; what has come can be kept",
            )
        raise SizeMismatch(f"{digest} has {at} bytes, promised were {size}")

    def _complete(self) -> None:
        """Looks for bytes too many, checks the digest, and lets the connection go."""
        answer = self._answer
        if answer is None:
            return
        if answer.length != 0 and self._take(memoryview(bytearray(1))):
            raise SizeMismatch(
                f"{self.descriptor.digest} is longer than the {self.descriptor.size} bytes promised"
            )
        if self._verifier:
            self._verifier.check()
        self._answer = None
        answer.finish()

    def skip(self, count: int) -> None:
        """Reads and drops ``count`` bytes, to where a registry without ranges did not begin."""
        scratch = memoryview(bytearray(min(_DISCARD, count)))
        while count:
            taken = self._take(scratch[:count])
            if not taken:
                raise RegistryError(f"{self.descriptor.digest} ends before the offset asked for")
            count -= taken

    def close(self) -> None:
        """Lets the connection go, in whatever state the body is."""
        answer, self._answer = getattr(self, "_answer", None), None
        if answer is not None:
            answer.close()
        super().close()

    def __exit__(self, *exception: object) -> None:
        self.close()

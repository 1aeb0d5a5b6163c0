"""One blob into a repository (distribution-spec, Pushing Blobs).

What lives here: mounting, one request or many, going on after a cut, clean-up.  What may not:
which blobs belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from enum import Enum
from typing import TypeVar

from ..deadline import Deadline
from ..errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from ..interrupt import heard_late, unheard
from ..lazy import lazy_pattern
from ..oci import digest as digests
from ..oci.descriptor import Descriptor
from ..oci.document import quoted
from ..oci.reference import Reference
from ..progress import ProgressCallback, ProgressEvent
from . import responses as answers
from .destinations import Url
from .download import pull_scope
from .http import Body, Response
from .openers import Opener, OwnFault, fill, opened, own
from .session import MAX_TRIES, Ask, Cuts, Session, location

#: Bytes read from the content at a time.
_PIECE = 1 << 20
_OCTETS = "application/octet-stream"
_RANGE = lazy_pattern(r"(?:bytes=)?0-([0-9]{1,19})")
#: Seconds that the deletion of a failed upload may take: whoever stopped it waits for that.
_GOODBYE = 1.5

_T = TypeVar("_T")


class Outcome(Enum):
    """How a blob came to be where it was wanted."""

    EXISTS = "exists"
    MOUNTED = "mounted"
    UPLOADED = "uploaded"


def push_scope(repository: str) -> str:
    """What a token must allow for writing."""
    return f"repository:{repository}:pull,push"


class _OutOfStep(RegistryError):
    """The registry holds another part of the content than this end believes."""


class Upload:
    """One upload: its session at the registry, and how far it has come."""

    def __init__(
        self,
        session: Session,
        reference: Reference,
        descriptor: Descriptor,
        open_at: Opener,
        *,
        deadline: Deadline | None,
        timeout: float | None,
        cuts: Cuts,
        report: ProgressCallback,
    ) -> None:
        """``timeout`` (seconds) bounds the requests that carry no content."""
        self._session = session
        self._repository = reference.repository
        self._descriptor = descriptor
        self._open_at = open_at
        self._deadline = deadline
        self._timeout = timeout
        self._cuts = cuts
        self._report = report
        self._scopes = (push_scope(reference.repository),)
        self._url: Url | None = None
        self._untouched = False  # whether the upload has been begun, and nothing sent to it
        self._least_chunk = 0
        self._files = ExitStack()

    def run(
        self,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        single: bool = False,
        ask: bool = True,
    ) -> Outcome:
        """Does all that is needed; arguments and errors as of ``Registry.upload_blob``."""
        if chunk_size is not None and chunk_size < 1:
            raise InvalidArgument("chunk_size must be 1 byte or more")
        if ask and self._exists():
            return self._told(Outcome.EXISTS)
        try:
            return self._told(self._brought(mount_from, chunk_size, single))
        except BaseException as error:
            self._abandon()
            if not isinstance(error, OwnFault):
                raise
            fault = error.error
        raise fault  # from here, so that it comes out as it was

    def _brought(self, mount_from: Sequence[str], chunk_size: int | None, single: bool) -> Outcome:
        for repository in mount_from:
            if self._mount(repository):
                return Outcome.MOUNTED
            if self._url is not None:
                break  # it cannot be mounted, and the registry began an upload instead
        if self._url is not None or not self._begin(single):
            self._transfer(chunk_size)
        return Outcome.UPLOADED

    def _told(self, outcome: Outcome) -> Outcome:
        size = self._descriptor.size
        self._report(ProgressEvent(outcome.value, self._descriptor.digest, size, size))
        return outcome

    # What is asked

    def _exists(self) -> bool:
        ask = self._ask("HEAD", f"blobs/{self._descriptor.digest}")
        try:
            return self._send(ask, lambda answer: _is_whole(answer, self._descriptor))
        except RegistryNotFound:
            return False
        except RegistryError as error:
            # One that was killed may have half a blob, and fails of that until it is sent anew;
            # another may not know the method.
            if error.status < 500 and error.status != 405:
                raise
            return False

    def _mount(self, repository: str) -> bool:
        """Asks for the blob of another repository; a 202 begins an ordinary upload instead."""
        ask = self._ask(
            "POST",
            "blobs/uploads/",
            query={"mount": self._descriptor.digest, "from": repository},
            scopes=(*self._scopes, pull_scope(repository)),
            expect=(201, 202),
        )
        try:
            with heard_late(_GOODBYE):  # or the upload that it begins could not be ended
                return self._send(ask, self._opened)
        except (RegistryUnavailable, RegistryUnauthorized):
            return False  # no word of the other repository: the blob goes the long way
        except RegistryError as error:
            if not error.status:
                raise
            return False

    def _begin(self, single: bool) -> bool:
        """Begins an upload; true where the content went along and was taken."""
        algorithm = digests.algorithm(self._descriptor.digest)
        query, body = {"digest-algorithm": algorithm} if algorithm != "sha256" else {}, None
        if single:
            query["digest"] = self._descriptor.digest
            body = self._body(0, self._descriptor.size)
            self._session.greet(self._scopes, self._soon())  # so that no 401 comes after it all
        ask = self._ask("POST", "blobs/uploads/", query=query, body=body, expect=(201, 202))
        try:
            with nullcontext() if single else heard_late(_GOODBYE):
                return self._send(ask, self._opened, bulky=single)
        except RegistryUnavailable as error:
            if not single:
                raise
            self._cuts.survive(error, 0, self._descriptor.size)
            return self._begin(False)

    def _opened(self, answer: Response) -> bool:
        if answer.status == 201:
            answers.confirm(answer, self._descriptor.digest)
            answer.finish()
            return True
        text = answer.headers.get("OCI-Chunk-Min-Length", "").strip()
        if text.isascii() and text.isdigit() and len(text) < 12:
            self._least_chunk = int(text)
        self._moved(answer)
        if self._url is None:
            raise RegistryError(f"{answer.url.origin} began an upload without saying where")
        self._untouched = True
        return False

    def _transfer(self, chunk_size: int | None) -> None:
        """Sends the content, and what is left of it after each cut."""
        size, furthest = self._descriptor.size, 0
        offset: int | None = 0
        while offset is not None:
            try:
                if self._untouched and not chunk_size:
                    return self._close(0)
                chunk = max(chunk_size, self._least_chunk) if chunk_size else size
                while offset < size:
                    offset = self._patch(offset, min(offset + chunk, size))
                return self._close(size)
            except (RegistryUnavailable, RegistryNotFound, _OutOfStep) as error:
                furthest = max(furthest, offset)  # a registry that falls back makes no headway
                self._cuts.survive(error, furthest, size)
                offset = self._recovered(error, offset)

    def _recovered(self, error: RegistryError, offset: int) -> int | None:
        """Where to go on after ``error`` at ``offset``; ``None`` if the registry has the blob."""
        if offset == self._descriptor.size and isinstance(error, RegistryUnavailable):
            return offset  # there is nothing to send but the word that this was all
        if not isinstance(error, RegistryNotFound):
            # What begins at 0 is refused where there is something: "0-0" then is one byte.
            least = int(error.status == 416 and not offset)
            ask = self._ask("GET", "", expect=(204, 200), url=self._url)
            with suppress(RegistryNotFound):
                held = self._send(ask, lambda answer: self._held(answer, least))
                if held > self._descriptor.size:
                    digest = self._descriptor.digest
                    raise SizeMismatch(f"the registry holds {held} bytes of {digest}")
                return held
        # The upload is lost, or has become the blob and the answer did not arrive.
        self._url = None
        return None if self._exists() or self._begin(False) else 0

    def _patch(self, start: int, end: int) -> int:
        """Sends one chunk; gives the offset that the registry has come to."""
        ask = self._ask(
            "PATCH",
            "",
            headers={"Content-Type": _OCTETS, "Content-Range": f"{start}-{end - 1}"},
            body=self._body(start, end),
            expect=(202, 201, 204, 416),
            url=self._url,
        )

        def use(answer: Response) -> int:
            if answer.status == 416:
                answer.snippet(0)
                raise _OutOfStep(
                    f"{answer.url.origin} expects another chunk than {start}-{end - 1}", status=416
                )
            held = self._held(answer, end)
            return held if "Range" in answer.headers else end

        held = self._send(ask, use, bulky=True)
        if not start < held <= end:
            raise _OutOfStep(f"the registry says it holds {held} bytes after {start}-{end - 1}")
        return held

    def _held(self, answer: Response, sent: int) -> int:
        """The bytes that the registry has, by the ``Range`` of an answer; notes its Location."""
        text = answer.headers.get("Range", "").strip()
        match = _RANGE.fullmatch(text)
        self._moved(answer)
        if text and not match:
            raise RegistryError(f"{answer.url.origin} names a range that cannot be, {quoted(text)}")
        held = int(match[1]) + 1 if match else 0
        # "0-0" is what distribution says of nothing at all, and of a single byte.
        return held if held > 1 else min(sent, held)

    def _close(self, offset: int) -> None:
        """Ends the upload with what is missing of the content, if anything."""
        size = self._descriptor.size
        if self._url is None:
            raise RegistryError("the upload has no place")
        body = self._body(offset, size) if offset < size else b""
        headers = {"Content-Type": _OCTETS}
        digest = self._descriptor.digest
        url = self._url.with_query({"digest": digest})
        expect = (201, 204, 416)
        ask = self._ask("PUT", "", headers=headers, body=body, expect=expect, url=url, tries=1)

        def use(answer: Response) -> None:
            answer.snippet(0)
            if answer.status == 416:
                raise _OutOfStep(f"{answer.url.origin} holds another part of it", status=416)
            answers.confirm(answer, digest)

        self._send(ask, use, bulky=True)
        self._url = None

    def _abandon(self) -> None:
        """Deletes an upload that failed; whether that works is not the failure to tell of."""
        if self._url is None:
            return
        ask = self._ask("DELETE", "", expect=(204, 202, 200, 404), url=self._url, tries=1)
        with suppress(ContainerdError), unheard():
            self._session.send(ask, Deadline(_GOODBYE), lambda answer: answer.snippet(0))

    # How it is asked

    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        scopes: tuple[str, ...] = (),
        body: bytes | Body | None = None,
        expect: tuple[int, ...] = (200,),
        url: Url | None = None,
        tries: int | None = None,
    ) -> Ask:
        if isinstance(body, Body):
            tries = 1  # what has come of it must be asked before it is sent again
        return Ask(
            method,
            f"{self._repository}/{path}",
            f"blob {self._descriptor.digest}",
            scopes=scopes or self._scopes,
            headers=headers or {},
            query=query or {},
            body=b"" if body is None and method in ("POST", "PUT") else body,
            url=url,
            expect=expect,
            tries=tries or MAX_TRIES,
        )

    def _send(self, ask: Ask, use: Callable[[Response], _T], bulky: bool = False) -> _T:
        if not bulky:
            return self._session.send(ask, self._soon(), use)
        self._untouched = False
        try:
            with self._files:
                return self._session.send(ask, self._deadline or Deadline(), use)
        except RegistryError as error:
            if "DIGEST_INVALID" in error.codes:
                raise DigestMismatch(f"the content is another: {error.message}") from error
            raise

    def _soon(self) -> Deadline:
        return self._deadline or Deadline(self._timeout)

    def _moved(self, answer: Response) -> None:
        """Notes where the upload goes on; the last place counts where an answer names none."""
        found = location(answer, "the upload")
        answer.snippet(0)
        self._url = found or self._url

    def _body(self, start: int, end: int) -> Body:
        return Body(end - start, lambda: self._pieces(start, end))

    def _pieces(self, start: int, end: int) -> Iterator[memoryview]:
        digest, total = self._descriptor.digest, self._descriptor.size
        buffer = memoryview(bytearray(min(_PIECE, end - start)))
        # Not closed here: who drops a half-used generator does not close it.
        file = self._files.enter_context(opened(self._open_at, start, digest))
        while start < end:
            piece = buffer[: end - start]
            count = fill(file, piece, digest)
            if not count:
                raise SizeMismatch(f"the content of {digest} ends at {start} bytes of {total}")
            yield piece[:count]
            start += count
            with own():
                self._report(ProgressEvent("uploading", digest, start, total))


def _is_whole(answer: Response, descriptor: Descriptor) -> bool:
    """Whether a blob that is there is the one meant."""
    answers.confirm(answer, descriptor.digest)
    size = answer.declared
    answer.snippet(0)
    return size in (None, descriptor.size)

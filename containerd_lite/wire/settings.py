"""SETTINGS of both ends, and the ``H2Connection`` that keeps them.

What lives here: h2's part: the preface, SETTINGS and their acknowledgement, both HPACK contexts.
What may not: frames of any other type; h2 is fed whole SETTINGS frames and stays idle for ever.
"""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RemoteSettingsChanged
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from . import frames
from .credit import STREAM_WINDOW
from .frame_reader import ConnectionFault
from .headers import MAX_HEADER_LIST

#: Bytes of a setting; the highest identifier that h2 knows, ENABLE_CONNECT_PROTOCOL.
_ENTRY, _LAST_KNOWN = 6, b"\0\x08"


class SettingsFault(ConnectionFault):
    """SETTINGS that break a rule; ``goaway`` is the frame that says which."""

    def __init__(self, error: H2Error, goaway: bytes) -> None:
        super().__init__(frames.NO_ERROR, f"SETTINGS: {error}")
        self.goaway = goaway or frames.goaway(frames.PROTOCOL_ERROR)


class PeerSettings:
    """``greeting`` is what a client sends first; ``h2`` has the HPACK contexts."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
            },
        )
        self.h2.initiate_connection()
        self.greeting = self.h2.data_to_send()

    def receive(self, frame: bytes) -> tuple[bytes, dict[int, int]]:
        """Take a whole SETTINGS frame; returns the answer to it and what it changed.

        Raises ``SettingsFault``.
        """
        try:
            events = self.h2.receive_data(_known(frame))
        except H2Error as error:
            raise SettingsFault(error, self.h2.data_to_send()) from error
        changed: dict[int, int] = {}
        for event in events:
            if isinstance(event, RemoteSettingsChanged):
                for code, setting in event.changed_settings.items():
                    changed[int(code)] = setting.new_value
        return self.h2.data_to_send(), changed

    @property
    def max_frame(self) -> int:
        """The largest frame that the peer takes, in bytes."""
        return self.h2.max_outbound_frame_size


def _known(frame: bytes) -> bytes:
    """The frame without settings that have no meaning, of which h2 keeps each (CVE-2019-9515)."""
    body = frame[frames.HEADER_SIZE :]
    if len(body) % _ENTRY:
        return frame  # h2 says what is wrong with it
    entries = (body[at : at + _ENTRY] for at in range(0, len(body), _ENTRY))
    kept = b"".join(entry for entry in entries if entry[:2] <= _LAST_KNOWN)
    return len(kept).to_bytes(3, "big") + frame[3 : frames.HEADER_SIZE] + kept

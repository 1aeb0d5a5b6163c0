"""The SETTINGS of the client and of the peer, which an ``H2Connection`` stores.

h2 handles the preface, SETTINGS, the acknowledgement of SETTINGS, and both HPACK contexts. This
module passes only whole SETTINGS frames to h2, so the state of h2's connection stays idle.
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

#: The size of one setting in bytes, and the highest identifier of a setting that h2 knows
#: (ENABLE_CONNECT_PROTOCOL).
_ENTRY_SIZE, _MAX_KNOWN_ID = 6, b"\0\x08"


class SettingsFault(ConnectionFault):
    """A SETTINGS frame of the peer that breaks a rule.

    ``goaway`` is the GOAWAY frame to send. ``code`` is NO_ERROR, so that ``Connection`` does not
    make another GOAWAY frame.
    """

    def __init__(self, error: H2Error, goaway: bytes) -> None:
        super().__init__(frames.NO_ERROR, f"SETTINGS: {error}")
        self.goaway = goaway or frames.goaway(frames.PROTOCOL_ERROR)


class PeerSettings:
    """The settings of the client and of the peer.

    ``greeting`` is the preface and the SETTINGS frame that the client sends first. ``h2`` has the
    HPACK contexts.
    """

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
        """Process a whole SETTINGS frame of the peer.

        Returns:
            The acknowledgement to send, which can be empty, and a dict of the changed settings by
            identifier.

        Raises:
            SettingsFault: The frame breaks a rule.
        """
        try:
            events = self.h2.receive_data(_drop_unknown(frame))
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
        """The maximum size in bytes of a frame's payload that the peer accepts."""
        return self.h2.max_outbound_frame_size


def _drop_unknown(frame: bytes) -> bytes:
    """Return the frame without unknown settings.

    h2 would store each unknown setting (CVE-2019-9515).
    """
    body = frame[frames.HEADER_SIZE :]
    if len(body) % _ENTRY_SIZE:
        return frame  # h2 raises an error for a frame of this length
    entries = (body[at : at + _ENTRY_SIZE] for at in range(0, len(body), _ENTRY_SIZE))
    kept = b"".join(entry for entry in entries if entry[:2] <= _MAX_KNOWN_ID)
    return len(kept).to_bytes(3, "big") + frame[3 : frames.HEADER_SIZE] + kept

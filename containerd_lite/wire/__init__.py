"""gRPC over HTTP/2 without I/O.

``Connection`` processes received bytes, and updates the state of its calls. ``Connection`` also
makes frames from the messages of the callers. No module of this package uses sockets, clocks,
threads or protobuf.

- ``frames`` and ``frame_reader``: HTTP/2 frames.
- ``framing``: gRPC's message prefix.
- ``metadata``: header values, and the status of a call.
- ``headers``: HPACK.
- ``header_block``: the header fields of a response.
- ``call``: the state of one call.
- ``sender``: flow control of sent data.
- ``credit``: flow control of received data.
- ``calls`` and ``connection``: all calls of one connection.
- ``settings``: the SETTINGS of the client and of the peer.
- ``frame_log``: debug output of frames.
"""

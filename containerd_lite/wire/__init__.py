"""gRPC over HTTP/2 without I/O.

``Connection`` takes received bytes and advances its calls. It takes messages and makes the bytes to
send. No module here uses sockets, clocks, threads or protobuf.

- ``frames`` and ``frame_reader``: HTTP/2 frames.
- ``framing``: gRPC's message prefix.
- ``metadata``: header values and the status.
- ``headers`` and ``header_block``: HPACK, and the fields of a response.
- ``call``: the state of one call.
- ``sender`` and ``credit``: flow control of sent and of received data.
- ``calls`` and ``connection``: all calls of one connection.
- ``settings``: SETTINGS of both ends.
- ``frame_log``: debug output of frames.
"""

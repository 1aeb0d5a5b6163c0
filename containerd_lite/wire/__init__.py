"""Sans-IO gRPC over HTTP/2: bytes in, calls advanced; messages in, bytes out.

What lives here: ``frames`` and ``frame_reader`` (HTTP/2 frames), ``framing`` (gRPC's message
prefix), ``metadata`` (header values and status), ``headers`` (HPACK), ``call`` (one call's state),
``sender`` and ``credit`` (flow control, out and in), ``connection`` (all calls of one connection).
What may not: sockets, clocks, threads, protobuf.
"""

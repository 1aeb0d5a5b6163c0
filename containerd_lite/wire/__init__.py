"""Sans-IO gRPC over HTTP/2: bytes in, calls advanced; messages in, bytes out.

What lives here: ``frames`` (HTTP/2 frames), ``framing`` (gRPC's message prefix), ``metadata``
(header values and status), ``call`` (one call's state), ``connection`` (all calls of one
connection).  What may not: sockets, clocks, threads, protobuf.
"""

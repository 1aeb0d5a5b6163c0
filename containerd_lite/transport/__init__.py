"""Connections to the daemon: sockets, TLS, and the threads that share a connection.

``address``, ``unix`` and ``tcp`` parse addresses and connect. ``tls`` encrypts TCP connections.
``failures`` makes exceptions from the errors of sockets and of ``ssl``. ``socket_io`` moves bytes
between a socket and a ``wire.Connection``. ``multiplexer`` decides which thread reads, writes or
waits. ``link`` performs calls on one connection. ``stream`` has the class of streaming calls.
``channel`` opens a connection when a call needs one.
"""

"""Messages without generated code: descriptor sets, loaded when they are needed.

What lives here: ``sets/`` (compiled by ``descriptors/compile.py``), ``pool`` (names to message
classes and methods), ``values`` (plain Python to message fields and back).  What may not: the
default pool; nothing outside imports ``google.protobuf``.
"""

"""The values that the OCI image, distribution and runtime specs define.

The modules of this package are for digests, descriptors, media types, manifests, image configs,
references, platforms and runtime specs. The records are frozen dataclasses that can be pickled. No
module does I/O.
"""

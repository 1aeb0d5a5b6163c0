"""Content stores: blobs by digest, wherever they are kept.

What lives here: ``protocol`` (what a store can do), ``daemon`` (containerd's), ``layout`` (an OCI
image layout, no daemon needed).  What may not: HTTP.
"""

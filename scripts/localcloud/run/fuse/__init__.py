"""The process that serves one instance's mounts: what the kernel asks through /dev/fuse, answered from the bucket.

Run as `python -S -m scripts.localcloud.run.fuse`; it imports the standard library alone.
"""

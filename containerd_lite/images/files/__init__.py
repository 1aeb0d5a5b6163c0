"""Files in images and snapshots, read without a mount."""

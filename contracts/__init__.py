"""What the processes must agree on. Pure, but for two doors: bus.py (the broker) and blobs.py (files)."""

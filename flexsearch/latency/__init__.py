"""Latency: measured end to end, or composed of the times of single operations, and the limit that a search keeps."""

"""Weights of networks: found, read, written, and loaded, ours and those of other projects."""

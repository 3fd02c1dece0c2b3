"""Frames of released versions of the protocol, kept for ever."""

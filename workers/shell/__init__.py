"""Hands and senses of a worker: its loop and its sockets."""

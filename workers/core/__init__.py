"""Decisions of a worker, pure: what the conversation is, and what to do with a prompt."""

"""Decisions of a client, pure: what a typed line means, and what a transcript still has to show."""

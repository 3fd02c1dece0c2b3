"""Decisions, pure: events in, effects out. No clock, no socket, no process, no log; ``machine`` is the door."""

"""Hands and senses of the coordinator: sockets, processes, timers, the store. It decides nothing."""

"""Where workers run: one port, one adapter for each way."""

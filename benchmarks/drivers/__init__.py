"""Processes that measure one side each; scripts, so that they run in the peers' environment without the project."""

"""The process that owns every session. Start reading at ``coordinator.shell.loop``."""

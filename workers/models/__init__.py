"""Models: the port that a turn is streamed through, its adapter, and the embedded server's host process."""

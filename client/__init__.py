"""Where a person sits: the command line and the terminal. Start reading at ``client.cli``."""

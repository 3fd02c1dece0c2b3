"""What a model may do on this machine, and what needs a person's yes. Start with ``box``."""

"""One process per session: a conversation and its turns. Start at ``workers.zygote``, then ``workers.shell.loop``."""

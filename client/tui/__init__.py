"""The full-screen terminal. Imported only when it opens: the other commands must start as fast as the interpreter."""

"""Conversations of other programs, read from the files in which they keep or export them. Pure: bytes in, rows out.

What tools did there becomes text, never a call that could be run again. What cannot be read is counted.
"""

"""Measurements against the clock and against peers; the README of this folder says how to run and read them."""

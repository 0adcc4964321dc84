"""Stages: one value in, none or more out. No I/O, no knowledge of each other."""

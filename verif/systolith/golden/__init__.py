"""Bit-exact numpy models; nothing here imports RTL components."""

"""Efficiency of the memory controller: patterns, limits, and a model of its commands."""

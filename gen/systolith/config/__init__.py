"""Configurations: presets, files, error messages."""

"""Number formats and arithmetic cells."""

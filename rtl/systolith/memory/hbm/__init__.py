"""Controllers and devices of dynamic memory."""

"""Models around the design that must act in every cycle, written in HDL."""

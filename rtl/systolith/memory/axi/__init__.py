"""AXI4 and AXI4-Lite in front of the memory system."""

"""cocotb modules."""

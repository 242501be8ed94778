"""Configuration to files: Verilog, description, headers."""

"""Runs designs: Amaranth simulator, cocotb on the emitted Verilog, SymbiYosys."""

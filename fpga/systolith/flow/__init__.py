"""The open tool flow: Verilog in, cells, frequency and a bitstream out."""

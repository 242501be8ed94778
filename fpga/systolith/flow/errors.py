"""What can go wrong between Verilog and a bitstream, one class per remedy."""

__all__ = ["CapacityError", "FlowError", "TimingError", "ToolFailedError", "ToolMissingError"]


class FlowError(ValueError):
    """Base of all errors of the flow; the message is complete without a traceback."""


class ToolMissingError(FlowError):
    """A tool is not installed."""


class ToolFailedError(FlowError):
    """A tool ended with an error or ran beyond the deadline."""


class CapacityError(FlowError):
    """The design needs more than the device has."""


class TimingError(FlowError):
    """The design is slower than the clock it would get."""

"""What the stimulus player has to know about the streams of a design."""

import re
from dataclasses import dataclass

__all__ = ["StreamPort"]


@dataclass(frozen=True, slots=True)
class StreamPort:
    """One stream of a design under test, seen from outside.

    The design has the ports ``<name>__payload``, ``<name>__valid`` and, unless it never waits,
    ``<name>__ready``.

    Parameters
    ----------
    name
        Prefix of the ports: a Verilog identifier.
    width
        Width of the payload in bits, at least 1.
    has_ready
        Whether the stream has a ready port. Without one, an input accepts every cycle and an
        output is only listened to.
    """

    name: str
    width: int
    has_ready: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.name):
            raise ValueError(f"StreamPort.name must be a Verilog identifier, not {self.name!r}")
        if self.width < 1:
            raise ValueError(
                f"StreamPort.width must be at least 1, not {self.width!r} (stream {self.name!r})"
            )

"""Frames on the serial line, as data shared by the bridge and the driver."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ACCEPTED", "FIRST_OUTPUT", "WINDOW", "Protocol"]

ACCEPTED = 0xFF
"""Byte by which the bridge reports that one frame was accepted by its stream, in order."""

FIRST_OUTPUT = 0x80
"""Number of the first output; inputs are numbered from 0."""

WINDOW = 512
"""Bytes of received frames that the bridge can hold back; the host never has more on the way."""

_MOST = 64


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which streams there are, and how their payloads travel.

    A frame is one byte, the number of the port, and then the payload in ``ceil(width / 8)`` bytes,
    least significant first. Inputs (to the engine) are numbered from 0 and outputs from
    :data:`FIRST_OUTPUT`, both in the order given. Bytes that begin no frame are ignored.

    *Flow control.* The engine may leave a frame waiting, and a serial line cannot be stopped. So
    the bridge answers each accepted frame with :data:`ACCEPTED`, and the host keeps at most
    :data:`WINDOW` unanswered bytes on the way (a single frame may be of any size).

    *Recovery.* A break (the line held low for longer than one character) resets bridge and engine.

    Parameters
    ----------
    inputs, outputs
        Payload widths in bits, by port name.
    replies
        Input to output, where the output has no ready: the input is offered only when its last
        answer has left the bridge, so that no answer is lost.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    replies: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, ports in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not 1 <= len(ports) <= _MOST:
                raise ValueError(f"Protocol.{kind} must have 1 to {_MOST} ports, not {len(ports)}")
            for name, width in ports.items():
                if width < 1:
                    raise ValueError(f"Protocol.{kind}: width of {name} must be at least 1 bit")
        if both := sorted(set(self.inputs) & set(self.outputs)):
            raise ValueError(f"Protocol: {', '.join(both)} cannot be input and output")
        for request, answer in self.replies.items():
            if request not in self.inputs or answer not in self.outputs:
                raise ValueError(
                    f"Protocol.replies must lead from an input to an output, "
                    f"not from {request!r} to {answer!r}"
                )

    def number(self, name: str) -> int:
        """Byte that begins a frame of port ``name``."""
        if name in self.inputs:
            return list(self.inputs).index(name)
        if name in self.outputs:
            return FIRST_OUTPUT + list(self.outputs).index(name)
        raise ValueError(
            f"port must be one of {', '.join([*self.inputs, *self.outputs])}, not {name!r}"
        )

    def name(self, number: int) -> str | None:
        """Port whose frames begin with ``number``, or None."""
        ports = list(self.inputs if number < FIRST_OUTPUT else self.outputs)
        index = number % FIRST_OUTPUT
        return ports[index] if index < len(ports) else None

    def size(self, name: str) -> int:
        """Bytes of the payload of port ``name``."""
        width = self.inputs[name] if name in self.inputs else self.outputs[name]
        return -(-width // 8)

    def frame(self, name: str, payload: int) -> bytes:
        """Frame of port ``name``. Raises ``ValueError`` for a payload that does not fit."""
        number = self.number(name)
        width = self.inputs[name] if name in self.inputs else self.outputs[name]
        if not 0 <= payload < 1 << width:
            raise ValueError(f"payload of {name} must be in 0..2**{width} - 1, not {payload}")
        return bytes([number]) + payload.to_bytes(self.size(name), "little")

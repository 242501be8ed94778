"""The host's end of the serial line."""

import time
from collections import deque
from typing import Protocol as TypingProtocol

from systolith.host.protocol import ACCEPTED, WINDOW, Protocol

__all__ = ["EngineLink", "LinkError", "SerialPort"]


class SerialPort(TypingProtocol):
    """What the driver needs of a port; a ``serial.Serial`` with a read timeout has it."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; fewer, or none, when they do not come soon."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send all of ``data``."""
        ...


class LinkError(RuntimeError):
    """The board does not answer, or answers what it should not."""


class EngineLink:
    """Sends payloads to the engine's streams and collects those that come back.

    Parameters
    ----------
    port
        Open serial port, at the baud rate of the shell.
    protocol
        The streams, as the bridge was built with.
    timeout_s
        Seconds without progress after which the board is considered silent.
    """

    def __init__(self, port: SerialPort, protocol: Protocol, *, timeout_s: float = 5.0) -> None:
        self.protocol = protocol
        self.timeout_s = timeout_s
        self._port = port
        self._bytes = bytearray()
        self._on_the_way: deque[int] = deque()
        self._received: dict[str, deque[int]] = {name: deque() for name in protocol.outputs}

    def send(self, name: str, payload: int) -> None:
        """Send one payload to input ``name``; wait only when the bridge's buffer may be full."""
        if name not in self.protocol.inputs:
            raise ValueError(
                f"input must be one of {', '.join(self.protocol.inputs)}, not {name!r}"
            )
        frame = self.protocol.frame(name, payload)
        while self._on_the_way and sum(self._on_the_way) + len(frame) > WINDOW:
            self._pump(f"accept frames; {name} waits")
        self._port.write(frame)
        self._on_the_way.append(len(frame))

    def receive(self, name: str) -> int:
        """Next payload of output ``name``, in the order of arrival."""
        if name not in self.protocol.outputs:
            raise ValueError(
                f"output must be one of {', '.join(self.protocol.outputs)}, not {name!r}"
            )
        queue = self._received[name]
        while not queue:
            self._pump(f"send {name}")
        return queue.popleft()

    def flush(self) -> None:
        """Wait until every payload sent so far was accepted by its stream."""
        while self._on_the_way:
            self._pump("accept frames")

    def reset(self) -> None:
        """Reset bridge and engine by a break, and forget everything on the way."""
        send_break = getattr(self._port, "send_break", None)
        if send_break is None:
            raise LinkError("reset needs a port with send_break, as serial.Serial has")
        send_break()
        time.sleep(0.01)  # the engine's reset and what the line still holds
        clear = getattr(self._port, "reset_input_buffer", None)
        if clear is not None:
            clear()
        self._bytes.clear()
        self._on_the_way.clear()
        for queue in self._received.values():
            queue.clear()

    def _pump(self, purpose: str) -> None:
        """Read until at least one byte has come, and take in all complete frames."""
        end = time.monotonic() + self.timeout_s
        waiting = getattr(self._port, "in_waiting", 0)
        while not (data := self._port.read(max(1, waiting))):
            if time.monotonic() > end:
                raise LinkError(
                    f"the board did not {purpose} within {self.timeout_s:g} s; "
                    "check port, baud rate and bitstream, or call reset()"
                )
        self._bytes += data
        while self._take_frame():
            pass

    def _take_frame(self) -> bool:
        if not self._bytes:
            return False
        number = self._bytes[0]
        if number == ACCEPTED:
            if not self._on_the_way:
                raise LinkError("the board accepted a frame that was not sent; call reset()")
            self._on_the_way.popleft()
            del self._bytes[0]
            return True
        name = self.protocol.name(number)
        if name not in self._received:
            raise LinkError(f"the board sent a frame of unknown port {number:#04x}; call reset()")
        end = 1 + self.protocol.size(name)
        if len(self._bytes) < end:
            return False
        self._received[name].append(int.from_bytes(self._bytes[1:end], "little"))
        del self._bytes[:end]
        return True

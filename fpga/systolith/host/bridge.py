"""Streams of the engine over one serial line."""

from collections.abc import Mapping

from amaranth.hdl import Array, Cat, Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from systolith.host.protocol import ACCEPTED, WINDOW, Protocol
from systolith.host.uart import UartReceiver, UartTransmitter

__all__ = ["UartBridge"]


class _FrameReader(wiring.Component):
    """Bytes to payloads: the way in."""

    data: Signal
    valid: Signal
    accepted: Signal

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "accepted": Out(1),
                **{name: Out(stream.Signature(w)) for name, w in protocol.inputs.items()},
                **{f"{name}_hold": In(1) for name in protocol.replies},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        protocol = self.protocol
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=WINDOW)
        m.d.comb += [fifo.w_data.eq(self.data), fifo.w_en.eq(self.valid)]

        sizes = [protocol.size(name) for name in protocol.inputs]
        most = max(sizes)
        word = Signal(8 * most, reset_less=True)
        port = Signal(range(max(2, len(sizes))))
        left = Signal(range(most + 1))
        with m.FSM():
            with m.State("NUMBER"):
                m.d.comb += fifo.r_en.eq(1)
                m.d.sync += [port.eq(fifo.r_data), left.eq(Array(sizes)[fifo.r_data])]
                with m.If(fifo.r_rdy & (fifo.r_data < len(sizes))):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += fifo.r_en.eq(1)
                with m.If(fifo.r_rdy):
                    m.d.sync += [word.eq(Cat(word[8:], fifo.r_data)), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "OFFER"
            with m.State("OFFER"):
                for index, (name, width) in enumerate(protocol.inputs.items()):
                    target = getattr(self, name)
                    # Bytes come in at the top: a short payload stays in the upper part.
                    start = 8 * (most - sizes[index])
                    m.d.comb += target.payload.eq(word[start : start + width])
                    free = ~getattr(self, f"{name}_hold") if name in protocol.replies else 1
                    with m.If(port == index):
                        m.d.comb += target.valid.eq(free)
                        with m.If(target.valid & target.ready):
                            m.d.comb += self.accepted.eq(1)
                            m.next = "NUMBER"
        return m


class _FrameWriter(wiring.Component):
    """Payloads and acknowledgements to bytes: the way out."""

    accepted: Signal
    idle: Signal
    o: stream.Interface

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        super().__init__(
            {
                "accepted": In(1),
                "o": Out(stream.Signature(8)),
                "idle": Out(len(protocol.outputs)),
                **{name: In(stream.Signature(w)) for name, w in protocol.outputs.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        protocol = self.protocol
        # No more frames than bytes can be waiting for their acknowledgement.
        owed = Signal(range(WINDOW + 1))
        pay = Signal()
        m.d.sync += owed.eq(owed + self.accepted - pay)

        full = Signal(len(protocol.outputs))
        words = []
        for index, name in enumerate(protocol.outputs):
            source = getattr(self, name)
            word = Signal(8 * protocol.size(name), name=f"{name}_word", reset_less=True)
            words.append(word)
            m.d.comb += [source.ready.eq(~full[index]), self.idle[index].eq(~full[index])]
            with m.If(source.valid & source.ready):
                m.d.sync += [word.eq(source.payload), full[index].eq(1)]

        port = Signal(range(max(2, len(words))))
        left = Signal(range(max(map(protocol.size, protocol.outputs)) + 1))
        with m.FSM():
            with m.State("NUMBER"):
                with m.If(owed != 0):
                    m.d.comb += [self.o.payload.eq(ACCEPTED), self.o.valid.eq(1)]
                    m.d.comb += pay.eq(self.o.ready)
                for index, name in enumerate(protocol.outputs):
                    with m.Elif(full[index]):
                        m.d.comb += [self.o.payload.eq(protocol.number(name)), self.o.valid.eq(1)]
                        m.d.sync += [port.eq(index), left.eq(protocol.size(name))]
                        with m.If(self.o.ready):
                            m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += self.o.valid.eq(1)
                for index, word in enumerate(words):
                    with m.If(port == index):
                        m.d.comb += self.o.payload.eq(word[:8])
                        with m.If(self.o.ready):
                            m.d.sync += word.eq(word >> 8)
                            with m.If(left == 1):
                                m.d.sync += full[index].eq(0)
                with m.If(self.o.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "NUMBER"
        return m


class UartBridge(wiring.Component):
    """Host ports of an engine over a serial line.

    The frames are those of :class:`systolith.host.protocol.Protocol`. An input frame is offered on
    its stream until it is accepted; the frames behind it wait in a buffer of ``WINDOW`` bytes. Each
    output has a register for one payload, so an output whose source ignores ``ready`` loses
    nothing as long as it is the answer to an input named in ``replies``. Acknowledgements go
    first, then outputs in their order.

    Parameters
    ----------
    inputs, outputs : dict of str to int
        Payload widths in bits by stream name.
    divisor : int
        Clock cycles per bit, at least 4.
    replies : dict of str to str
        Inputs whose answer has no ready, with that output.

    Members
    -------
    rx : In(1)
        Line from the host.
    tx : Out(1)
        Line to the host.
    reset : Out(1)
        High for one cycle after a break: the engine is to be reset.
    <input> : Out(stream)
        One per input, towards the engine.
    <output> : In(stream)
        One per output, from the engine.
    """

    rx: Signal
    tx: Signal
    reset: Signal

    def __init__(
        self,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        divisor: int,
        replies: Mapping[str, str] | None = None,
    ) -> None:
        self.protocol = Protocol(inputs=inputs, outputs=outputs, replies=replies or {})
        self.divisor = divisor
        super().__init__(
            {
                "rx": In(1),
                "tx": Out(1),
                "reset": Out(1),
                **{name: Out(stream.Signature(width)) for name, width in inputs.items()},
                **{name: In(stream.Signature(width)) for name, width in outputs.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        protocol = self.protocol
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        reader, writer = _FrameReader(protocol), _FrameWriter(protocol)
        restart = ResetInserter(self.reset)
        m.submodules.reader = restart(reader)
        m.submodules.writer = restart(writer)

        m.d.sync += self.reset.eq(receiver.broken)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            reader.data.eq(receiver.data),
            reader.valid.eq(receiver.valid),
            writer.accepted.eq(reader.accepted),
        ]
        wiring.connect(m, writer.o, transmitter.i)
        for name in protocol.inputs:
            wiring.connect(m, getattr(reader, name), wiring.flipped(getattr(self, name)))
        for name in protocol.outputs:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(writer, name))

        outputs = list(protocol.outputs)
        for request, answer in protocol.replies.items():
            ask, index = getattr(reader, request), outputs.index(answer)
            waiting = Signal(name=f"{request}_waiting")
            with m.If(self.reset):
                m.d.sync += waiting.eq(0)
            with m.Elif(ask.valid & ask.ready):
                m.d.sync += waiting.eq(1)
            with m.Elif(getattr(self, answer).valid):
                m.d.sync += waiting.eq(0)
            m.d.comb += getattr(reader, f"{request}_hold").eq(waiting | ~writer.idle[index])
        return m

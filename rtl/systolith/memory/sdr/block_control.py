"""What is done next to the blocks of a memory: reads, writes in full or in part, fills, scrubs."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.sdr.block_code import BLOCK, STRIDE, InlineConfig
from systolith.memory.sdr.block_reader import ask_layout

__all__ = ["BlockControl", "send_layout"]


def send_layout(config: InlineConfig) -> data.StructLayout:
    """A request to the memory; ``end`` if it is the last one of a user's write."""
    return PackedStruct({**dict(config.memory.request_layout.members), "end": 1})


class BlockControl(Block):
    """One thing after the other, but that a block leaves while the next one is gathered.

    Parameters
    ----------
    config : InlineConfig
        Sizes.

    Members
    -------
    request : In(stream)
        Of the user; not taken while ``hold``.
    hold : In(1)
        Nothing is begun.
    write_valid, write_whole, put, index : In(1), In(1), Out(1), Out(3)
        The user has an atom to write; all its bytes; it is put into the block at ``index``.
    clear, emit, zero, free, sending : Out, Out, Out, In, In
        Of the writer.
    merged : In(1)
        All atoms of the block that is written in part have come.
    ask : Out(stream)
        To the reader: what has been asked of the memory.
    send, room : Out(valid, send_layout), In(1)
        To the memory; only while there is room.
    fill, fill_block, fill_blocks : In
        Blocks to fill, held until ``filled``; begun while nothing else is under way.
    filled : Out(1)
        Their last request is sent.
    dirty, dirty_block, scrubbed : In(1), In, Out(1)
        A block that is to be written back; it has been.
    quiet : In(1)
        Nothing that was sent is under way.
    resting : Out(1)
        Nothing is under way here.
    """

    request: Any
    hold: Signal
    write_valid: Signal
    write_whole: Signal
    put: Signal
    index: Signal
    clear: Signal
    emit: Signal
    zero: Signal
    free: Signal
    sending: Signal
    merged: Signal
    ask: Any
    send_valid: Signal
    send: data.View
    room: Signal
    fill: Signal
    fill_block: Signal
    fill_blocks: Signal
    filled: Signal
    dirty: Signal
    dirty_block: Signal
    scrubbed: Signal
    quiet: Signal
    resting: Signal

    def __init__(self, config: InlineConfig) -> None:
        self.config = config
        flags_in = ("hold", "write_valid", "write_whole", "free", "sending", "merged", "room")
        flags_in += ("fill", "dirty", "quiet")
        flags_out = ("put", "clear", "emit", "zero", "send_valid", "filled", "scrubbed", "resting")
        super().__init__(
            {
                "request": In(stream.Signature(config.user.request_layout)),
                "ask": Out(stream.Signature(ask_layout(config))),
                "send": Out(send_layout(config)),
                "index": Out(3),
                "fill_block": In(config.block_bits),
                "fill_blocks": In(config.block_bits + 1),
                "dirty_block": In(config.block_bits),
                **{name: In(1) for name in flags_in},
                **{name: Out(1) for name in flags_out},
            }
        )

    @property
    def module_name(self) -> str:
        return f"block_control_{self.config.tag}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, asked, send, ask = self.config, self.request.p, self.send, self.ask
        block = Signal(config.block_bits)
        left = Signal(config.count_bits)  # atoms of the request that have not been put
        blocks = Signal.like(self.fill_blocks)  # to fill
        whole = Signal()  # the block so far
        filling, scrubbing = Signal(), Signal()
        target = Signal(config.block_bits)  # of what is sent
        # From the first atom of the first block to the last atom that is wanted.
        reach = Signal(config.count_bits + 1)
        m.d.comb += [
            target.eq(block),
            reach.eq(asked.atom[:3] + asked.count - 1),
            send.atom.eq((target << 3) + target),
            send.count.eq(STRIDE),
            send.end.eq((left == 0) & ~filling & ~scrubbing),
            ask.p.block.eq(target),
            ask.p.count.eq(BLOCK),
            ask.p.merge.eq(1),
            ask.p.scrub.eq(scrubbing),
            self.zero.eq(filling),
        ]
        with m.FSM():
            with m.State("Rest"):
                m.d.comb += [self.resting.eq(1), self.clear.eq(1)]
                with m.If(self.hold):
                    pass
                with m.Elif(self.fill), m.If(self.quiet):
                    m.d.sync += [
                        filling.eq(1),
                        block.eq(self.fill_block),
                        blocks.eq(self.fill_blocks),
                        left.eq(0),
                    ]
                    m.next = "Emit"
                with m.Elif(self.request.valid & asked.write):
                    m.d.comb += self.request.ready.eq(1)
                    m.d.sync += [
                        block.eq(asked.atom >> 3),
                        self.index.eq(asked.atom[:3]),
                        whole.eq(asked.atom[:3] == 0),
                        left.eq(asked.count),
                    ]
                    m.next = "Gather"
                with m.Elif(self.request.valid):
                    m.d.comb += [
                        self.request.ready.eq(self.room & ask.ready),
                        self.send_valid.eq(self.room & ask.ready),
                        ask.valid.eq(self.room),
                        target.eq(asked.atom >> 3),
                        send.count.eq(reach + (reach >> 3) + 2),
                        ask.p.merge.eq(0),
                        ask.p.skip.eq(asked.atom[:3]),
                        ask.p.count.eq(asked.count),
                    ]
                with m.Elif(self.dirty & self.quiet):
                    m.d.sync += [scrubbing.eq(1), block.eq(self.dirty_block), left.eq(0)]
                    m.next = "Ask"
            with m.State("Gather"):
                m.d.comb += self.put.eq(self.write_valid)
                with m.If(self.write_valid):
                    m.d.sync += [
                        self.index.eq(self.index + 1),
                        left.eq(left - 1),
                        whole.eq(whole & self.write_whole),
                    ]
                    with m.If(self.index == BLOCK - 1):
                        m.next = "Ask"
                        with m.If(whole & self.write_whole):
                            m.next = "Emit"
                    with m.Elif(left == 1):
                        m.next = "Ask"
            with m.State("Ask"):
                # Not while the block before is read out: it is read where these are merged.
                m.d.comb += [
                    ask.valid.eq(self.room & ~self.sending),
                    self.send_valid.eq(self.room & ~self.sending & ask.ready),
                ]
                with m.If(self.send_valid):
                    m.next = "Merge"
            with m.State("Merge"), m.If(self.merged):
                m.next = "Emit"
            with m.State("Emit"):
                m.d.comb += [
                    send.write.eq(1),
                    self.send_valid.eq(self.room & self.free),
                    self.emit.eq(self.send_valid),
                ]
                with m.If(self.send_valid):
                    m.d.comb += self.clear.eq(1)
                    m.d.sync += [block.eq(block + 1), self.index.eq(0), whole.eq(1)]
                    with m.If(scrubbing):
                        m.d.comb += self.scrubbed.eq(1)
                        m.d.sync += scrubbing.eq(0)
                        m.next = "Rest"
                    with m.Elif(filling):
                        m.d.sync += blocks.eq(blocks - 1)
                        with m.If(blocks == 1):
                            m.d.comb += self.filled.eq(1)
                            m.d.sync += filling.eq(0)
                            m.next = "Rest"
                    with m.Elif(left == 0):
                        m.next = "Rest"
                    with m.Else():
                        m.next = "Gather"
        return m

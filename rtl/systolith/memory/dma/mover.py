"""Accesses the scratchpad, word by word, in the order of the descriptors."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import move_layout, token_layout
from systolith.memory.dma.places import PlaceWalker
from systolith.memory.dma.requests import Kind
from systolith.memory.ports import LocalPort

__all__ = ["Mover", "asked_layout", "close_layout", "local_port"]


def local_port(config: DmaConfig) -> LocalPort:
    """The port of an engine."""
    return LocalPort(bytes=config.atom, address_bits=config.local_bits)


def asked_layout() -> data.StructLayout:
    """An access that is to be answered; ``end`` of its descriptor."""
    return PackedStruct({"kind": 2, "poison": 1, "end": 1})


def close_layout(config: DmaConfig) -> data.StructLayout:
    """End of a descriptor."""
    return PackedStruct(
        {
            "tag": 16,
            "listed": 1,
            "number": config.count_bits,
            "code": config.code_bits,
            "mark": config.mark_bits,
        }
    )


class Mover(Block):
    """Carries out tokens, at one word a clock.

    All accesses are in the order of the descriptors, so that each sees what those before it did.
    A descriptor begins in the clock after the last access of the one before it.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    move_valid, move, move_take : In(1), In(move_layout), Out(1)
        Begins of descriptors.
    token_valid, token, token_take : In(1), In(token_layout), Out(1)
        What to do.
    read_valid, read, read_error, read_take : In(1), In, In(1), Out(1)
        Atoms from the memory.
    request : Out(stream)
        To the scratchpad; registered.
    asked_put, asked, asked_space, asked_none : Out(1), Out(asked_layout), In(1), In(1)
        Accesses as they are decided on, ahead of ``request``; none is unanswered.
    close_put, close : Out(1), Out(close_layout)
        With an access that ends its descriptor.
    end_now : Out(1)
        ``close`` is of a descriptor that ends without a further access, and all were answered.
    left : In(1)
        A word from the scratchpad was handed over to the memory: there is room for another one.
    stopped : In(1)
        Begin no access; end all descriptors.
    clear : In(1)
        Forget the access that is offered.
    """

    move_valid: Signal
    move: data.View
    move_take: Signal
    token_valid: Signal
    token: data.View
    token_take: Signal
    read_valid: Signal
    read: Signal
    read_error: Signal
    read_take: Signal
    request: stream.Interface
    asked_put: Signal
    asked: data.View
    asked_space: Signal
    asked_none: Signal
    close_put: Signal
    close: data.View
    end_now: Signal
    left: Signal
    stopped: Signal
    clear: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "move_valid": In(1),
                "move": In(move_layout(config)),
                "move_take": Out(1),
                "token_valid": In(1),
                "token": In(token_layout(config)),
                "token_take": Out(1),
                "read_valid": In(1),
                "read": In(config.data_bits),
                "read_error": In(1),
                "read_take": Out(1),
                "request": Out(stream.Signature(local_port(config).request_layout)),
                "asked_put": Out(1),
                "asked": Out(asked_layout()),
                "asked_space": In(1),
                "asked_none": In(1),
                "close_put": Out(1),
                "close": Out(close_layout(config)),
                "end_now": Out(1),
                "left": In(1),
                "stopped": In(1),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_mover"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, request = self.config, self.request
        places = PlaceWalker(config)
        m.submodules.places = place(places, platform)
        active, tag, listed = Signal(), Signal(16), Signal()
        number, word = Signal(config.count_bits), Signal(32)
        token_valid = Signal()
        token: Any = Signal(token_layout(config))  # count and address go on
        room = Signal(bits_for(config.write_room), init=config.write_room)
        ready, free, access, final = Signal(), Signal(), Signal(), Signal()
        given_up, ends, done = Signal(), Signal(), Signal()
        load, store, table = (Signal(name=n) for n in ("load", "store", "table"))
        m.d.comb += [
            load.eq(token.kind == Kind.LOAD),
            store.eq(token.kind == Kind.STORE),
            table.eq(token.kind == Kind.TABLE),
            ready.eq(Mux(load, self.read_valid, Mux(store, room != 0, 1))),
            free.eq(~request.valid | request.ready),
            given_up.eq(active & token_valid & ((token.count == 0) | self.stopped)),
            access.eq(active & token_valid & ~given_up & ready & free & self.asked_space),
            final.eq(token.count == 1),
            ends.eq(access & final & token.last),
            self.end_now.eq(given_up & token.last & self.asked_none),
            done.eq((access & final) | Mux(token.last, self.end_now, given_up)),
            self.read_take.eq(access & load),
            self.asked_put.eq(access),
            self.asked.kind.eq(token.kind),
            self.asked.poison.eq(load & self.read_error),
            self.asked.end.eq(ends),
            self.close_put.eq(ends),
            self.close.tag.eq(tag),
            self.close.listed.eq(listed),
            self.close.number.eq(number),
            self.close.code.eq(token.code),
            self.close.mark.eq(token.mark),
        ]

        finished = Signal()  # the descriptor
        m.d.comb += [
            finished.eq(ends | self.end_now),
            self.token_take.eq(self.token_valid & (~token_valid | done)),
            self.move_take.eq(self.move_valid & (~active | finished)),
            places.start.eq(self.move_take),
            places.move.eq(self.move),
            places.step.eq(access & ~table),
        ]
        with m.If(self.token_take):
            m.d.sync += [token.eq(self.token), token_valid.eq(1)]
        with m.Elif(done):
            m.d.sync += token_valid.eq(0)
        with m.Elif(access):
            m.d.sync += [token.count.eq(token.count - 1), token.address.eq(token.address + 1)]
        with m.If(self.move_take):
            m.d.sync += [
                active.eq(1),
                tag.eq(self.move.tag),
                listed.eq(self.move.listed),
                number.eq(self.move.number),
                word.eq(self.move.word),
            ]
        with m.Elif(finished):
            m.d.sync += active.eq(0)

        m.d.sync += room.eq(room - (access & store) + self.left)
        pattern = word.replicate(max(1, config.data_bits // 32))
        with m.If(access):
            m.d.sync += [
                request.valid.eq(1),
                request.p.write.eq(~store & ~table),
                request.p.address.eq(Mux(table, token.address, places.address)),
                request.p.data.eq(Mux(load, self.read, pattern)),
                request.p.mask.eq(Mux(store | table, 0, -1)),
                request.p.poison.eq(load & self.read_error),
            ]
        with m.Elif(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(self.clear):
            m.d.sync += [request.valid.eq(0), room.eq(config.write_room)]
        return m

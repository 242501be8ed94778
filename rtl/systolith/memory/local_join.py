"""Several users of one scratchpad port."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ports import LocalPort

__all__ = ["LocalJoin"]


class LocalJoin(Block):
    """Takes a request a clock, from the users in turn; answers go back to who asked, in no time.

    Each user's requests are carried out in its order. A user that always asks has its turn after
    one request of each of the others at the latest.

    Parameters
    ----------
    local : LocalPort
        The ports.
    number : int
        Users, at least 2.
    depth : int
        Requests that can wait for their answer, a power of two: from one more than the clocks
        from a request to its response on there is a request in every clock.

    Members
    -------
    user0, ... : In(LocalPort)
        Users.
    local : Out(LocalPort)
        To the scratchpad.
    """

    local: wiring.Signature

    def __init__(self, local: LocalPort, *, number: int = 2, depth: int = 16) -> None:
        if number < 2:
            raise ValueError(f"number must be at least 2, not {number!r}")
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, at least 2, not {depth!r}")
        self.number, self.depth = number, depth
        self.sizes = f"{local.bytes}x{local.address_bits}"
        port = wiring.Signature(local.members)
        super().__init__({**{f"user{n}": In(port) for n in range(number)}, "local": Out(port)})

    @property
    def module_name(self) -> str:
        return f"local_join_{self.sizes}_n{self.number}_d{self.depth}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number, request, response = self.number, self.local.request, self.local.response
        users: list[Any] = [getattr(self, f"user{n}") for n in range(number)]
        asked = Fifo(depth=self.depth, width=bits_for(number - 1))
        m.submodules.asked = place(asked, platform)

        # Who comes next behind the one before; an offer that waits stays.
        before, held = Signal(range(number)), Signal()
        fresh, turn = Signal(range(number)), Signal(range(number))
        with m.Switch(before):
            for n in range(number):
                with m.Case(n):
                    for k in reversed(range(n + 1, n + 1 + number)):
                        with m.If(users[k % number].request.valid):
                            m.d.comb += fresh.eq(k % number)
        m.d.comb += [
            turn.eq(Mux(held, before, fresh)),
            request.valid.eq(asked.space & Cat(user.request.valid for user in users).any()),
            asked.put.eq(request.valid & request.ready),
            asked.entry.eq(turn),
            asked.take.eq(response.valid),
        ]
        m.d.sync += held.eq(request.valid & ~request.ready)
        with m.If(request.valid):
            m.d.sync += before.eq(turn)
        with m.Switch(turn):
            for n, user in enumerate(users):
                with m.Case(n):
                    m.d.comb += [
                        request.payload.eq(user.request.payload),
                        user.request.ready.eq(request.ready & asked.space),
                    ]
        for n, user in enumerate(users):
            m.d.comb += [
                user.response.eq(response),
                user.response.valid.eq(response.valid & (asked.head == n)),
            ]
        return m

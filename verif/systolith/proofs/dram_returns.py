"""Read data of a port: one response for each read, in order, lost if its beat did not come."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Elaboratable, Module, Signal, Value
from amaranth.lib import data

from systolith.memory.hbm import data_path
from systolith.memory.hbm.column_sequencer import access_layout
from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["responses_in_order"]


class _Responses(Elaboratable):
    """Every access and every beat is free; what was read is remembered in a row of registers."""

    def __init__(self, config: ControllerConfig, most: int) -> None:
        self.config, self.most = config, most

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        path: Any = data_path.DataPath(config, merging=False)
        m.submodules.path = path
        latency = free(m, len(path.latency), "latency", constant=True)
        access = data.View(access_layout(config), free(m, access_layout(config).size, "access"))
        back = data.View(path.back.shape(), free(m, path.back.shape().size, "back"))
        m.d.comb += [
            Assume((latency != 0) & (latency <= self.most)),
            path.access.eq(access),
            path.back.eq(back),
            path.latency.eq(latency),
        ]

        # What the read was, by the clocks since: the data comes after LEAD + latency of them.
        word: Value = Cat(access.stream, access.last, access.valid & ~access.write)
        past = []
        for n in range(LEAD + self.most):
            old = Signal(word.shape(), name=f"past_{n}")
            m.d.sync += old.eq(word)
            word = old
            past.append(old)
        due, told = Signal(len(word)), Signal(len(word))
        beat, came = Signal.like(back.data, name="beat"), Signal()
        m.d.comb += due.eq(Array(past)[latency + LEAD - 1])
        m.d.sync += [told.eq(due), beat.eq(back.data), came.eq(back.valid)]
        response = path.response
        reads = told[-1]
        m.d.comb += [
            Assert(response.valid == reads),
            Assert(~reads | (Cat(response.stream, response.last) == told[:-1])),
            Assert(~reads | (response.lost == ~came)),
            Assert(~reads | ~came | (response.data == beat)),
            Assert(path.lost == (reads & ~came)),
            Assert(path.extra == (came & ~reads)),
            Cover(response.valid & ~response.lost & (latency == self.most)),
            Cover(response.valid & response.lost & (latency == 1)),
        ]
        return m


def responses_in_order(
    config: ControllerConfig, mutants: Iterable[Mutant] = (), *, most: int = 3
) -> str:
    """Latencies from 1 to ``most``; without a codec and without writes in part."""
    with installed(mutants):
        return to_rtlil(_Responses(config, most))

"""Atoms on their way to a controller and back: rings that one or two of them enter or leave."""

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram

__all__ = ["ReadStore", "WriteStore"]


class _Store(Block):
    """Words ``0, 1, 2, ...`` in as many banks as can move in one clock, in turn."""

    def __init__(self, members: dict[str, wiring.Member], *, depth: int, width: int, ports: int):
        self.depth, self.width, self.ports = depth, width, ports
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"{type(self).__name__.lower()}_{self.depth}x{self.width}_p{self.ports}"

    def banks(self, m: Module, platform: object) -> list[Sram]:
        banks = [Sram(depth=self.depth // self.ports, width=self.width) for _ in range(self.ports)]
        for n, bank in enumerate(banks):
            m.submodules[f"bank_{n}"] = place(bank, platform)
        return banks

    @property
    def number(self) -> range:
        """Of words: twice the depth, so that full and empty differ."""
        return range(2 * self.depth)

    def bank_of(self, number: Value) -> Value:
        return number[: ceil_log2(self.ports)]

    def word_of(self, number: Value) -> Value:
        return number[ceil_log2(self.ports) : ceil_log2(self.depth)]

    def ahead(self, m: Module, start: Value, moves: Value, name: str) -> list[Signal]:
        """Number of the word that each port moves: the ports that move are first come, in order."""
        numbers = []
        for p in range(self.ports):
            at = Signal(self.number, name=f"{name}_{p}")
            m.d.comb += at.eq(start + sum(moves[:p]))
            numbers.append(at)
        return numbers


class ReadStore(_Store):
    """Ring with up to ``ports`` words in and one out per clock. Who puts keeps account of room.

    A word can be taken two clocks after it was put.

    Parameters
    ----------
    depth, width, ports : int
        Words, a power of two; bits of a word; words that can come in a clock: 1 or 2.

    Members
    -------
    put, word0, ... : In(ports), In(width)
        Words that come, that of port 0 first.
    out : Out(stream)
        Words in order.
    """

    put: Signal
    out: stream.Interface

    def __init__(self, *, depth: int, width: int, ports: int) -> None:
        members = {
            "put": In(ports),
            **{f"word{p}": In(width) for p in range(ports)},
            "out": Out(stream.Signature(width)),
        }
        super().__init__(members, depth=depth, width=width, ports=ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = self.banks(m, platform)
        tail, head, shown = (Signal(self.number, name=n) for n in ("tail", "head", "shown"))
        numbers = self.ahead(m, tail, self.put, "number")
        m.d.sync += tail.eq(tail + sum(self.put))
        for b, bank in enumerate(banks):
            for p in range(self.ports):
                with m.If(self.put[p] & (self.bank_of(numbers[p]) == b)):
                    m.d.comb += [
                        bank.w_en.eq(1),
                        bank.w_addr.eq(self.word_of(numbers[p])),
                        bank.w_data.eq(getattr(self, f"word{p}")),
                    ]

        # The memory itself is the output register: it reads what is shown again while that waits.
        take, at = Signal(), Signal(self.number)
        m.d.comb += [
            take.eq((head != tail) & (~self.out.valid | self.out.ready)),
            at.eq(Mux(take, head, shown)),
            self.out.payload.eq(Array(bank.r_data for bank in banks)[self.bank_of(shown)]),
            *(bank.r_addr.eq(self.word_of(at)) for bank in banks),
        ]
        m.d.sync += shown.eq(at)
        with m.If(take):
            m.d.sync += [head.eq(head + 1), self.out.valid.eq(1)]
        with m.Elif(self.out.ready):
            m.d.sync += self.out.valid.eq(0)
        return m


class WriteStore(_Store):
    """Ring with one word in and up to ``ports`` out per clock. Who takes knows that they are there.

    A word can be taken in the clock after it was put.

    Parameters
    ----------
    depth, width, ports : int
        Words, a power of two; bits of a word; words that can leave in a clock: 1 or 2.

    Members
    -------
    put, word, space : In(1), In(width), Out(1)
        A word that comes; only while there is space.
    take, out0, ... : In(ports), Out(width)
        The next words leave, in the next clock, that of port 0 first.
    """

    put: Signal
    word: Signal
    space: Signal
    take: Signal

    def __init__(self, *, depth: int, width: int, ports: int) -> None:
        members = {
            "put": In(1),
            "word": In(width),
            "space": Out(1),
            "take": In(ports),
            **{f"out{p}": Out(width) for p in range(ports)},
        }
        super().__init__(members, depth=depth, width=width, ports=ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = self.banks(m, platform)
        tail, head = Signal(self.number), Signal(self.number)
        numbers = self.ahead(m, head, self.take, "number")
        m.d.comb += self.space.eq((tail ^ head) != self.depth)
        m.d.sync += [tail.eq(tail + self.put), head.eq(head + sum(self.take))]
        words = Array(bank.r_data for bank in banks)
        for b, bank in enumerate(banks):
            first = Signal(self.number, name=f"first_{b}")  # word of this bank from the head on
            m.d.comb += [
                first.eq(Mux(self.bank_of(head) == b, head, head + 1)),
                bank.w_en.eq(self.put & (self.bank_of(tail) == b)),
                bank.w_addr.eq(self.word_of(tail)),
                bank.w_data.eq(self.word),
                bank.r_addr.eq(self.word_of(first)),
            ]
        for p, number in enumerate(numbers):
            late = Signal(max(1, ceil_log2(self.ports)), name=f"bank_of_{p}")
            m.d.sync += late.eq(self.bank_of(number))
            m.d.comb += getattr(self, f"out{p}").eq(words[late])
        return m

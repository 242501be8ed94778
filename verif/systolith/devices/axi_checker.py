"""Watches an AXI4 subordinate: a rule that it breaks is told until the next reset."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.axi.signature import Axi4, AxiConfig, pins

__all__ = ["RULES", "AxiChecker"]

_EARLY = 8  # beats of data ahead of their burst

RULES = (
    "B is held until it is taken",
    "R is held until it is taken",
    "B answers a burst whose address and data were taken",
    "B has the ID of the oldest burst",
    "R answers a burst that was asked for",
    "R has the ID of the oldest burst",
    "R is last with the last beat and no other",
    "no more bursts are taken than can be under way",
    "no more data are taken than can wait for their burst",
    "B of a burst that is alone comes once the memory has done its writes",
)
"""What is checked. That answers are in order, whatever their IDs, is this subordinate's rule."""


class AxiChecker(Block):
    """Counts and compares every transfer on the bus.

    Data of a burst end with the beat that is marked last, or as many as were announced, whichever
    comes first. Some beats may be taken before their burst.

    Parameters
    ----------
    config : AxiConfig
        Of the bus.

    Members
    -------
    m_axi_awvalid, ... : In
        All signals of the bus.
    undone : In(1)
        Writes were asked for that the memory has not done; 0 if that is not known.
    wrong : Out(rules)
        A bit for each of :data:`RULES`, from the cycle in which it is broken on.
    waits_w, waits_b, waits_r : Out
        Bursts of which data are taken; that wait for their answer; that are read.
    """

    undone: Signal
    wrong: Signal
    waits_w: Signal
    waits_b: Signal
    waits_r: Signal

    def __init__(self, config: AxiConfig) -> None:
        self.config, self.size = config, 2 * config.outstanding + 8
        most = range(self.size + 1)
        signature = Axi4(config)
        super().__init__(
            {
                **{f"m_axi_{n}": In(m.shape) for n, m in signature.members.items()},
                "undone": In(1),
                "wrong": Out(len(RULES)),
                "waits_w": Out(most),
                "waits_b": Out(most),
                "waits_r": Out(most),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus: Any = pins(self, "m_axi", Axi4(self.config))
        aw, w, b, ar, r = (
            getattr(bus, f"{n}valid") & getattr(bus, f"{n}ready")
            for n in ("aw", "w", "b", "ar", "r")
        )
        wrong: dict[int, Any] = {}

        # Beats of data wait for their burst, one clock at least.
        early, first, behind = Signal(_EARLY), Signal(range(_EARLY)), Signal(range(_EARLY))
        waiting = Signal(range(_EARLY + 1))
        marked_w = early.bit_select(first, 1)
        with m.If(w):
            m.d.sync += [early.bit_select(behind, 1).eq(bus.wlast), behind.eq(behind + 1)]
        comes, w = w, (waiting != 0) & (self.waits_w != 0)
        m.d.sync += waiting.eq(waiting + comes - w)
        with m.If(w):
            m.d.sync += first.eq(first + 1)
        for n, (name, fields) in enumerate(
            {"b": ("id", "resp"), "r": ("id", "data", "resp", "last")}.items()
        ):
            payload = Cat(getattr(bus, f"{name}{field}") for field in fields)
            valid, ready = getattr(bus, f"{name}valid"), getattr(bus, f"{name}ready")
            waited, before = Signal(name=f"{name}_waited"), Signal(len(payload), name=f"{name}_was")
            m.d.sync += [waited.eq(valid & ~ready), before.eq(payload)]
            wrong[n] = waited & (~valid | (payload != before))

        # Bursts in order: of those read, those whose data come, those that wait for an answer.
        size, id_bits = self.size, self.config.id_bits
        ids: dict[str, Any] = {}
        lens: dict[str, Any] = {}
        for name, comes, goes, count in (
            ("r", ar, r & bus.rlast, self.waits_r),
            ("b", aw, b, self.waits_b),
        ):
            kept = Array(Signal(id_bits, name=f"{name}_id_{n}") for n in range(size))
            head, tail = (Signal(range(size), name=f"{name}_{e}") for e in ("head", "tail"))
            with m.If(comes):
                m.d.sync += [
                    kept[tail].eq(bus.arid if name == "r" else bus.awid),
                    tail.eq(Mux(tail == size - 1, 0, tail + 1)),
                ]
            with m.If(goes):
                m.d.sync += head.eq(Mux(head == size - 1, 0, head + 1))
            m.d.sync += count.eq(count + comes - goes)
            ids[name] = kept[head]
        for name, comes, beat, announced, marked in (
            ("r", ar, r, bus.arlen, bus.rlast),
            ("w", aw, w, bus.awlen, marked_w),
        ):
            kept = Array(Signal(8, name=f"{name}_len_{n}") for n in range(size))
            head, tail = (Signal(range(size), name=f"{name}_len_{e}") for e in ("head", "tail"))
            count = Signal(8, name=f"{name}_count")
            ends = marked if name == "r" else marked | (count == kept[head])
            with m.If(comes):
                m.d.sync += [
                    kept[tail].eq(announced),
                    tail.eq(Mux(tail == size - 1, 0, tail + 1)),
                ]
            with m.If(beat):
                m.d.sync += count.eq(Mux(ends, 0, count + 1))
                with m.If(ends):
                    m.d.sync += head.eq(Mux(head == size - 1, 0, head + 1))
            lens[name] = (count, kept[head], beat & ends)
        m.d.sync += self.waits_w.eq(self.waits_w + aw - lens["w"][2])

        count, length, _ = lens["r"]
        wrong |= {
            2: bus.bvalid & (self.waits_b <= self.waits_w),
            3: bus.bvalid & (self.waits_b != 0) & (bus.bid != ids["b"]),
            4: bus.rvalid & (self.waits_r == 0),
            5: bus.rvalid & (self.waits_r != 0) & (bus.rid != ids["r"]),
            6: bus.rvalid & (self.waits_r != 0) & (bus.rlast != (count == length)),
            7: (self.waits_b > size - 2) | (self.waits_r > size - 2),
            8: waiting == _EARLY,
            9: bus.bvalid & (self.waits_b == 1) & self.undone,
        }
        kept_wrong = Signal(len(RULES))
        m.d.comb += self.wrong.eq(kept_wrong | Cat(wrong[n] for n in range(len(RULES))))
        m.d.sync += kept_wrong.eq(self.wrong)
        return m

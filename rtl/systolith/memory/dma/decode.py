"""What can be told of a descriptor from its own fields."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.dma.codes import DmaCode, DmaOp
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import RECORD

__all__ = ["Decode"]


def _any(bits: list[Value]) -> Value:
    return Cat(bits).any()


class Decode(Block):
    """Kind of a descriptor, and the checks that need no region: combinational.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    record : In(RECORD)
        The descriptor.
    code : Out
        ``BAD_OP``, ``RESERVED``, ``ZERO_COUNT``, ``BAD_REGION`` (there is none of that number), or
        ``OK``.
    memory, local, paged : Out(1)
        Its operation uses large memory, the scratchpad, a page table.
    out : Out(1)
        It moves from the scratchpad to large memory.
    """

    record: data.View
    code: Signal
    memory: Signal
    local: Signal
    paged: Signal
    out: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "record": In(RECORD),
                "code": Out(config.code_bits),
                "memory": Out(1),
                "local": Out(1),
                "paged": Out(1),
                "out": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_decode"

    @property
    def clocked(self) -> bool:
        return False

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, record = self.config, self.record
        op = record.op
        known = Signal()
        m.d.comb += [
            known.eq((op != 0) & (op <= max(DmaOp))),
            self.local.eq(known & (op != DmaOp.FENCE)),
            self.memory.eq(self.local & (op != DmaOp.FILL)),
            self.paged.eq((op == DmaOp.GATHER) | (op == DmaOp.APPEND)),
            self.out.eq((op == DmaOp.STORE) | (op == DmaOp.APPEND)),
        ]
        counts = [record.count[n] for n in range(3)]
        large = [
            *(count[config.count_bits :].any() for count in counts),
            record.memory_offset[config.atom_bits :].any(),
            record.local_offset[config.local_bits :].any(),
            record.table_offset[config.space_bits :].any(),
            *(
                _no_sign(strides[n], bits)
                for strides, bits in (
                    (record.memory_stride, config.atom_bits),
                    (record.local_stride, config.local_bits),
                )
                for n in range(3)
            ),
        ]
        paged = [
            record.page_log2 > config.page_bits,
            record.first[config.token_bits :].any(),
            counts[2] != 1,
        ]
        reserved, zero, region = Signal(), Signal(), Signal()
        m.d.comb += [
            reserved.eq(
                record.reserved.any() | (self.local & _any(large)) | (self.paged & _any(paged))
            ),
            zero.eq(self.local & _any([count == 0 for count in counts])),
            region.eq(
                (self.memory & (record.memory_region >= config.regions))
                | (self.local & (record.local_region >= config.regions))
                | (self.paged & (record.table_region >= config.regions))
            ),
            self.code.eq(
                Mux(
                    ~known,
                    DmaCode.BAD_OP,
                    Mux(
                        reserved,
                        DmaCode.RESERVED,
                        Mux(zero, DmaCode.ZERO_COUNT, Mux(region, DmaCode.BAD_REGION, 0)),
                    ),
                )
            ),
        ]
        return m


def _no_sign(value: Value, bits: int) -> Value:
    """Whether a number of 32 bits is beyond the range of ``bits`` bits and a sign."""
    return ~((value[bits:] == 0) | value[bits:].all())

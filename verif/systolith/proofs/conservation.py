"""P6 conservation: every job gives exactly the commands that its sizes ask for."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.utils import bits_for

from systolith.array import sequencer as sequencer_module
from systolith.array.config import ArrayConfig, EngineConfig, MemoryConfig
from systolith.array.sequencer import job_layout
from systolith.proofs.fabric import late
from systolith.proofs.reservations import (
    job_cycles,
    job_rows,
    job_tiles,
    longest_job,
    sound,
)
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["conservation", "conservation_config"]


def conservation_config(*, band: int, tiles: int, max_m: int) -> EngineConfig:
    """One sequencer of 2 x 2 bands of side ``band``, up to ``tiles`` tiles of ``max_m`` rows."""
    return EngineConfig(
        name="conservation",
        array=ArrayConfig(rows=2 * band, cols=2 * band, row_bands=2, col_bands=2, tile=1),
        memory=MemoryConfig(x_depth=max_m, w_depth=band * tiles, y_depth=max_m, latency=1),
    )


class _Counted(Elaboratable):
    """A sequencer under free jobs, and counters of its commands.

    The counters belong to the job whose commands pass at that place of the pipeline: they start
    anew as many cycles after the load as the commands are late, and are compared when the job's
    last cycle arrives there.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        band_rows = config.array.band_rows
        m.submodules.dut = dut = sequencer_module.Sequencer(config)
        job = dut.job
        m.d.comb += [
            dut.load.eq(free(m, 1, "load")),
            job.eq(free(m, job_layout(config).size, "job")),
        ]

        # The environment: a load only when idle or in the last cycle, with fields that agree.
        left = Signal(bits_for(longest_job(config)))
        tiles = job_tiles(job)
        with m.If(dut.load):
            m.d.sync += left.eq(job_cycles(job, band_rows))
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [
            Assume(~dut.load | (left <= 1)),
            Assume(sound(config, job)),
        ]

        lead = 1 + config.array.weight_lead
        rows = job_rows(job) * tiles
        last = left == 1
        results = Mux(job.bottom, rows, 0)
        weights, acts, y = dut.weights, dut.rows, dut.y
        wanted: list[tuple[str, int, Value, Value]] = [
            ("weight_rows", 1, weights.valid, tiles * band_rows),
            ("weight_tiles", 1, weights.valid & weights.first, tiles),
            ("rows", lead, acts.valid, rows),
            ("swaps", lead, acts.swap, tiles),
            ("results", lead + config.acc_delay, y.valid, results),
            ("lasts", lead + config.acc_delay, y.valid & y.last, results != 0),
        ]
        for name, delay, event, count in wanted:
            self._count(m, name, delay, event, Cat(dut.load, last, count))
        m.d.comb += Assert(~acts.swap | acts.valid)
        return m

    def _count(self, m: Module, name: str, delay: int, event: Value, command: Value) -> None:
        """Compare the number of ``event`` per job, ``delay`` cycles behind the loop's cycle."""
        width = bits_for(longest_job(self.config))
        # A job that is loaded now has its first cycle in the next one.
        arriving = late(m, command, delay, name)
        begins = late(m, arriving[0], 1, f"{name}_begins")
        target, count = Signal(width, name=f"{name}_target"), Signal(width, name=f"{name}_count")
        seen = Signal(width + 1, name=f"{name}_seen")
        with m.If(arriving[0]):
            m.d.sync += target.eq(arriving[2:])
        m.d.comb += seen.eq(Mux(begins, 0, count) + event)
        m.d.sync += count.eq(seen)
        ended = arriving[1]
        m.d.comb += [
            Assert(seen <= target),
            Assert(~ended | (seen == target)),
            # Two jobs without a cycle between them, the first one with something to count.
            Cover(ended & arriving[0] & (seen != 0)),
        ]


def conservation(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """P6: per job r weight rows and one swap a tile, M rows a tile, M results a tile, one last."""
    with installed(mutants):
        return to_rtlil(_Counted(config))

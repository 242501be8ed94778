"""Result bits never depend on how the array is split."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal, signed
from block_cases import EVERY, block_config, block_operands, usable_splits

from systolith.array.config import EngineConfig
from systolith.benches.gemms import GemmProgram
from systolith.benches.play import build_engine
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm
from systolith.harness.formal import prove
from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.block_mac import BlockMac, partial_layout
from systolith.numerics.element import ElementDecode
from systolith.numerics.pairs import PAIRS, Pair, pair
from systolith.proofs.substitute import free, to_rtlil

ALL = block_config(EVERY, words=(512, 512, 64))
STACKED = block_config(  # groups of 8 to 64 rows: up to two blocks, four of NVFP4, in a K tile
    EVERY, rows=64, cols=2, row_bands=8, col_bands=1, words=(512, 512, 64)
)


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("config", "gemm"),
    [
        pytest.param(ALL, Gemm(m=3, n=7, k=75), id="lower than a block", marks=pytest.mark.slow),
        pytest.param(STACKED, Gemm(m=3, n=5, k=171), id="stacked", marks=pytest.mark.slow),
    ],
)
def test_every_pair_on_every_split(config: EngineConfig, gemm: Gemm, tmp_path: Path) -> None:
    """One GEMM of every legal pair, with a short last block and used columns, on the Verilog."""
    rng = np.random.default_rng(17)
    program = GemmProgram(config, pad=0x7F)
    for formats in PAIRS:
        operands = block_operands(rng, formats, gemm)
        for split in usable_splits(config, formats):
            program.add(GemmPlan(config=config, gemm=gemm, split=split, pair=formats), *operands)
    engine = build_engine(config, cache=tmp_path)
    results = program.evaluate(engine.play(program.program).transfers)
    digests = defaultdict(set)
    for result in results:
        assert result.plan.pair is not None
        digests[result.plan.pair.name].add(result.digest)
    assert len(digests) == len(PAIRS)
    assert {name: len(found) for name, found in digests.items() if len(found) > 1} == {}
    assert sum(result.mismatches for result in results) == 0
    assert [r.plan.gemm for r in results if r.cycles != r.cycles_model] == []


class TwoSplits(Elaboratable):
    """Four rows of any legal codes: fused, and as two passes of two rows through an accumulator."""

    def __init__(self, formats: Pair, *, sums: bool = True, fault: bool = False) -> None:
        self.config = BlockMacConfig(pairs=(formats,), rows=4)
        self.sums = sums
        self.fault = fault

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = partial_layout(config)
        cells: dict[str, list[BlockMac]] = {"fused": [], "upper": [], "lower": []}
        used = Signal(range(5))
        m.d.comb += used.eq(free(m, 3, "used"))
        m.d.comb += Assume(used <= 4)
        for k in range(4):
            decoders = {}
            for side in ("x", "w"):
                decode = ElementDecode(getattr(config, side))
                m.submodules[f"{side}_{k}"] = decode
                m.d.comb += decode.code.eq(free(m, len(decode.code), f"{side}_code_{k}"))
                if side == "x":
                    m.d.comb += decode.used.eq(used > k)
                decoders[side] = decode
            for name in ("fused", "upper" if k < 2 else "lower"):
                cell = BlockMac(config)
                m.submodules[f"{name}_{k}"] = cell
                above = cells[name][-1].s if cells[name] else None
                m.d.comb += [cell.x.eq(decoders["x"].element), cell.w.eq(decoders["w"].element)]
                m.d.comb += cell.n.eq(above if above is not None else 0)
                cells[name].append(cell)
        fused, upper, lower = (cells[name][-1].s for name in ("fused", "upper", "lower"))
        total = Signal(signed(config.accumulator_bits))
        m.d.comb += total.eq(upper.sum + lower.sum)
        if self.fault:  # the second pass overwrites where it should add
            m.d.comb += total.eq(Mux(used > 3, lower.sum, upper.sum + lower.sum))
        if self.sums:
            m.d.comb += Assert(total == fused.sum)
        for flag in ("nan", "plus", "minus"):
            if layout[flag].width:
                m.d.comb += Assert((upper[flag] | lower[flag]) == fused[flag])
        return m


@pytest.mark.formal
@pytest.mark.parametrize(
    ("x", "w", "sums"),
    [
        ("e2m1", "e2m1", True),
        ("nvfp4", "nvfp4", True),
        ("e2m3", "e2m3", True),
        ("e5m2", "e4m3", False),  # wide sums take the solver too long; these have all flags
    ],
)
def test_exact_sums_are_the_same_proved(x: str, w: str, sums: bool, tmp_path: Path) -> None:
    """For all codes and any number of rows in use, with their flags; stage B sees nothing else."""
    bench = TwoSplits(pair(x, w), sums=sums)
    result = prove(to_rtlil(bench), "top", work_dir=tmp_path, mode="prove", depth=1)
    assert result, result.message


@pytest.mark.formal
def test_the_proof_finds_a_lost_pass(tmp_path: Path) -> None:
    bench = TwoSplits(pair("e2m1", "e2m1"), fault=True)
    assert not prove(to_rtlil(bench), "top", work_dir=tmp_path, mode="prove", depth=1)

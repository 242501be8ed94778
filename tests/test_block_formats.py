"""Block formats: placement on the golden engine, against the product; what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from block_cases import MODEL, TALL, Operands, bits, block_operands, usable_splits
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.benches.placing import operand_writes
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split
from systolith.config.presets import tiny
from systolith.golden.engine import EngineModel
from systolith.golden.gemm import product
from systolith.golden.numerics import Segment, matmul, matmul_segments
from systolith.numerics.pairs import PAIRS, Pair, pair
from systolith.perf.cycles import BandClock


def _run(model: EngineModel, plan: GemmPlan, operands: Operands) -> NDArray[Any]:
    """``plan`` on the golden engine, through nothing but its ports."""
    for stream, payloads in operand_writes(plan, *operands, pad=0x7F).items():
        for payload in payloads:
            model.write(stream, payload)
    for command in plan.commands():
        assert model.run(command) is Code.OK
    words = []
    for request in plan.y_requests():
        assert model.meaningful(request).all()
        words.append(int.from_bytes(model.read(request).astype("<u4").tobytes(), "little"))
    return plan.y_gather(words)


def _dirty(config: EngineConfig) -> EngineModel:
    """A golden engine whose memories hold what nobody wrote on purpose."""
    model = EngineModel(config)
    rng = np.random.default_rng(seed=99)
    for bank in (model.x, model.w, model.x_scale, model.w_scale, model.y, model.ys):
        bank.view(np.uint8)[...] = rng.integers(0, 256, bank.view(np.uint8).shape, dtype=np.uint8)
    return model


@pytest.mark.parametrize("formats", PAIRS, ids=lambda p: p.name)
def test_every_pair_under_every_split(formats: Pair) -> None:
    rng = np.random.default_rng(seed=1)
    gemm = Gemm(m=3, n=9, k=75)
    operands = block_operands(rng, formats, gemm)
    wanted = product(formats, *operands)
    for config in (MODEL, TALL):
        for split in usable_splits(config, formats):
            plan = GemmPlan(config=config, gemm=gemm, split=split, pair=formats)
            y = _run(_dirty(config), plan, operands)
            assert y.dtype == (np.float32 if formats.block else np.int32)
            assert bits(y) == bits(wanted), f"{config.array.rows} rows, split {split}"


@pytest.mark.parametrize("k", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97])
@pytest.mark.parametrize("names", [("e4m3", "e2m1"), ("mxint16", "e3m2"), ("nvfp4", "nvfp4")])
def test_short_blocks(names: tuple[str, str], k: int) -> None:
    rng = np.random.default_rng(seed=k)
    gemm = Gemm(m=2, n=5, k=k)
    formats = pair(*names)
    operands = block_operands(rng, formats, gemm)
    wanted = matmul(operands[0], operands[2], operands[1], operands[3], *names)
    for split in usable_splits(MODEL, formats):
        plan = GemmPlan(config=MODEL, gemm=gemm, split=split, pair=formats, x_base=5, w_base=6)
        assert bits(_run(_dirty(MODEL), plan, operands)) == bits(wanted)


def test_n_tiles_inside() -> None:
    rng = np.random.default_rng(seed=2)
    for names, split in ((("e4m3", "e4m3"), Split(row_groups=2)), (("nvfp4", "nvfp4"), None)):
        formats = pair(*names)
        split = split or Split(row_groups=4, col_groups=2)
        gemm = Gemm(m=4, n=19, k=101)
        operands = block_operands(rng, formats, gemm)
        seen = set()
        for n_inside in (None, False, True):
            plan = GemmPlan(
                config=TALL, gemm=gemm, split=split, pair=formats, n_inside=n_inside, y_base=7
            )
            seen.add(tuple(bits(_run(_dirty(TALL), plan, operands))))
        assert seen == {tuple(bits(product(formats, *operands)))}


def test_n_tiles_go_inside_where_stage_b_would_wait() -> None:
    formats = pair("e4m3", "e2m1")
    whole = Split(row_groups=2)  # 32 rows: a block is one tile

    def inner(gemm: Gemm, split: Split = whole, names: Pair = formats) -> bool:
        return GemmPlan(config=_slow, gemm=gemm, split=split, pair=names).n_inner

    _slow = replace(TALL, array=replace(TALL.array, row_bands=32, tile=1))
    assert _slow.loop_cycles > 2 * _slow.array.band_rows
    assert inner(Gemm(m=1, n=16, k=96))
    assert not inner(Gemm(m=1, n=8, k=96))  # one N tile in each group
    assert not inner(Gemm(m=1, n=16, k=32))  # one block
    assert not inner(Gemm(m=_slow.loop_cycles, n=16, k=96))  # enough rows
    assert not inner(Gemm(m=1, n=32, k=96), Split(row_groups=4))  # a block of two tiles
    assert not inner(Gemm(m=1, n=16, k=96), names=pair("mxint16", "e2m1"))  # two passes
    assert not inner(Gemm(m=1, n=16, k=96), Split(), pair("int8", "int8"))
    gemm = Gemm(m=1, n=64, k=320)
    fast, slow = (
        sum(
            span.cycles
            for span in BandClock(_slow).program(
                GemmPlan(
                    config=_slow, gemm=gemm, split=whole, pair=formats, n_inside=n_inside
                ).commands(),
                [0, 0],
            )
        )
        for n_inside in (None, False)
    )
    assert fast < slow


def test_a_k_segment_is_added_in_its_own_formats() -> None:
    rng = np.random.default_rng(seed=3)
    splits = [(c, s) for c in (MODEL, TALL) for s in usable_splits(c, pair("e4m3", "e4m3"))]
    for config, split in splits:
        model, segments = _dirty(config), []
        for n, (x_fmt, w_fmt, k) in enumerate(
            [("e4m3", "e2m1", 70), ("mxint16", "mxint8", 32), ("e5m2", "e3m2", 33)]
        ):
            gemm = Gemm(m=3, n=7, k=k)
            operands = block_operands(rng, pair(x_fmt, w_fmt), gemm)
            x, w, x_scales, w_scales = operands
            segments.append(Segment(x, x_scales, w, w_scales, x_fmt, w_fmt))
            plan = GemmPlan(
                config=config, gemm=gemm, split=split, pair=pair(x_fmt, w_fmt), accumulate=n > 0
            )
            y = _run(model, plan, operands)
        assert bits(y) == bits(matmul_segments(segments))


def test_both_memories_of_results_live_side_by_side() -> None:
    rng = np.random.default_rng(seed=4)
    model = _dirty(MODEL)
    gemm = Gemm(m=2, n=4, k=40)
    runs = []
    for names, base in ((("e4m3", "e4m3"), 0), (("int8", "int4"), 0), (("int4", "int4"), 2)):
        plan = GemmPlan(config=MODEL, gemm=gemm, split=Split(), pair=pair(*names), y_base=base)
        operands = block_operands(rng, pair(*names), gemm)
        runs.append((plan, product(plan.pair, *operands)))
        _run(model, plan, operands)
    for plan, wanted in runs:
        words = [
            int.from_bytes(model.read(request).astype("<u4").tobytes(), "little")
            for request in plan.y_requests()
        ]
        assert bits(plan.y_gather(words)) == bits(wanted)
    # The exact sums of blocks are formed where plain integers have theirs.
    model.run(runs[0][0].commands()[0])
    requests = runs[1][0].y_requests()
    assert not any(model.meaningful(request).any() for request in requests)
    with pytest.raises(ValueError, match=r"row_mask must have one bit .* not 0x3"):
        model.read({**requests[0], "scaled": 1, "row_mask": 3})


# Refusals -----------------------------------------------------------------------------------


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"pair": None}, r"pair must be one of int8xint8, .* on blocks, not None"),
    ({"config": tiny}, r"pair must be None on tiny, whose array has no formats, not e4m3xe2m1"),
    (
        {
            "config": replace(TALL, array=replace(TALL.array, row_bands=2)),
            "pair": pair("nvfp4", "nvfp4"),
        },
        r"array\.row_bands must be 4 or more for nvfp4xnvfp4, not 2: a band of 32 rows is taller",
    ),
    ({"share": "k", "gemm": Gemm(m=1, n=1, k=64)}, r"share must be n for e4m3xe2m1"),
    (
        {"split": Split(row_groups=4), "n_inside": True},
        r"n_inside must not be set for e4m3xe2m1 .* 2 tiles of 16 rows and 1 passes each",
    ),
    (
        {"pair": pair("mxint16", "e4m3"), "n_inside": True},
        r"1 tiles of 32 rows and 2 passes each",
    ),
    ({"w_base": 4}, r"w_base must be a multiple of 8 for e4m3xe2m1, not 4"),
    (
        {"pair": pair("int8", "int8"), "gemm": Gemm(m=1, n=1, k=131_072)},
        r"k must be at most 131071 for int8xint8, not 131072",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS, ids=lambda v: str(v)[:50])
def test_plans_that_are_refused(changes: dict[str, Any], message: str) -> None:
    plan: dict[str, Any] = {
        "config": TALL,
        "gemm": Gemm(m=1, n=1, k=1),
        "split": Split(row_groups=2),
        "pair": pair("e4m3", "e2m1"),
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        GemmPlan(**plan)


def test_operands_that_are_refused() -> None:
    gemm = Gemm(m=2, n=3, k=40)
    blocks = GemmPlan(config=MODEL, gemm=gemm, split=Split(), pair=pair("mxint16", "e2m1"))
    plain = GemmPlan(config=MODEL, gemm=gemm, split=Split(), pair=pair("int4", "int8"))
    x, w = np.zeros((2, 40), np.uint16), np.zeros((40, 3), np.uint8)
    for writes, message in (
        (lambda: blocks.x_writes(x.astype(np.uint8)), "x must be uint16 of shape .* not uint8"),
        (lambda: blocks.w_writes(w.astype(np.int8)), "w must be uint8 of shape .* not int8"),
        (lambda: blocks.w_writes(w + np.uint8(16)), "w must hold codes of e2m1, 0..15, .* not 16"),
        (lambda: blocks.x_scale_writes(w), r"x_scales must be uint8 of shape \(2, 2\), not uint8"),
        (lambda: blocks.w_scale_writes(w), r"w_scales must be uint8 of shape \(2, 3\), not uint8"),
        (lambda: plain.x_scale_writes(w), "x_scales must not be given for plain integers"),
        (
            lambda: plain.x_writes(np.full((2, 40), -9, np.int8)),
            "x must hold codes of int4, -8..7, one an item, not -9",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            list(writes())
    with pytest.raises(ValueError, match="x_scales must be given for blocks of 32 elements"):
        operand_writes(blocks, x, w, None, np.zeros((2, 3), np.uint8))


def test_codes_of_commands() -> None:
    model = EngineModel(TALL)
    formats = pair("e4m3", "e2m1")
    plan = GemmPlan(config=TALL, gemm=Gemm(m=1, n=1, k=1), split=Split(row_groups=2), pair=formats)
    good = plan.commands()[0]
    mac = TALL.array.mac
    assert mac is not None
    x = {form.name: n for n, form in enumerate(mac.x.formats)}
    w = {form.name: n for n, form in enumerate(mac.w.formats)}
    nvfp4 = {"x_form": x["nvfp4"], "w_form": w["nvfp4"]}
    for changes, code in (
        ({}, Code.OK),
        ({"n_inside": 1}, Code.OK),
        ({"x_form": x["int8"]}, Code.BAD_FORMAT),  # no pair
        ({"x_form": 15}, Code.BAD_FORMAT),  # no format
        ({"w_form": w["nvfp4"]}, Code.BAD_FORMAT),
        ({**nvfp4}, Code.OK),  # 32 rows, two blocks of 16
        ({**nvfp4, "n_inside": 1}, Code.OK),
        ({**nvfp4, "rows_log2": 1}, Code.OK),
        ({**nvfp4, "rows_log2": 0}, Code.OK),
        ({**nvfp4, "rows_log2": 0, "n_inside": 1}, Code.BAD_FORMAT),  # two tiles a block
        ({"rows_log2": 3}, Code.OK),  # 64 rows
        ({"rows_log2": 3, "n_inside": 1}, Code.OK),
        ({"rows_log2": 3, "x_form": x["mxint16"], "n_inside": 1}, Code.BAD_FORMAT),
        ({"rows_log2": 1, "n_inside": 1}, Code.BAD_FORMAT),
        ({"x_form": x["mxint16"], "n_inside": 1}, Code.BAD_FORMAT),  # two passes
        ({"x_form": x["mxint16"]}, Code.OK),
        ({"x_form": x["int4"], "w_form": w["int8"], "rows_log2": 3, "n_inside": 1}, Code.OK),
        # The order of the checks.
        ({"x_form": 15, "rows_log2": 4}, Code.BAD_GROUP),
        ({"x_form": 15, "m": 0}, Code.BAD_SHAPE),
        ({"x_form": 15, "x_base": 511, "m": 2}, Code.BAD_FORMAT),
        ({"x_base": 511, "m": 2, "w_base": 511}, Code.X_RANGE),
    ):
        before = model.ys.copy()
        assert model.check({**good, **changes}) is code, changes
        if code is not Code.OK:
            assert model.run({**good, **changes}) is code
            assert (model.ys == before).all()

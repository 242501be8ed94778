"""One GEMM on an engine behind a link."""

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.interface import decode, encode
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.tiling import Payload
from systolith.host.driver import EngineLink, LinkError

__all__ = ["run_gemm"]


def run_gemm(
    link: EngineLink,
    plan: GemmPlan,
    x: NDArray[Any],
    w: NDArray[Any],
    x_scales: NDArray[Any] | None = None,
    w_scales: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """``x @ w`` on the engine: write the operands, run the commands, read the result.

    The engine must be idle. With ``plan.accumulate`` the result has what was there added to it.

    Parameters
    ----------
    link
        To an engine of ``plan.config``.
    plan
        What runs and where it is placed.
    x, w
        Operands of shape [M, K] and [K, N]: int8, or codes of block formats as in
        :class:`GemmPlan`.
    x_scales, w_scales
        Scale codes of block formats, uint8 of shape [M, blocks] and [blocks, N]; none for plain
        integers.

    Returns
    -------
    NDArray[Any]
        Y, of shape [M, N]: int32, or float32 of block formats. Tensor scales (NVFP4) are left to
        the caller.

    Raises
    ------
    ValueError
        If an operand is not what ``plan`` says; nothing was sent then.
    LinkError
        If the board falls silent or the engine refuses a command.
    """
    config, commands, requests = plan.config, plan.commands(), plan.y_requests()
    streams = _writes(plan, x, w, x_scales, w_scales)
    # All payloads exist before the first one leaves: a wrong operand leaves the engine alone.
    frames = [
        (name, encode(name, config, payload))
        for name, payloads in (*streams.items(), ("command", commands))
        for payload in payloads
    ]
    for name, bits in frames:
        link.send(name, bits)
    for _ in commands:
        completion = decode("completion", config, link.receive("completion"))
        code = Code(completion["code"])
        if code is not Code.OK:
            raise LinkError(
                f"the engine refused command {completion['tag']} with {code.name}: {code.meaning}; "
                f"check that the bitstream was built for {config.name}"
            )
    for request in requests:
        link.send("y_request", encode("y_request", config, request))
    return plan.y_gather([link.receive("y_data") for _ in requests])


def _writes(
    plan: GemmPlan,
    x: NDArray[Any],
    w: NDArray[Any],
    x_scales: NDArray[Any] | None,
    w_scales: NDArray[Any] | None,
) -> dict[str, Iterable[Payload]]:
    """Payloads of the operands, by stream."""
    writes: dict[str, Iterable[Payload]] = {
        "x_write": plan.x_writes(x),
        "w_write": plan.w_writes(w),
    }
    for side, scales, place in (
        ("x", x_scales, plan.x_scale_writes),
        ("w", w_scales, plan.w_scale_writes),
    ):
        if scales is not None:
            writes[f"{side}_scale"] = place(scales)
        elif plan.block:
            raise ValueError(
                f"{side}_scales must be the scale codes of {plan.blocks} blocks along K, not None: "
                f"{plan.config.name} runs this GEMM in a block format"
            )
    if plan.block and plan.config.stochastic:
        writes["w_random"] = plan.w_random_writes()
    return writes

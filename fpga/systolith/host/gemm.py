"""One GEMM on an engine behind a link."""

import numpy as np
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.interface import decode, encode
from systolith.compiler.gemm import GemmPlan
from systolith.host.driver import EngineLink, LinkError

__all__ = ["run_gemm"]


def run_gemm(
    link: EngineLink, plan: GemmPlan, x: NDArray[np.int8], w: NDArray[np.int8]
) -> NDArray[np.int32]:
    """``x @ w`` on the engine: write both operands, run the commands, read the result.

    The engine must be idle.

    Parameters
    ----------
    link
        To an engine of ``plan.config``.
    plan
        What runs and where it is placed.
    x, w
        int8 of shape [M, K] and [K, N].

    Returns
    -------
    NDArray[np.int32]
        Y, of shape [M, N].

    Raises
    ------
    ValueError
        If an operand is not what ``plan`` says.
    LinkError
        If the board falls silent or the engine refuses a command.
    """
    config, commands, requests = plan.config, plan.commands(), plan.y_requests()
    for name, payloads in (
        ("x_write", plan.x_writes(x)),
        ("w_write", plan.w_writes(w)),
        ("command", commands),
    ):
        for payload in payloads:
            link.send(name, encode(name, config, payload))
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

"""What the stimulus player shall do, as a list of transactions."""

from collections.abc import Sequence
from dataclasses import dataclass

from systolith.devices.player import Op
from systolith.devices.streams import StreamPort

__all__ = ["Script", "Step", "encode"]

_WORD = 32  # bits of a count or a pattern


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a script.

    Parameters
    ----------
    op
        What to do.
    stream
        Name of the stream concerned, or empty.
    value
        Payload, count or pattern.
    """

    op: Op
    stream: str = ""
    value: int = 0

    def __str__(self) -> str:
        match self.op:
            case Op.SEND:
                return f"send {self.value:#x} to {self.stream!r}"
            case Op.WAIT:
                return f"wait for {self.value} transfers in all on {self.stream!r}"
            case Op.READY:
                return f"ready pattern {self.value:#010x} on {self.stream!r}"
            case Op.IDLE | Op.RESET:
                return f"{self.op.name.lower()} for {self.value} cycles"
            case _:
                return self.op.name.lower()


class Script:
    """Transactions in the order in which the player starts them, one at a time.

    An operation starts in the cycle after the one before it has ended, so that consecutive sends
    can be accepted in consecutive cycles, on one stream or on several. Every method returns the
    script.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def send(self, stream: str, payload: int) -> "Script":
        """Offer a payload until it is accepted: one cycle at least."""
        return self._add(Step(Op.SEND, stream, payload))

    def wait(self, stream: str, count: int) -> "Script":
        """Wait for ``count`` transfers on an output, counted from cycle 0; no cycle if they were.

        The next operation starts in the cycle after the last of these transfers.
        """
        return self._add(Step(Op.WAIT, stream, count))

    def idle(self, cycles: int) -> "Script":
        """Offer nothing for ``cycles`` cycles."""
        return self._add(Step(Op.IDLE, value=cycles))

    def reset(self, cycles: int) -> "Script":
        """Reset the design for ``cycles`` cycles; none of them logs a transfer."""
        return self._add(Step(Op.RESET, value=cycles))

    def ready(self, stream: str, pattern: int = 0xFFFF_FFFF) -> "Script":
        """Accept an output in cycle c only if bit c % 32 of ``pattern`` is set. Takes no cycle."""
        return self._add(Step(Op.READY, stream, pattern))

    def mark(self) -> "Script":
        """End a segment here: the time until the next mark is taken anew. Takes one cycle."""
        return self._add(Step(Op.MARK))

    def _add(self, step: Step) -> "Script":
        self.steps.append(step)
        return self


def encode(
    segments: Sequence[Script], inputs: Sequence[StreamPort], outputs: Sequence[StreamPort]
) -> tuple[str, list[Step]]:
    """Script file that plays several scripts, with a mark between them and an end.

    Returns
    -------
    tuple
        Text of the file, and the step that each of its lines stands for.

    Raises
    ------
    ValueError
        If there is no script, or a step does not fit the streams.
    """
    if not segments:
        raise ValueError("segments must hold at least one script")
    sources = {port.name: (index, port) for index, port in enumerate(inputs)}
    sinks = {port.name: (index, port) for index, port in enumerate(outputs)}
    steps: list[Step] = []
    for segment in segments:
        steps += [*segment.steps, Step(Op.MARK)]
    steps[-1] = Step(Op.END)
    lines = []
    for index, step in enumerate(steps):
        try:
            lines.append(_line(step, sources, sinks))
        except ValueError as error:
            raise ValueError(f"step {index} of the script: {error}") from None
    return "".join(lines), steps


def _line(
    step: Step,
    sources: dict[str, tuple[int, StreamPort]],
    sinks: dict[str, tuple[int, StreamPort]],
) -> str:
    index, width = 0, _WORD
    if step.op in (Op.SEND, Op.WAIT, Op.READY):
        known = sources if step.op is Op.SEND else sinks
        if step.stream not in known:
            kind = "an input" if step.op is Op.SEND else "an output"
            raise ValueError(
                f"stream must be {kind} ({', '.join(known) or 'there is none'}), "
                f"not {step.stream!r}"
            )
        index, port = known[step.stream]
        if step.op is Op.SEND:
            width = port.width
        if step.op is Op.READY and not port.has_ready:
            raise ValueError(f"stream {step.stream!r} has no ready and cannot be held up")
    if not 0 <= step.value < 1 << width:
        what = {Op.SEND: "payload", Op.WAIT: "count", Op.READY: "pattern"}.get(step.op, "cycles")
        raise ValueError(f"{what} must fit {width} unsigned bits, not {step.value!r} ({step})")
    return f"{step.op:d} {index} {step.value:x}\n"

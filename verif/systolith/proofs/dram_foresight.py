"""What the guard allowed some clocks ago, and what has become of that since."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["foreseen"]


def foreseen(m: Module, ok: Value, clocks: int, spoiled: Value, name: str) -> list[Value]:
    """``ok`` of this cycle and of each one before it, up to so many clocks ago.

    A bit is lost if it was ``spoiled`` in that cycle or in one since.
    """
    found: list[Value] = [ok]
    for n in range(clocks):
        register = Signal(len(ok), name=f"{name}_{n + 1}_ago")
        m.d.sync += register.eq(found[-1] & ~spoiled)
        found.append(register)
    return found

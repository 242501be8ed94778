"""What the guard allowed some clocks ago, and what has become of that since."""

from amaranth.hdl import Module, Signal, Value

from systolith.memory.hbm.config import ControllerConfig

__all__ = ["foreseen", "lasting"]


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


def lasting(m: Module, config: ControllerConfig, accessed: Value, name: str) -> Value:
    """Accesses that spoil an answer of this cycle: of the one before it too, if counted late."""
    if config.foresight < 2:
        return accessed
    old = Signal(len(accessed), name=f"{name}_just")
    m.d.sync += old.eq(accessed)
    return accessed | old

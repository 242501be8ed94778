"""Take the place of parts of a design while it is converted, for a proof or for a planted fault."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any
from unittest.mock import patch

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Instance, Module, Signal, Value

__all__ = ["Mutant", "free", "installed", "recorded", "to_rtlil"]


class Mutant:
    """A class or function of the RTL with one piece of its source replaced.

    Parameters
    ----------
    target : type or function
        The original. It stays as it is.
    old, new : str
        Source text that occurs exactly once in ``target``, and what takes its place.

    Raises
    ------
    ValueError
        If ``old`` does not occur exactly once: the fault would not be planted where it is meant.
    """

    def __init__(self, target: type | FunctionType, old: str, new: str) -> None:
        source = textwrap.dedent(inspect.getsource(target))
        if source.count(old) != 1:
            raise ValueError(
                f"old must occur once in {target.__qualname__}, not {source.count(old)} times: "
                f"{old!r}; copy it from the current source"
            )
        scope: dict[str, Any] = {}
        module = sys.modules[target.__module__]
        # The module's own globals, so that substitutes in them reach the mutant as well.
        exec(
            compile(source.replace(old, new), f"<mutant of {target.__qualname__}>", "exec"),
            vars(module),
            scope,
        )
        self.target = target
        self.replacement = scope[target.__name__]


@contextmanager
def installed(mutants: Iterable[Mutant]) -> Iterator[None]:
    """Use each mutant wherever a module of the RTL refers to its original."""
    with ExitStack() as stack:
        for mutant in mutants:
            name = mutant.target.__name__
            for module in list(sys.modules.values()):
                ours = getattr(module, "__name__", "").startswith("systolith.")
                if ours and vars(module).get(name) is mutant.target:
                    stack.enter_context(patch.object(module, name, mutant.replacement))
        yield


@contextmanager
def recorded(module: str, name: str, instances: list[Any]) -> Iterator[None]:
    """Append to ``instances`` each object that ``module`` makes by calling ``name``."""
    original: Callable[..., Any] = vars(sys.modules[module])[name]

    def make(*args: Any, **kwargs: Any) -> Any:
        instances.append(original(*args, **kwargs))
        return instances[-1]

    with patch.object(sys.modules[module], name, make):
        yield


def free(m: Module, width: int, name: str, *, constant: bool = False) -> Signal:
    """Signal that the solver chooses, anew in each cycle or once for the whole run."""
    value = Signal(width, name=name)
    kind = "$anyconst" if constant else "$anyseq"
    m.submodules[f"free_{name}"] = Instance(kind, p_WIDTH=width, o_Y=value)
    return value


class _Top(Elaboratable):
    """Clock of a proof. Runs begin in the initial state; there is no reset later on."""

    def __init__(self, design: Elaboratable) -> None:
        self.design = design
        self.sync = ClockDomain("sync", reset_less=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains += self.sync
        m.submodules.design = self.design
        return m


def to_rtlil(design: Elaboratable) -> str:
    """``design`` with its assertions, as the module ``top``."""
    top = _Top(design)
    clock: Value = top.sync.clk
    text: str = rtlil.convert(top, name="top", ports=[clock], emit_src=False)
    # Amaranth takes the solver's cells for modules of the user and escapes their names.
    return text.replace("cell \\$any", "cell $any")

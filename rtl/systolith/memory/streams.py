"""Several users on the streams of one controller."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import response_layout, write_layout

__all__ = ["RunPort", "Streams"]


class RunPort(wiring.Signature):
    """One stream of a controller, seen from who submits runs.

    A run is a promise, see :class:`~systolith.memory.hbm.controller.Controller`.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller.

    Members
    -------
    valid, ready, run : Out(1), In(1), Out(config.run)
        Runs.
    fetch : In(ports)
        Atoms that are wanted in ``write`` in the next clock, that of port 0 first.
    write0, ... : Out(write_layout)
        Those atoms.
    response0, ... : In(response_layout)
        Atoms that were read, that of port 0 first; ``stream`` is not told.
    done : In(ports)
        Runs whose last write is on its way.
    """

    def __init__(self, config: ControllerConfig) -> None:
        ports = range(config.ports)
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "run": Out(config.run),
                "fetch": In(config.ports),
                **{f"write{p}": Out(write_layout(config)) for p in ports},
                **{f"response{p}": In(response_layout(config)) for p in ports},
                "done": In(config.ports),
            }
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunPort) and self.members == other.members


class Streams(Block):
    """Joins users to the controller: user ``n`` is its stream ``n``; further streams are idle.

    Nothing is stored but whose atom was fetched.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller.
    number : int
        Users, at most ``config.streams``.

    Members
    -------
    user0, ... : In(RunPort)
        Users.
    run_valid, run_ready, run : Out(streams), In(streams), Out(array of config.run)
        To be wired to the ports of the controller with these names, as all below.
    fetch0, ..., response0, ..., done0, ... : In
        From the controller.
    write0, ... : Out(write_layout)
        To the controller.
    """

    run_valid: Signal
    run_ready: Signal
    run: data.View

    def __init__(self, config: ControllerConfig, number: int) -> None:
        if not 1 <= number <= config.streams:
            raise ValueError(f"number must be from 1 to {config.streams} streams, not {number!r}")
        self.config, self.number = config, number
        named = PackedStruct({"valid": 1, "stream": config.stream_bits})
        members = {
            **{f"user{n}": In(RunPort(config)) for n in range(number)},
            "run_valid": Out(config.streams),
            "run_ready": In(config.streams),
            "run": Out(PackedArray(config.run, config.streams)),
        }
        for p in range(config.ports):
            members |= {
                f"fetch{p}": In(named),
                f"write{p}": Out(write_layout(config)),
                f"response{p}": In(response_layout(config)),
                f"done{p}": In(named),
            }
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"streams_{self.number}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ports, users = range(self.config.ports), range(self.number)
        mine = [getattr(self, f"user{n}") for n in users]
        m.d.comb += self.run_valid.eq(Cat(user.valid for user in mine))
        for n, user in enumerate(mine):
            m.d.comb += [self.run[n].eq(user.run), user.ready.eq(self.run_ready[n])]
        for p in ports:
            fetch, done = getattr(self, f"fetch{p}"), getattr(self, f"done{p}")
            response, write = getattr(self, f"response{p}"), getattr(self, f"write{p}")
            owner = Signal(self.number, name=f"owner_{p}")
            chosen = Signal(write.shape().size, name=f"chosen_{p}")
            told = 0
            for n, user in enumerate(mine):
                answer = getattr(user, f"response{p}")
                m.d.comb += [
                    user.fetch[p].eq(fetch.valid & (fetch.stream == n)),
                    user.done[p].eq(done.valid & (done.stream == n)),
                    answer.eq(response),
                    answer.valid.eq(response.valid & (response.stream == n)),
                ]
                m.d.sync += owner[n].eq(user.fetch[p])
                word = getattr(user, f"write{p}").as_value()
                told |= word & owner[n].replicate(len(word))
            m.d.comb += [chosen.eq(told), write.eq(chosen)]
        return m

"""Manual page of an emitted memory controller."""

from typing import Any

from systolith.memory.axi.registers import markdown
from systolith.memory.system.config import MemorySystemConfig
from systolith.memory.system.registers import system_registers
from systolith.perf.memory.advice import look_ahead_advice
from systolith.perf.memory.latency import worst_latency

__all__ = ["memory_manual"]

_INTRO = """# {name}: memory controller for {timing}

{mib} MiB behind AXI4 ({data_bits} bits of data, {id_bits} of ID), {native} native ports,
registers behind AXI4-Lite. One clock (`clk`, rising edge) and one reset (`rst`, synchronous,
active high). {clock}

**Start.** After reset the controller brings the memory up, has the latency of read data
found{fill}; requests wait meanwhile. `start.up` tells that it is done, `start.failed` that no
read came back right.

**AXI4.** INCR and WRAP of every size, narrow and unaligned; FIXED, reserved bursts, beats wider
than the bus and bursts across 4 KB are answered SLVERR, addresses beyond {bytes} bytes DECERR;
nothing is read or written then. Responses are in order. B comes when every read that is sent from
then on, by anyone, sees the write. Exclusive accesses are carried out and answered OKAY. A beat
of an atom that was lost or is beyond correction is SLVERR.

**Native ports.** `port<n>__request` (write, atom, count), `port<n>__write` (data, mask, poison),
`port<n>__read` (data, error, last), each with valid and ready, and `port<n>__done`. An atom has
{atom} bytes. Between ports order comes from `done` and read data alone.

A request of no atoms, or of atoms beyond the last one, {last}, is refused as a whole: nothing is
read or written. It waits for the answers to all before it, and those behind it wait for its own. A
read gets `count` atoms of zeros with `error` (one if `count` is 0), the last one with `last`. Of a
write `count` atoms are taken and dropped, then comes `port<n>__done` with `port<n>__refused`, and
the event `refused` in `interrupt_status` if the memory is up.

**Latency.** The first run of a port, of {count} atoms, ends within {bound} clocks while nobody
else asks for more than as many at a time.
"""
_BOUNDARY = """
**Boundary.** `row`, `column`: one command per slot; `data<p>` comes with the command of port
`p`'s slots; `back<p>` brings read data in order, a fixed time later, which the controller
measures. `row_offer`, `long_offer`, `column_offer` say in which slots of the clock three later
commands may go out.
"""
_PINS = """
**Pins.** Register every output at its pad, and `dq_i`. The memory's clock leaves through an
output register for both edges, inverted. The clock by which read data is late (0 or 1) is found
at start (`start.setting`).
"""


def memory_manual(config: MemorySystemConfig, description: dict[str, Any]) -> str:
    """Markdown text: what it does, its ports, its registers."""
    control = config.controller
    timing, shape = control.timing, control.organisation
    count = min(control.turn, config.depth // 4)
    fabric = 1e6 / timing.tck_ps / control.slots
    text = _INTRO.format(
        name=config.name,
        timing=timing.name,
        mib=config.bytes >> 20,
        bytes=config.bytes,
        data_bits=config.data_bits,
        id_bits=config.id_bits,
        native=config.native or "no",
        clock=f"{fabric:.4g} MHz: {control.slots} clocks of the memory in each.",
        fill=" and fills the memory" if config.ecc or config.inline_ecc else "",
        atom=shape.atom,
        last=(1 << control.atom_bits) - 1,
        count=count,
        bound=worst_latency(control, longest=count, count=count, partial=control.merges),
    )
    text += _PINS if config.sdr else _BOUNDARY
    if advice := look_ahead_advice(control):
        text += f"\n**Warning.** {advice}.\n"
    ports = ["", "## Ports", "", "| port | direction | bits |", "|---|---|---|"]
    ports += [
        f"| `{name}` | {port['direction']} | {port['width']} |"
        for name, port in description["ports"].items()
    ]
    maps = ["", "", "## Address maps", "", "Bits of an atom's address, lowest first.", ""]
    maps += [
        f"- {n}, {amap['name']}: {' '.join(amap['bits_low_to_high'])}"
        for n, amap in enumerate(description["address_maps"])
    ]
    registers = ["", "", "## Registers", "", markdown(system_registers(config))]
    return text + "\n".join([*ports, *maps, *registers])

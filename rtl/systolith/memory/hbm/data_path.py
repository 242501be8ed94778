"""Data of one port: check bits on the way out, corrections on the way back, writes in part."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.ecc import AtomDecoder, AtomEncoder
from systolith.memory.hbm.column_sequencer import access_layout
from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.memory.hbm.returns import MOST_LATENCY, Returns, return_layout

__all__ = [
    "MERGE_TRIES",
    "DataPath",
    "back_layout",
    "correction_layout",
    "late",
    "named_layout",
    "response_layout",
    "sent_layout",
    "write_layout",
]

MERGE_TRIES = 3
"""Reads of old data, for an atom that is written in part, until it is given up."""


def write_layout(config: ControllerConfig) -> data.StructLayout:
    """Data of a write, one bit for each byte that is written, with ECC whether it is bad data."""
    atom = config.organisation.atom
    poison = {"poison": 1} if config.codec else {}
    return PackedStruct({"data": 8 * atom, "mask": atom, **poison})


def sent_layout(config: ControllerConfig) -> data.StructLayout:
    """The same as the memory gets it: with ECC check bits beside the data."""
    atom = config.organisation.atom
    return PackedStruct({"data": 8 * atom, "mask": atom, **_check(config)})


def back_layout(config: ControllerConfig) -> data.StructLayout:
    """An atom from the memory."""
    return PackedStruct({"valid": 1, "data": 8 * config.organisation.atom, **_check(config)})


def response_layout(config: ControllerConfig) -> data.StructLayout:
    """An atom that was read.

    ``lost`` if the memory did not deliver it, its data then is random; with ECC ``poison`` if it
    has more errors than can be corrected, or was stored as bad data.
    """
    poison = {"poison": 1} if config.codec else {}
    return PackedStruct(
        {
            "valid": 1,
            "stream": config.stream_bits,
            "last": 1,
            "lost": 1,
            **poison,
            "data": 8 * config.organisation.atom,
        }
    )


def correction_layout(config: ControllerConfig) -> data.StructLayout:
    """What ECC found in the atom at this address; with ``partial`` it is written again anyway."""
    return PackedStruct(
        {
            "corrected": 1,
            "uncorrectable": 1,
            "poisoned": 1,
            "partial": 1,
            "atom": config.atom_bits,
        }
    )


def named_layout(config: ControllerConfig) -> data.StructLayout:
    """A pulse that is for one stream."""
    return PackedStruct({"valid": 1, "stream": config.stream_bits})


def _check(config: ControllerConfig) -> dict[str, int]:
    return {"check": config.check_bits} if config.codec else {}


class DataPath(Block):
    """Data of the accesses of one port.

    Written data is fetched, gets its check bits, and leaves ``LEAD`` cycles after the decision,
    with its command. Read data is known by the time it takes; it is told one cycle after it came,
    with ECC two.

    An atom that is written in part is read first: its old data, corrected, waits here until the
    write is decided. If it is lost it is read again, twice at most. What is written over data that
    is lost or beyond correction is poisoned, if there is a codec, unless all bytes are new.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.
    merging : bool
        Atoms that are written in part are those of this port.

    Members
    -------
    access : In(access_layout)
        What is decided in this cycle.
    fetch, done : Out(named_layout)
        The next atom of this stream is wanted in ``write`` in the next cycle; the last write of
        a run is on its way.
    write : In(write_layout)
        Its data.
    sent : Out(sent_layout)
        For the memory.
    back : In(back_layout)
        From the memory, in order.
    latency : In
        Fabric clocks from a read at the boundary to its data.
    pause : In(1)
        Only with alerts: see :class:`~systolith.memory.hbm.returns.Returns`.
    correct : In(1)
        With ECC: use the check bits. Else data is passed on as it is. They are always written.
    response : Out(response_layout)
        Atoms that were read, but for those that are read to be written.
    correction : Out(correction_layout)
        With ECC, in the cycle of the response and of what is read to be written.
    lost, extra : Out(1)
        Data did not come when it was due; data came that nothing waited for.
    refused : Out(1)
        Only if the controller merges: bytes of a run that is not partial were left out, or
        there is no codec and the old data of a partial one was lost. With a codec the atom is
        poisoned.
    busy, ready : Out(1)
        If ``merging``: an atom is read to be written; its old data is there.
    """

    access: data.View
    fetch: data.View
    write: data.View
    done: data.View
    sent: data.View
    back: data.View
    latency: Signal
    pause: Signal
    correct: Signal
    response: data.View
    correction: data.View
    lost: Signal
    extra: Signal
    refused: Signal
    busy: Signal
    ready: Signal

    def __init__(self, config: ControllerConfig, *, merging: bool) -> None:
        if merging and not config.merges:
            raise ValueError("merging must be False for a controller that does not merge, not True")
        self.config, self.merging = config, merging
        members = {
            "access": In(access_layout(config)),
            "fetch": Out(named_layout(config)),
            "write": In(write_layout(config)),
            "done": Out(named_layout(config)),
            "sent": Out(sent_layout(config)),
            "back": In(back_layout(config)),
            "latency": In(range(MOST_LATENCY + 1)),
            "response": Out(response_layout(config)),
            "lost": Out(1),
            "extra": Out(1),
        }
        if config.alert:
            members |= {"pause": In(1)}
        if config.codec:
            members |= {"correct": In(1), "correction": Out(correction_layout(config))}
        if config.merges:
            members |= {"refused": Out(1)}
        if merging:
            members |= {"busy": Out(1), "ready": Out(1)}
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return "datapath_merging" if self.merging else "datapath"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, access = self.config, self.access
        m.d.sync += [
            self.fetch.valid.eq(access.valid & access.write),
            self.fetch.stream.eq(access.stream),
            self.done.valid.eq(access.valid & access.write & access.last),
            self.done.stream.eq(access.stream),
        ]
        back = self._back(m, platform)
        old: Any = Signal(self.write.data.shape())
        unknown = Signal()  # its old data is not to be used
        if self.merging:
            begins, ends = Signal(), Signal()
            m.d.comb += [
                begins.eq(access.valid & access.partial & ~access.write),
                ends.eq(access.valid & access.partial & access.write),
            ]
            tries, again = Signal(range(MERGE_TRIES)), Signal()
            come = back.valid & back.partial
            m.d.comb += again.eq(come & back.lost & (tries != MERGE_TRIES - 1))
            m.d.sync += self.busy.eq((self.busy | begins) & ~ends & ~again)
            with m.If(again):
                m.d.sync += tries.eq(tries + 1)
            with m.Elif(come):
                m.d.sync += [self.ready.eq(1), old.eq(back.data), unknown.eq(back.lost)]
                if config.codec:
                    m.d.sync += unknown.eq(back.lost | back.poison)
            with m.Elif(ends):
                m.d.sync += [self.ready.eq(0), tries.eq(0)]
        self._out(m, platform, old, unknown)
        return m

    def _back(self, m: Module, platform: object) -> data.View:
        """Connect what comes back, and return it in the cycle before it is told."""
        config, access = self.config, self.access
        layout = return_layout(config)
        line: Any = Returns(config)
        m.submodules.returns = place(line, platform)
        issued: Any = Signal(layout)
        names = [name for name in dict(iter(layout)) if name != "valid"]
        m.d.comb += [
            issued.valid.eq(access.valid & ~access.write),
            *(issued[name].eq(access[name]) for name in names),
            line.issued.eq(late(m, issued, "issued", LEAD)),
            line.latency.eq(self.latency),
            line.valid.eq(self.back.valid),
        ]
        if config.alert:
            m.d.comb += line.pause.eq(self.pause)
        m.d.sync += [self.lost.eq(line.lost), self.extra.eq(line.extra)]
        come: Any = Signal(_come_layout(config))
        m.d.comb += [
            come.data.eq(self.back.data),
            come.lost.eq(line.lost),
            *(come[name].eq(line.back[name]) for name in dict(iter(layout))),
        ]
        if config.codec:
            come = self._corrected(m, platform, come)
        response = self.response
        names = [name for name in dict(iter(response.shape())) if name != "valid"]
        mine = come.valid & ~come.partial if config.merges else come.valid
        m.d.sync += [response.valid.eq(mine), *(response[name].eq(come[name]) for name in names)]
        return come

    def _corrected(self, m: Module, platform: object, come: data.View) -> data.View:
        """One cycle later, corrected."""
        config = self.config
        assert config.codec is not None
        decoder = AtomDecoder(config.codec)
        m.submodules.decoder = place(decoder, platform)
        raw: Any = Signal.like(come)
        check = Signal(config.check_bits, name="raw_check")
        right: Any = Signal.like(come)
        m.d.sync += [raw.eq(come), check.eq(self.back.check)]
        found = raw.valid & ~raw.lost & self.correct
        m.d.comb += [
            decoder.stored.eq(raw.data),
            decoder.check.eq(check),
            right.eq(raw),
            right.poison.eq(found & decoder.uncorrectable),
        ]
        with m.If(self.correct):
            m.d.comb += right.data.eq(decoder.data)
        m.d.sync += [
            self.correction.corrected.eq(found & decoder.corrected),
            self.correction.uncorrectable.eq(found & decoder.uncorrectable),
            self.correction.poisoned.eq(found & decoder.poisoned),
            self.correction.partial.eq(raw.partial),
            self.correction.atom.eq(raw.atom),
        ]
        return right

    def _out(self, m: Module, platform: object, old: Value, unknown: Value) -> None:
        config, write, access = self.config, self.write, self.access
        sent: Any = Signal(sent_layout(config))
        m.d.sync += self.sent.eq(sent)
        m.d.comb += [sent.data.eq(write.data), sent.mask.eq(write.mask)]
        if not config.merges:
            return
        going = late(m, access.valid & access.write, "going", 2)
        partial = late(m, access.partial, "partial", 2) if self.merging else Value.cast(0)
        full = write.mask.all()
        wrong = Signal()
        m.d.comb += wrong.eq(~full & (unknown | ~partial))
        if self.merging:
            m.d.comb += sent.data.eq(
                Cat(
                    Mux(write.mask[b] | ~partial, write.data[8 * b :][:8], old[8 * b :][:8])
                    for b in range(config.organisation.atom)
                )
            )
        m.d.comb += sent.mask.eq(-1)
        refused = ~full & ~partial
        if config.codec:
            encoder = AtomEncoder(config.codec)
            m.submodules.encoder = place(encoder, platform)
            m.d.comb += [
                encoder.data.eq(sent.data),
                encoder.poison.eq(write.poison | wrong),
                sent.check.eq(encoder.check),
            ]
            m.d.sync += self.refused.eq(going & refused)
        else:
            m.d.sync += self.refused.eq(going & wrong)


def late(m: Module, word: Value, name: str, clocks: int) -> Value:
    """Return ``word`` as it was some cycles before."""
    for n in range(clocks):
        register = Signal(word.shape(), name=f"{name}_late_{n}")
        m.d.sync += register.eq(word)
        word = register
    return word


def _come_layout(config: ControllerConfig) -> data.StructLayout:
    poison = {"poison": 1} if config.codec else {}
    return PackedStruct(
        {
            **dict(return_layout(config).members),
            "lost": 1,
            **poison,
            "data": 8 * config.organisation.atom,
        }
    )

"""Faults planted in the RTL of the scratchpad: random programs notice them."""

from pathlib import Path
from typing import Any

import pytest
from scratchpad_bench import (
    CONFIGS,
    Session,
    build_scratchpad,
    play,
)
from scratchpad_programs import random_program
from scratchpad_words import DATA

from systolith.memory import (
    scratchpad_access,
    scratchpad_bank,
    scratchpad_codec,
    scratchpad_commands,
    scratchpad_head,
    scratchpad_log,
    scratchpad_port,
    scratchpad_reader,
    scratchpad_tokens,
    scrubber,
)
from systolith.proofs.substitute import Mutant, installed

pytestmark = pytest.mark.cosim

FAULTS: dict[str, tuple[Any, str, str]] = {
    "requests touch what the array owns": (
        scratchpad_access.ScratchAccess,
        "refused.eq(now.outside | now.mask_bad | theirs)",
        "refused.eq(now.outside | now.mask_bad)",
    ),
    "scrubber and array meet at a memory": (
        scratchpad_access.ScratchAccess,
        "Mux(now.scrub, ~denied,",
        "Mux(now.scrub, 1,",
    ),
    "one enable for all code words": (
        scratchpad_access.ScratchAccess,
        "now.mask[size * lane :][:size].any() for lane",
        "now.mask.any() for lane",
    ),
    "poison is not stored": (
        scratchpad_access.ScratchAccess,
        "encoder.poison.eq(now.poison)",
        "encoder.poison.eq(0)",
    ),
    "the array reads the other half": (
        scratchpad_bank.ScratchBank,
        "Mux(came.half, self.raw[1], self.raw[0])",
        "Mux(came.half, self.raw[0], self.raw[1])",
    ),
    "errors of the array are not told": (
        scratchpad_bank.ScratchBank,
        "error.eq(decoder.error.any())",
        "error.eq(0)",
    ),
    "poison of one code word is another one's": (
        scratchpad_codec.WordEncoder,
        "Mux(self.poison[lane], config.mark, 0)",
        "Mux(self.poison[0], config.mark, 0)",
    ),
    "commands on halves of the DMA": (
        scratchpad_commands.ScratchCommands,
        "(uses & ~owned).any()",
        "(uses & ~owned).all()",
    ),
    "a split changes under way": (
        scratchpad_commands.ScratchCommands,
        "(~settled & resting)",
        "(~settled)",
    ),
    "one step too many": (
        scratchpad_head.ScratchHead,
        "self.step.valid.eq(left != 0)",
        "self.step.valid.eq((left != 0) | self.busy.any())",
    ),
    "the array hands over too early": (
        scratchpad_head.ScratchHead,
        "total.eq(command.count + self.drain)",
        "total.eq(command.count)",
    ),
    "counters wrap": (
        scratchpad_log.ScratchLog,
        "Mux(total > top, top, total)",
        "total",
    ),
    "the last loss is kept, not the first": (
        scratchpad_log.ScratchLog,
        "~(kept.valid & keeps)",
        "1",
    ),
    "a write of a part forgets the error": (
        scratchpad_port.ScratchPort,
        "now.poison | (decoder.error & partial)",
        "now.poison",
    ),
    "a write of a part merges the wrong way": (
        scratchpad_port.ScratchPort,
        "m.If(~now.mask[byte])",
        "m.If(now.mask[byte])",
    ),
    "no wait for a write that reads first": (
        scratchpad_port.ScratchPort,
        "self.still.eq(~filling & ~merging)",
        "self.still.eq(~filling)",
    ),
    "the fill ends early": (
        scratchpad_port.ScratchPort,
        "offset == config.depth - 1",
        "offset == config.depth - 2",
    ),
    "steps leave their sub-array": (
        scratchpad_reader.ScratchReader,
        "hop.valid.eq(before.valid & follows.any())",
        "hop.valid.eq(before.valid)",
    ),
    "lane groups are one cycle late": (
        scratchpad_reader.ScratchReader,
        "delayed(m, hop, config.spacing,",
        "delayed(m, hop, config.spacing + 1,",
    ),
    "a foreign token is taken": (
        scratchpad_tokens.ScratchTokens,
        "foreign.append(gives & (owned & given.groups).any())",
        "foreign.append(gives & (owned & given.groups).all())",
    ),
    "tokens do not wait for steps": (
        scratchpad_tokens.ScratchTokens,
        "self.back.ready.eq(~waits)",
        "self.back.ready.eq(1)",
    ),
    "the scrubber overwrites newer data": (
        scrubber.Scrubber,
        "hit.eq(self.written.valid & (self.written.place == here))",
        "hit.eq(0)",
    ),
    "the scrubber writes all code words": (
        scrubber.Scrubber,
        "lanes.eq(self.found.corrected)",
        "lanes.eq(-1)",
    ),
    "an injection is lost": (
        scrubber.Scrubber,
        "step.eq(Mux(planting, _Step.READ, _Step.IDLE))\n            with m.Case(_Step.WRITE)",
        "step.eq(_Step.IDLE)\n            with m.Case(_Step.WRITE)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path: Path) -> None:
    # Where lane groups are one cycle apart, a change of split takes as long as a step stays.
    config = CONFIGS["plain" if fault == "steps leave their sub-array" else "small"]
    with installed([Mutant(*FAULTS[fault])]):
        ports, simulation = build_scratchpad(config, tmp_path)
    session = Session(ports, seed=11)
    random_program(session, 12_000)
    if config.ecc:
        _collide(session)
    assert play(simulation, session)


def _collide(session: Session) -> None:
    """Scrub a word with a flip, write it, and inject beside writes: in every cycle around."""
    for wait in range(20):
        session.reset()
        session.settings |= {"interval": 0, "pause": 0, "clear": 0}
        session.ready()
        session.access((0, 0, 0), DATA)
        session.flip((0, 0, 0), (3 << 80 | 1) if wait & 1 else 1)
        session.settings["interval"] = 60
        while session.model.walker.step == "idle":
            session.cycle()
        session.settings["interval"] = 0
        session.idle(wait // 2)
        session.access((0, 0, 0), wait)
        session.idle(10)
        session.access((0, 0, 0))
        session.do("inject", {"address": 0, "flip": 2})
        session.idle(wait // 2)
        session.access((0, 0, 0), wait)
        session.idle(10)
        session.access((0, 0, 0))
    config = session.ports.config
    # One code word that can be repaired, beside one that cannot.
    session.access((0, 0, 0), DATA)
    session.flip((0, 0, 0), 3 << 80 | 1)
    session.settings["interval"] = 1
    session.idle(1200)
    session.settings["interval"] = 0
    session.idle(20)
    session.access((0, 0, 0))
    # More errors than a counter counts.
    for bits in (1, 3):
        session.access((0, 0, 0), DATA)
        session.flip((0, 0, 0), bits)
        for _ in range(1 << config.counter_bits):
            session.access((0, 0, 0))

"""Random programs for a scratchpad."""

import random
from typing import Any

from scratchpad_bench import Session

from systolith.memory.scratchpad_config import ScratchpadConfig

__all__ = ["random_program"]


def random_program(session: Session, cycles: int, *, resets: int = 0) -> dict[str, int]:
    """Everything at once: requests, tokens, commands, scrubbing, flips, splits, resets.

    Returns
    -------
    How often each thing happened.
    """
    config, draw = session.ports.config, random.Random(session.seed)
    waiting: dict[Any, dict[str, int]] = {}
    happened: dict[str, int] = {}
    rates = {"request": 0.5, "give": 0.05, "back": 0.05, "inject": 0.05, "command": 0.2}
    due = {draw.randrange(cycles) for _ in range(resets)}

    def note(name: str, when: object = True) -> None:
        happened[name] = happened.get(name, 0) + bool(when)

    for n in range(cycles):
        if n in due:
            session.reset()
            waiting.clear()
        if n % 200 == 0:
            # A phase: some sides busy, some not.
            rates = {
                "request": draw.choice([0, 0.1, 0.6, 1]),
                "give": draw.choice([0.02, 0.2]),
                "back": draw.choice([0.02, 0.2]),
                "inject": draw.choice([0, 0.02, 0.3]),
                "command": draw.choice([0, 0.1, 0.9]),
            }
            session.settings["interval"] = min(
                draw.choice([0, 1, 3, 20]), (1 << config.interval_bits) - 1
            )
            session.settings["mode"] = draw.randrange(1 << config.mode_bits)
        session.settings["pause"] = int(draw.random() < 0.02)
        session.settings["clear"] = int(draw.random() < 0.005)
        for name, make in (
            ("request", _random_request),
            ("give", _random_token),
            ("back", _random_token),
            ("inject", _random_flip),
        ):
            if name not in waiting and draw.random() < rates[name]:
                waiting[name] = make(config, draw)
        for head in session.ports.block.heads:
            if head not in waiting and draw.random() < rates["command"]:
                waiting[head] = _random_command(config, draw)
        out = session.cycle(
            **{k: v for k, v in waiting.items() if isinstance(k, str)},
            command={k: v for k, v in waiting.items() if not isinstance(k, str)},
        )
        for key in [key for key in waiting if out["ready"][key]]:
            del waiting[key]
        answer = out["response"] or {}
        note("responses", answer)
        note("errors", answer.get("error"))
        for code, name in enumerate(("range", "mask", "owner")):
            note(f"refused {name}", answer.get("refused") and answer["code"] == code)
        for found in out["lane"].values():
            note("lane words")
            note("lane errors", found.error)
            note("lane corrections", found.corrected)
        for code in out["command_refused"].values():
            note(f"command refused {code}")
        for name in ("injected", "inject_refused", "give_refused", "back_refused"):
            note(name, out[name])
        for name in ("repaired", "overtaken"):
            happened[name] = max(happened.get(name, 0), out[name])
        note("mode changes", out["mode_now"] == session.settings["mode"])
    return happened


def _random_request(config: ScratchpadConfig, draw: random.Random) -> dict[str, int]:
    full = (1 << config.bytes) - 1
    return {
        "write": draw.getrandbits(1),
        "address": _random_address(config, draw),
        "data": draw.getrandbits(8 * config.bytes),
        "mask": draw.choice([full, full, draw.getrandbits(config.bytes), 0]),
        "poison": int(draw.random() < 0.1),
    }


def _random_address(config: ScratchpadConfig, draw: random.Random) -> int:
    if draw.random() < 0.05:
        return draw.getrandbits(config.address_bits)
    # Few words, so that things meet.
    word = draw.choice([0, 1, config.depth - 1, draw.randrange(config.depth)])
    return config.address(draw.randrange(config.banks), draw.getrandbits(1), word)


def _random_token(config: ScratchpadConfig, draw: random.Random) -> dict[str, int]:
    groups = draw.choice([1 << draw.randrange(config.groups), draw.getrandbits(config.groups)])
    if draw.random() < 0.3:
        groups = (1 << config.groups) - 1
    return {"groups": groups, "half": draw.getrandbits(1)}


def _random_flip(config: ScratchpadConfig, draw: random.Random) -> dict[str, int]:
    places = [draw.randrange(config.stored_bits) for _ in range(draw.choice([1, 1, 1, 2, 3]))]
    return {"address": _random_address(config, draw), "flip": sum(1 << p for p in set(places))}


def _random_command(config: ScratchpadConfig, draw: random.Random) -> dict[str, int]:
    most = (1 << config.count_bits) - 1
    command = {
        "base": draw.choice([0, 0, draw.getrandbits(config.step_bits)]),
        "half": draw.getrandbits(1),
        "count": draw.choice([1, 2, 4, min(8, most), draw.randint(0, most)]),
    }
    if config.rotation:
        command |= {"rotate": draw.getrandbits(1), "turned": draw.getrandbits(1)}
    return command

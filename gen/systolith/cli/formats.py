"""``--acts`` and ``--weights``: the formats of a GEMM, and an engine that has them."""

from dataclasses import dataclass

from systolith.array.config import EngineConfig
from systolith.config.files import from_dict, to_dict
from systolith.numerics.pairs import PAIRS, Pair, pair

__all__ = ["Chosen", "choose"]

_INT8 = next(p for p in PAIRS if p.name == "int8xint8")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """An engine and the formats that it is to multiply.

    Parameters
    ----------
    config
        The engine.
    pair
        One of ``config.array.pairs``; None in an array without formats.
    names
        The formats by operand, as JSON answers have them; none if neither the user nor the engine
        says any.
    rebuilt
        The engine is not the one that was asked for: it has this pair alone.
    """

    config: EngineConfig
    pair: Pair | None
    names: dict[str, str]
    rebuilt: bool = False

    @property
    def note(self) -> dict[str, dict[str, str]]:
        """What JSON answers say of an engine that was rebuilt."""
        return {"formats": self.names} if self.rebuilt else {}


def choose(config: EngineConfig, acts: str | None, weights: str | None) -> Chosen:
    """Formats by name, and ``config`` if it has them, or else with nothing but them.

    One name stands for both operands. Without any, an array takes the first of its own pairs, plain
    integers before block formats.

    Raises
    ------
    ValueError
        For an unknown format, an illegal pair or one that ``config`` cannot be built for.
    """
    array = config.array
    if acts is None and weights is None:
        own = array.pairs[0] if array.pairs else None
        return Chosen(config=config, pair=own, names=_names(own) if own else {})
    legal = pair(acts or weights or "", weights or acts or "")
    names = _names(legal)
    if legal in array.pairs:
        return Chosen(config=config, pair=legal, names=names)
    if legal == _INT8 and not array.formats and array.act_width == array.weight_width == 8:
        return Chosen(config=config, pair=None, names=names)
    values = to_dict(config)
    alone = {side: (name,) for side, name in names.items()}
    values["array"]["formats"] = values["array"].get("formats", {}) | alone
    return Chosen(config=from_dict(values), pair=legal, names=names, rebuilt=True)


def _names(chosen: Pair) -> dict[str, str]:
    return {"acts": chosen.x.name, "weights": chosen.w.name}

"""Settings of the clock multiplier of ECP5."""

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Pll"]

_REFERENCE = range(1, 129)
_FEEDBACK = range(1, 81)
_OUTPUT = range(1, 129)
_INPUT_HZ = (8_000_000, 400_000_000)
_DETECTOR_HZ = (3_125_000, 400_000_000)
_VCO_HZ = (400_000_000, 800_000_000)
_OUTPUT_HZ = (3_125_000, 400_000_000)


@dataclass(frozen=True, kw_only=True)
class Pll:
    """An EHXPLLL whose first output is its own feedback.

    The phase detector sees ``input_hz / reference``, the oscillator runs ``feedback * output``
    times as fast, and ``output`` divides it again. Ranges are those of the family's data sheet
    (FPGA-DS-02012).

    Parameters
    ----------
    input_hz
        Frequency of the clock that comes in.
    reference, feedback, output
        Dividers: CLKI_DIV, CLKFB_DIV, CLKOP_DIV.
    """

    input_hz: int
    reference: int
    feedback: int
    output: int

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("reference", self.reference, _REFERENCE),
            ("feedback", self.feedback, _FEEDBACK),
            ("output", self.output, _OUTPUT),
        ):
            if value not in allowed:
                raise ValueError(f"Pll.{name} must be in 1..{allowed[-1]}, not {value}")
        for name, hz, (low, high) in (
            ("input", Fraction(self.input_hz), _INPUT_HZ),
            ("phase detector", self.detector_hz, _DETECTOR_HZ),
            ("oscillator", self.vco_hz, _VCO_HZ),
            ("output", self.output_hz, _OUTPUT_HZ),
        ):
            if not low <= hz <= high:
                raise ValueError(
                    f"Pll must have its {name} in {low / 1e6:g}..{high / 1e6:g} MHz, "
                    f"not {float(hz) / 1e6:g} MHz"
                )

    @property
    def detector_hz(self) -> Fraction:
        """Frequency at which the phases are compared."""
        return Fraction(self.input_hz, self.reference)

    @property
    def output_hz(self) -> Fraction:
        """Frequency of the clock that comes out."""
        return self.detector_hz * self.feedback

    @property
    def vco_hz(self) -> Fraction:
        """Frequency of the oscillator."""
        return self.output_hz * self.output

    @classmethod
    def fastest(cls, input_hz: int, tck_ps: int) -> "Pll":
        """Settings with the fastest output of a period that is not below ``tck_ps``.

        Of several, those with the fastest comparison; of these, the oscillator nearest to the
        middle of its range.
        """
        most = Fraction(10**12, tck_ps)
        found = None
        for reference in _REFERENCE:
            for feedback in _FEEDBACK:
                hz = Fraction(input_hz, reference) * feedback
                if hz <= most and (found is None or hz > found[0]):
                    found = (hz, reference, feedback)
                if hz > most or input_hz < _DETECTOR_HZ[0] * reference:
                    break
        if found is None:
            raise ValueError(f"tck_ps must be a period that a PLL can make, not {tck_ps}")
        hz, reference, feedback = found
        middle = sum(_VCO_HZ) / 2
        output = min(_OUTPUT, key=lambda n: abs(float(hz) * n - middle))
        return cls(input_hz=input_hz, reference=reference, feedback=feedback, output=output)

"""What the tests found, for the table at their end."""

from dataclasses import dataclass

from tests.truth.intervals import Estimate


@dataclass(frozen=True)
class Finding:
    """One figure of a mart, or of a former formula, beside what was put in."""

    shop: str
    effect: str
    put_in: float
    found: float
    low: float
    high: float

    @property
    def is_inside(self) -> bool:
        return self.low <= self.found <= self.high


FINDINGS: list[Finding] = []


def find(
    shop: str, effect: str, put_in: float, found: float | None, interval: tuple[float, float] | None = None
) -> Finding:
    """Note a figure; without an interval it must be what was put in."""
    low, high = interval or (put_in, put_in)
    finding = Finding(shop, effect, float(put_in), float("nan") if found is None else float(found), low, high)
    FINDINGS.append(finding)
    return finding


def hold(shop: str, effect: str, put_in: Estimate, found: float | None, comparisons: int = 1) -> None:
    """A mart's figure is in the interval of what was put in."""
    finding = find(shop, effect, put_in.value, found, put_in.interval(comparisons))
    assert finding.is_inside, finding


def hold_exactly(shop: str, effect: str, put_in: float, found: float | None) -> None:
    """A mart's figure is what was put in, without noise."""
    finding = find(shop, effect, put_in, found)
    assert finding.is_inside, finding


def miss(shop: str, effect: str, put_in: Estimate, found: float, comparisons: int = 1) -> None:
    """A former formula's figure is outside of the interval in which the mart's is."""
    finding = find(shop, f"  formerly: {effect}", put_in.value, found, put_in.interval(comparisons))
    assert not finding.is_inside, finding


def table() -> list[str]:
    """The findings as lines of text."""
    width = max((len(finding.effect) for finding in FINDINGS), default=6)
    lines = [f"{'shop':<12} {'effect':<{width}} {'put in':>12} {'found':>12}   interval"]
    for finding in FINDINGS:
        interval = "exact" if finding.low == finding.high else f"{finding.low:.2f} to {finding.high:.2f}"
        mark = "" if finding.is_inside else "  outside"
        lines.append(
            f"{finding.shop:<12} {finding.effect:<{width}} {finding.put_in:>12.2f} {finding.found:>12.2f}"
            f"   {interval}{mark}"
        )
    return lines

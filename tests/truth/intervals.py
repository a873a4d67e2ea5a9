"""Intervals for what a mart may show, from the noise that the generator is known to have."""

from dataclasses import dataclass
from statistics import NormalDist

#: How often a test of a right formula would fail, were the shop drawn anew each time.
FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Estimate:
    """
    What a figure is by the effects that were put in, and how far noise moves it.

    :param error: the standard error: the figure's standard deviation over all shops with these effects
    """

    value: float
    error: float

    def interval(self, comparisons: int = 1) -> tuple[float, float]:
        """
        Where the figure is, except for one of a hundred shops.

        :param comparisons: how many such figures a test compares: all of them are in their intervals that often
        """
        margin = NormalDist().inv_cdf(1 - FALSE_ALARMS / comparisons / 2) * self.error
        return self.value - margin, self.value + margin

    def contains(self, found: float, comparisons: int = 1) -> bool:
        low, high = self.interval(comparisons)
        return low <= found <= high

    def times(self, factor: float) -> "Estimate":
        return Estimate(self.value * factor, self.error * abs(factor))


def share(successes: float, of: float) -> Estimate:
    """A share of independent draws, in percent."""
    return Estimate(100 * successes, 100 * (successes * (1 - successes) / of) ** 0.5)


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """The ratio of two independent figures that are far from 0, in percent (delta method)."""
    value = 100 * above.value / below.value
    relative = ((above.error / above.value) ** 2 + (below.error / below.value) ** 2) ** 0.5
    return Estimate(value, value * relative)


def growth(now: Estimate, before: Estimate) -> Estimate:
    """The growth from one independent figure to another, in percent."""
    as_ratio = ratio(now, before)
    return Estimate(as_ratio.value - 100, as_ratio.error)

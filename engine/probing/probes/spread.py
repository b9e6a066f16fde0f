"""How much scores of networks of one build differ by their initialisation.

Five networks say little about the spread of one score, but layers of one kind have about the same
for a concept, so that they are pooled. The spreads of all concepts are then shrunk towards each
other (Smyth 2004, section 4): each is taken as drawn from a common scaled inverse chi-square
distribution, whose degrees of freedom are added to its own.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma
from scipy.stats import chi2

Array = npt.NDArray[np.float64]
Pools = npt.NDArray[np.int64]
MOST_DEGREES: Final = 1e6
"""Degrees of freedom of a spread that is known."""
_SMALLEST_SPREAD: Final = 0.0025
"""Smaller spreads, as of scores near 1, count as this one: half of the smallest gain."""
_CERTAIN: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Estimated variance of a score by initialisation, of P places and C concepts."""

    # [P, C] variance of one network's score.
    variance: Array
    # int64[P] the pool of each place.
    pools: Pools
    # [pools] degrees of freedom of the estimates of each pool.
    degrees: Array
    # [pools] mean correlation of the scores of one network at two places of a pool.
    correlations: Array
    # int64[P] the network of each place.
    networks: Pools

    def repeated(self, times: int) -> "Spread":
        """The same for each of several networks, one after the other."""
        return Spread(
            variance=np.tile(self.variance, (times, 1)),
            pools=np.tile(self.pools, times),
            degrees=self.degrees,
            correlations=self.correlations,
            networks=np.repeat(np.arange(times), len(self.networks)),
        )

    def deviations(
        self, concept: int, places: Pools, share: float, rng: np.random.Generator, resamples: int
    ) -> Array:
        """[places, resamples] deviations of variance `share` times that of one network.

        Student's t, with one error of the spread for all cells of a pool. The places of one
        network and pool go together as they do among the untrained networks.
        """
        pools = self.pools[places]
        together = self.correlations[pools][:, None]
        # One column for each network and pool that occurs.
        kinds = np.unique(self.networks[places] * len(self.degrees) + pools, return_inverse=True)[1]
        common = rng.standard_normal((int(kinds.max()) + 1, resamples))[kinds]
        drawn = np.sqrt(together) * common
        drawn += np.sqrt(1.0 - together) * rng.standard_normal((len(places), resamples))
        errors = np.ones((len(self.degrees), resamples))
        for pool, degrees in enumerate(self.degrees):
            if degrees < MOST_DEGREES:
                errors[pool] = rng.chisquare(degrees, resamples) / degrees
        scale = np.sqrt(share * self.variance[places, concept])
        deviations: Array = scale[:, None] * drawn / np.sqrt(errors[pools])
        return deviations


def moderated_spread(scores: Array, pools: Pools | None = None) -> Spread:
    """The spread of scores [n, P, C] of n networks, NaN where there are none.

    The places of one pool, int64[P] from 0, share their spread: layers of one kind. All are one
    pool by default. A cell whose own spread exceeds its pool's by more than chance keeps a lower
    bound of its own. One network has no spread.
    """
    count, places, concepts = scores.shape
    pools = np.zeros(places, np.int64) if pools is None else pools
    variance = np.zeros((places, concepts))
    degrees = np.full(int(pools.max(initial=0)) + 1, MOST_DEGREES)
    correlations = np.zeros(len(degrees))
    for pool in range(len(degrees) if count > 1 else 0):
        members = pools == pool
        found = scores[:, members]
        variance[members], degrees[pool] = _of_pool(found)
        # Rounding may take it beyond 1.
        correlations[pool] = np.clip(_mean_correlation(found, power=1), 0.0, 1.0)
    return Spread(
        variance=variance,
        pools=pools,
        degrees=degrees,
        correlations=correlations,
        networks=np.zeros(places, np.int64),
    )


def _of_pool(scores: Array) -> tuple[Array, float]:
    """Variances [P, C] of scores [n, P, C], and the degrees of freedom of their estimates."""
    count = len(scores)
    own = np.maximum(scores.var(axis=0, ddof=1), _SMALLEST_SPREAD**2)
    is_known = ~np.isnan(own)
    cells = is_known.sum(axis=0)
    pooled = np.where(is_known, own, 0.0).sum(axis=0) / np.maximum(cells, 1)
    degrees = _pooled_degrees(scores)
    common, prior = _common_spread(pooled[cells > 0], degrees)
    # Without a common distribution each concept keeps its own.
    shrunk = (prior * common + degrees * pooled) / (prior + degrees)
    least = own * (count - 1) / chi2.ppf(_CERTAIN, count - 1)
    variance = np.where(is_known, np.maximum(shrunk, least), 0.0)
    return variance, min(prior + degrees, MOST_DEGREES)


def _pooled_degrees(scores: Array) -> float:
    """Degrees of freedom of a variance that is pooled over the cells of scores [n, P, C].

    The cells of a concept go together. Variances of two cells with correlation r have correlation
    r² (Satterthwaite 1946), of which n networks see (1 - r²) / (n - 1) too much.
    """
    own = len(scores) - 1.0
    cells = (~np.isnan(scores[0])).sum(axis=0)
    usual = float(np.median(cells[cells > 0])) if np.any(cells > 0) else 1.0
    # Two networks always deviate along one line.
    if own < 2 or usual < 2:
        return own
    seen = _mean_correlation(scores, power=2)
    together = min(max((seen - 1.0 / own) / (1.0 - 1.0 / own), 0.0), 1.0)
    return own * usual / (1.0 + (usual - 1.0) * together)


def _mean_correlation(scores: Array, *, power: int) -> float:
    """Mean over the concepts and pairs of places of r, or of its square, of scores [n, P, C].

    1 where there is no pair of places with a spread: they may go together.
    """
    centred = scores - scores.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    # Cells without any spread have no direction.
    unit = np.nan_to_num(centred / np.where(norms > _SMALLEST_SPREAD, norms, np.nan))
    known = (unit != 0.0).any(axis=0)
    pairs = int((known[:, None] & known[None]).sum() - known.sum())
    if not pairs:
        return 1.0
    found = np.einsum("npc,nqc->pqc", unit, unit) ** power
    return float((found.sum() - known.sum()) / pairs)


def _common_spread(variances: Array, degrees: float) -> tuple[float, float]:
    """Scale and degrees of freedom of the distribution that the variances are drawn from."""
    if len(variances) < 3:
        return 0.0, 0.0
    logs = np.log(variances) - digamma(degrees / 2) + np.log(degrees / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, degrees / 2))
    if excess <= 0:
        return float(np.exp(logs.mean())), MOST_DEGREES
    prior = 2.0 * _inverse_trigamma(excess)
    return float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))), prior


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1.0 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x

"""Checks a proof of optimality from scratch, with NumPy and the standard library and nothing of the search.

A proof claims, for data X (n, d) and y, that no two-layer ReLU network of any width has an objective

    P = sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2)

below `dual`, and that the network in it has an objective of at most `primal`. By weak duality the first follows from
a matrix lam (n, c) in the domain of the conjugate with g(lam) = max over |u| <= 1 of |lam^T (Xu)_+| <= beta: then
D(lam) = -loss*(-lam) is such a number. An upper bound of g comes from trees of half-spaces, or of simplicial cones,
whose leaves carry multipliers. Whatever the multipliers are, they give a bound: the checker trusts no number of the
file.

Every step is derived in docs/rigour.md. The arithmetic is IEEE double precision with a priori error bounds for the
leaves and the network's outputs, and 50 decimal digits or exact fractions for the rest.
"""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.verify.arithmetic import DIGITS, UNIT, Array, Rejected, above, below, binary_rows
from extremal.verify.duality import dual_value, objective
from extremal.verify.leaves import side_bound
from extremal.verify.statement import data_of, read, statement_of

__all__ = ["Rejected", "Verdict", "side_bound", "verify"]

#: By how much, relatively, a recomputed number may miss the claimed one: other machines round otherwise.
CLAIM = Decimal("1e-9")


@dataclass(frozen=True)
class Verdict:
    """What was proved, or why nothing was; true if the proof was accepted.

    Attributes
    ----------
    accepted : bool
    reason : str
        Why the proof was rejected; empty if it was accepted.
    dual : float
        No network of any width has an objective below it, as recomputed here.
    primal : float
        The network in the proof has an objective of at most this.
    leaves : int
        The number of leaves that were checked.
    setting : str
        The data and the objective in words.
    """

    accepted: bool
    reason: str = ""
    dual: float = -np.inf
    primal: float = np.inf
    leaves: int = 0
    setting: str = ""

    @property
    def gap(self) -> float:
        """(primal - dual) / primal, rounded up; 1 if nothing was proved."""
        if not self.accepted:
            return 1.0
        return (
            min(float(1 - Fraction(self.dual) / Fraction(self.primal)) * (1 + 2 * UNIT), 1.0)
            if self.primal > 0
            else 0.0
        )

    def __bool__(self) -> bool:
        return self.accepted

    def __str__(self) -> str:
        if not self.accepted:
            return f"Rejected: {self.reason}."
        return (
            f"Proved: no two-layer ReLU network of any width has an objective below {in_digits(self.dual, 10)} for "
            f"{self.setting}; the network in the file has {in_digits(self.primal, 10, up=True)}; it is within "
            f"{in_digits(self.gap, 2, up=True)} of the global optimum."
        )


def verify(proof: Any, X: ArrayLike, y: ArrayLike) -> Verdict:
    """Check a proof of optimality from scratch.

    Parameters
    ----------
    proof : path or Proof
        A file written by `Certificate.save(path, proof=True)` or `Proof.save`, or the proof itself.
    X : array of shape (n, d); y : array of shape (n,) or (n, c)
        The data that the proof is about, as they were given to `fit` or `certify`.

    Returns
    -------
    Verdict
        Its text is one sentence: what was proved, or why the proof was rejected.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    try:
        with decimal.localcontext(DIGITS), np.errstate(all="ignore"):
            statement = statement_of(proof.arrays() if hasattr(proof, "arrays") else read(proof))
            return verdict_on(statement, *data_of(statement, X, y))
    except Rejected as reason:
        return Verdict(False, str(reason))
    except (np.linalg.LinAlgError, decimal.DecimalException, MemoryError) as error:
        return Verdict(False, f"its numbers cannot be worked with ({type(error).__name__})")


def verdict_on(s: SimpleNamespace, X: Array, target: Array) -> Verdict:
    """Recompute both ends of the gap, and compare them with what is claimed."""
    exponents, rows = binary_rows(X)
    dual, primal = dual_value(s, exponents, rows, target), objective(s, exponents, rows, target)
    if dual > primal:
        raise Rejected("the two bounds contradict each other, which no file can bring about: the checker has failed")
    if dual < Decimal(s.dual) - CLAIM * abs(Decimal(s.dual)):
        raise Rejected(f"the proof claims the bound {s.dual!r}, and only {float(dual)!r} follows from it")
    if primal > Decimal(s.primal) * (1 + CLAIM):
        raise Rejected(f"the network is claimed to have objective {s.primal!r}, and it has {float(primal)!r}")
    return Verdict(True, "", below(dual), above(primal), sum(map(leaves_of, s.trees)), setting_of(s))


def leaves_of(tree: SimpleNamespace) -> int:
    """The number of leaves of a tree of any kind."""
    return len(tree.levels if hasattr(tree, "levels") else tree.vectors)


def setting_of(s: SimpleNamespace) -> str:
    """The data and the objective in words."""
    name = f"Huber loss, delta = {s.delta!r}" if s.loss == "huber" else f"{s.loss.replace('_', ' ')} loss"
    parts = [name, f"beta = {s.beta!r}", "penalised bias" if s.bias else "no bias"]
    parts += ["free intercept"] * s.intercept + ["sample weights as in the file"] * bool((s.weight != 1).any())
    return f"these {s.shape[0]} x {s.shape[1]} data ({', '.join(parts)})"


def in_digits(value: float, digits: int, *, up: bool = False) -> str:
    """A number in decimal, rounded down (or up), so that the sentence stays true."""
    rounding = decimal.ROUND_CEILING if up else decimal.ROUND_FLOOR
    return f"{decimal.Context(prec=digits, rounding=rounding).create_decimal(Decimal(value)).normalize():g}"

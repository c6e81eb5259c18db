"""Newton's method on a smoothing that keeps homogeneity, followed down to the ties. One output.

At small beta most degrees of freedom of an optimal network are ties, x_i . u_j = 0 exactly, where the objective has a
kink; first-order methods stall there. The smoothing replaces (z)_+ by

    phi(z) = (z + sqrt(z^2 + 4 eps_i^2)) / 2,   eps_i = delta |x_i|,   for unit directions u,

which is homogeneous in u like the ReLU, and theta = phi' in (0, 1) tends to the multiplier of the tie as delta -> 0. It
is the central path of min t subject to t >= 0, t >= z, and it is followed as interior-point methods do: theta is
iterated together with u (primal-dual steps), and every reduction of delta starts with a predictor. A decade of delta
then costs one to three steps, and the path ends at a point whose ties are exact to rounding.

The smoothing also does the global part of the work: at delta of order 1e-2 neighbouring cells are one valley.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from extremal.design import Array, Design
from extremal.problem import Problem
from extremal.training.atoms import Atoms
from extremal.training.kernels import nonnegative_quadratic

#: Rows with |z| beyond this many eps are not near a tie.
NEAR = 100.0
#: A direction moves by at most this angle (radians) in one step.
LONGEST_STEP = 0.5
#: From this delta up, Newton directions are computed in single precision.
COARSE = 1e-3
#: Below this beta (in normal form) single precision has too little range.
SMALL_BETA = 1e-7
#: A Newton step that fails with this damping is given up.
MOST_DAMPING = 1e5
#: Changes of the objective below this fraction are not seen.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The smoothed problem at a network (n rows, m neurons)."""

    atoms: Atoms
    delta: float
    eps: Array  # (n,) delta |x_i|
    z: Array  # (n, m) pre-activations of the unit directions
    phi: Array  # (n, m)
    theta: Array  # (n, m) phi'
    bend: Array  # (n, m) phi''
    lam: Array  # (n,) -grad loss
    curvature: Array  # (n,) of the loss
    value: float

    def take(self, index: Array) -> Smoothed:
        if index.size == self.atoms.width:
            return self
        columns = {name: getattr(self, name)[:, index] for name in ("z", "phi", "theta", "bend")}
        return replace(self, atoms=self.atoms.take(index), **columns)


@dataclass(frozen=True, eq=False)
class Step:
    """A Newton step and the decrease that its model predicts."""

    directions: Array  # (d, m)
    amplitudes: Array  # (m,)
    intercept: Array  # (1,)
    decrease: float


def minimise_smoothed(
    problem: Problem, atoms: Atoms, delta: float, *, steps: int, stop: Callable[[], bool] = lambda: False
) -> Atoms:
    """Damped primal-dual Newton steps at a fixed delta. Neurons whose amplitude vanishes are dropped."""
    tol = max(1e-2 * delta, 1e-8) * problem.beta
    state = evaluate(problem, atoms, delta)
    theta, damping = state.theta, 0.0
    for _ in range(steps):
        if residual(problem, state) < tol or stop():
            break
        model = linearised_at(state, theta)
        while True:
            if damping > MOST_DAMPING:
                return state.atoms
            try:
                step = newton_step(problem, model, damping)
            except np.linalg.LinAlgError:  # the blocks are singular to rounding: damping lifts them
                damping = max(8 * damping, 0.1)
                continue
            new = refit(problem, evaluate(problem, move(state.atoms, step), delta))
            gained = state.value - new.value
            if gained >= -ROUNDING * abs(state.value):
                break
            damping = max(8 * damping, 0.1)
        if gained > 0.5 * step.decrease:
            damping = damping / 4 if damping > 0.02 else 0.0
        elif gained < 0.1 * step.decrease:
            damping = max(4 * damping, 0.1)
        theta = advance_multipliers(theta, model, state, new)
        alive = np.flatnonzero(new.atoms.r > 1e-9 * new.atoms.r.max(initial=0.0))
        state, theta = new.take(alive), theta[:, alive]
    return state.atoms


def predict(problem: Problem, atoms: Atoms, delta: float, smaller: float) -> Atoms:
    """Move along the path from delta to a smaller one: near ties z should shrink with delta, and theta stay."""
    old, state = evaluate(problem, atoms, delta), evaluate(problem, atoms, smaller)
    centred = linearised_at(state, old.theta)
    near = np.abs(state.z) < NEAR * old.eps[:, None]
    model = replace(
        state, theta=np.where(near, centred.theta, state.theta), bend=np.where(near, centred.bend, state.bend)
    )
    try:
        step = newton_step(problem, model, 0.0)
    except np.linalg.LinAlgError:
        return atoms
    moved = refit(problem, evaluate(problem, move(atoms, step), smaller))
    gained = state.value - moved.value
    return moved.take(np.flatnonzero(moved.atoms.r)).atoms if gained >= -ROUNDING * state.value else atoms


def smooth(z: Array, eps: Array) -> tuple[Array, Array, Array]:
    """phi, phi' and phi'' at z (n, m), without cancellation."""
    square = eps[:, None] ** 2
    root = np.sqrt(z * z + 4 * square)
    np.maximum(root, 1e-300, out=root)
    big = 0.5 * (np.abs(z) + root)
    phi = np.where(z > 0, big, square / np.maximum(big, 1e-300))
    return phi, phi / root, 2 * (eps[:, None] / root) ** 2 / root


def evaluate(problem: Problem, atoms: Atoms, delta: float) -> Smoothed:
    eps = delta * problem.design.row_norms
    z = problem.design.forward(atoms.U)
    phi, theta, bend = smooth(z, eps)
    return _with_outputs(problem, atoms, Smoothed(atoms, delta, eps, z, phi, theta, bend, eps, eps, 0.0))


def _with_outputs(problem: Problem, atoms: Atoms, features: Smoothed) -> Smoothed:
    """The state for other amplitudes of the same directions."""
    F = (features.phi @ (atoms.r * atoms.V[:, 0]) + atoms.intercept[0])[:, None]
    loss = problem.loss
    value = loss.value(F) + problem.beta * float(atoms.r.sum())
    lam, curvature = loss.dual(F)[:, 0], loss.curvature(F)[:, 0, 0]
    return replace(features, atoms=atoms, lam=lam, curvature=curvature, value=value)


def residual(problem: Problem, state: Smoothed) -> float:
    """The largest violation of stationarity, in the units of beta: over directions, amplitudes and intercept."""
    atoms = state.atoms
    gain = state.lam[:, None] * atoms.V[:, 0]
    tangent = problem.design.adjoint(gain * state.theta)
    tangent -= atoms.U * np.einsum("ij,ij->j", atoms.U, tangent)
    amplitude = problem.beta - np.einsum("ij,ij->j", gain, state.phi)
    free = abs(float(state.lam.sum())) if problem.intercept else 0.0
    worst = np.linalg.norm(tangent, axis=0).max(initial=0.0)
    return max(float(worst), float(np.abs(amplitude).max(initial=0.0)), free)


def linearised_at(state: Smoothed, theta: Array) -> Smoothed:
    """The state with phi' replaced by its linearisation around the point where phi' equals theta."""
    inner = np.clip(theta, 1e-12, 1 - 1e-12)
    centre = state.eps[:, None] * (2 * inner - 1) / np.sqrt(inner * (1 - inner))
    _, slope, bend = smooth(centre, state.eps)
    return replace(state, theta=slope + bend * (state.z - centre), bend=bend)


def advance_multipliers(theta: Array, model: Smoothed, old: Smoothed, new: Smoothed) -> Array:
    """The multipliers after a step: linear in z near ties, kept inside (0, 1); phi' everywhere else."""
    linear = model.theta + model.bend * (new.z - old.z)
    linear = np.clip(linear, 0.1 * theta, 1 - 0.1 * (1 - theta))
    bound = NEAR * new.eps[:, None]
    near = (np.abs(new.z) < bound) & (np.abs(old.z) < bound)
    return np.where(near, linear, new.theta)


def move(atoms: Atoms, step: Step) -> Atoms:
    length = np.linalg.norm(step.directions, axis=0)
    U = atoms.U + step.directions * np.minimum(1.0, LONGEST_STEP / np.maximum(length, 1e-300))
    U /= np.linalg.norm(U, axis=0)
    return Atoms(U, atoms.V, np.maximum(atoms.r + step.amplitudes, 0), atoms.intercept + step.intercept)


def refit(problem: Problem, state: Smoothed) -> Smoothed:
    """One step of the convex problem in the amplitudes for the smoothed features; exact for the squared loss."""
    atoms = state.atoms
    columns = state.phi * atoms.V[:, 0]
    gradient = problem.beta - columns.T @ state.lam
    point = atoms.r
    if problem.intercept:
        columns = np.column_stack([columns, np.ones(len(columns))])
        gradient = np.append(gradient, -state.lam.sum())
        point = np.append(point, atoms.intercept)
    gram = (columns.T * state.curvature) @ columns
    gram[np.diag_indices_from(gram)] *= 1 + 1e-12
    best = nonnegative_quadratic(gram, gradient - gram @ point, point, int(problem.intercept), 1e-9, 100)
    m = atoms.width
    trial = atoms.with_amplitudes(best[:m], best[m:] if problem.intercept else atoms.intercept)
    new = _with_outputs(problem, trial, state)
    return new if new.value <= state.value else state


def newton_step(problem: Problem, state: Smoothed, damping: float) -> Step:
    """The Newton step in (directions, amplitudes, intercept) by Schur complements.

    With the tangential blocks B_j = r_j (kappa_j I + X_t^T diag((-c)_+ phi'') X_t), c = lam v_j, the features' Jacobian
    F in the directions and Phi in the amplitudes (both weighted by the root of the loss' curvature), the system is

        [ B + F^T F   F^T Phi   ] [p  ]     [g_p  ]
        [ Phi^T F     Phi^T Phi ] [rho] = - [g_rho].

    Kinks that bend downwards ((c)_+) are left out of B, which keeps it positive definite.
    """
    design, beta, atoms = problem.design, problem.beta, state.atoms
    sign, r, m, d = atoms.V[:, 0], atoms.r, atoms.width, problem.design.d
    root = np.sqrt(state.curvature)
    gain = state.lam[:, None] * sign
    kappa = np.einsum("ij,ij,ij->j", gain, state.theta, state.z)
    g_p = (atoms.U * kappa - design.adjoint(gain * state.theta)) * r
    g_rho = beta - np.einsum("ij,ij->j", gain, state.phi)
    Phi = root[:, None] * state.phi * sign
    if problem.intercept:
        Phi = np.column_stack([Phi, root])
        g_rho = np.append(g_rho, -state.lam.sum())

    whitener = _block_whiteners(design, state, gain, np.maximum(kappa, 0.1 * beta) + damping * beta)
    # far from the ties the direction need not be exact, and single precision halves the cost of the large products
    dtype = np.float32 if state.delta >= COARSE and beta > SMALL_BETA else np.float64
    G = _whitened_jacobian(design, state, whitener.astype(dtype), (root[:, None] * state.theta) * (sign * r))
    solve = _identity_plus_gram_solver(G)

    q = np.einsum("jab,bj->ja", whitener, g_p).ravel()
    solved = solve(Phi)
    schur = Phi.T @ solved
    schur[np.diag_indices_from(schur)] += 1e-13 * np.trace(schur) / schur.shape[0] + 1e-300
    rho = _bounded_solve(schur, solved.T @ _product(G.T, q) - g_rho, r)
    q = q + _product(G, Phi @ rho)
    q = q - _product(G, solve(_product(G.T, q)))
    p = -np.einsum("jab,ja->bj", whitener, q.reshape(m, d))
    decrease = -0.5 * float(np.vdot(p, g_p) + rho @ g_rho)
    return Step(p, rho[:m], rho[m:] if problem.intercept else np.zeros(1), decrease)


def _whitened_jacobian(design: Design, state: Smoothed, whitener: Array, scale: Array) -> Array:
    """B^{-1/2} F^T, shape (m d, n): for each neuron whitener (X^T - u z^T) diag(scale)."""
    m, d, _ = whitener.shape
    G = (whitener.reshape(m * d, d) @ design.dense().T.astype(whitener.dtype)).reshape(m, d, design.n)
    centre = np.einsum("jab,bj->ja", whitener, state.atoms.U.astype(whitener.dtype))
    scale, z = scale.astype(whitener.dtype), state.z.astype(whitener.dtype)
    for j in range(m):  # one neuron's block stays in the cache
        G[j] -= np.outer(centre[j], z[:, j])
        G[j] *= scale[:, j]
    return G.reshape(m * d, design.n)


def _product(G: Array, v: Array) -> Array:
    """G v in the precision of G, returned in double precision."""
    return (G @ v.astype(G.dtype)).astype(np.float64)


def _block_whiteners(design: Design, state: Smoothed, gain: Array, floor: Array) -> Array:
    """L_j^{-1} with B_j = L_j L_j^T, shape (m, d, d)."""
    d, atoms = design.d, state.atoms
    weight = np.maximum(-gain, 0) * state.bend
    significant = weight * (design.row_norms**2)[:, None] > 1e-10 * floor
    blocks = np.empty((atoms.width, d, d))
    for j in range(atoms.width):
        rows = np.flatnonzero(significant[:, j])
        tangent = design.rows(rows) - np.outer(state.z[rows, j], atoms.U[:, j])
        blocks[j] = (tangent.T * weight[rows, j]) @ tangent
    diagonal = np.arange(d)
    blocks[:, diagonal, diagonal] += floor[:, None]
    blocks *= atoms.r[:, None, None]
    return np.linalg.inv(np.linalg.cholesky(blocks))


def _identity_plus_gram_solver(G: Array) -> Callable[[Array], Array]:
    """v -> (I + G^T G)^{-1} v, factorised in the smaller of the two dimensions of G (k, n)."""
    k, n = G.shape
    small = (G @ G.T if k < n else G.T @ G).astype(np.float64)
    small[np.diag_indices_from(small)] += 1.0
    if G.dtype == np.float32:  # rounding must not make it indefinite
        small[np.diag_indices_from(small)] *= 1 + 1e-6
    factor = cho_factor(small, lower=True, overwrite_a=True, check_finite=False)
    if k < n:
        return lambda v: v - _product(G.T, cho_solve(factor, _product(G, v), check_finite=False))
    return lambda v: cho_solve(factor, v, check_finite=False)


def _bounded_solve(S: Array, right: Array, r: Array) -> Array:
    """S rho = right with r + rho >= 0: amplitudes that would turn negative are set to zero."""
    rho = np.zeros(right.size)
    fixed = np.zeros(right.size, dtype=bool)
    for _ in range(20):
        free = ~fixed
        rho[fixed] = -r[fixed[: r.size]]
        rho[free] = np.linalg.solve(S[np.ix_(free, free)], right[free] - S[np.ix_(free, fixed)] @ rho[fixed])
        negative = free & (np.append(r + rho[: r.size], np.zeros(right.size - r.size)) < 0)
        if not negative.any():
            break
        fixed |= negative
    return rho

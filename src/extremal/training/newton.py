"""Newton's method on a smoothing that keeps homogeneity, followed down to the ties.

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
from extremal.training.amplitudes import active_set, is_moderate, largest
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
#: And from this size of a whitener on too.
LARGE = 1e15
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
    lam: Array  # (n, c) -grad loss
    root: Array  # (n, c, c), root root^T = the curvature of the loss
    value: float

    @property
    def gain(self) -> Array:
        """lam v_j, what a unit of neuron j's feature takes off the loss, shape (n, m)."""
        return self.lam @ self.atoms.V.T

    @property
    def moment(self) -> Array:
        """lam^T phi_j: the outer weight that would gain most, shape (m, c)."""
        return self.phi.T @ self.lam

    def take(self, index: Array) -> Smoothed:
        if index.size == self.atoms.width:
            return self
        columns = {name: getattr(self, name)[:, index] for name in ("z", "phi", "theta", "bend")}
        return replace(self, atoms=self.atoms.take(index), **columns)


@dataclass(frozen=True, eq=False)
class Step:
    """A Newton step and the decrease that its model predicts."""

    directions: Array  # (d, m)
    outer: Array  # (m, c)
    amplitudes: Array  # (m,)
    intercept: Array  # (c,)
    decrease: float


def minimise_smoothed(
    problem: Problem,
    atoms: Atoms,
    delta: float,
    *,
    steps: int,
    most_damping: float = MOST_DAMPING,
    stop: Callable[[], bool] = lambda: False,
) -> Atoms:
    """Damped primal-dual Newton steps at a fixed delta. Neurons whose amplitude vanishes are dropped."""
    tol = max(1e-2 * delta, 1e-8) * problem.beta
    state = evaluate(problem, atoms, delta)
    theta, damping, left = state.theta, 0.0, residual(problem, state)
    for _ in range(steps):
        if left < tol or stop():
            break
        model = linearised_at(state, theta)
        while True:
            if damping > most_damping:
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
        before, left = left, residual(problem, state)
        if gained <= ROUNDING * abs(state.value) and left > 0.5 * before:
            break  # all that is left is rounding
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
    unknown: Array = np.zeros(0)
    return _with_outputs(problem, atoms, Smoothed(atoms, delta, eps, z, phi, theta, bend, unknown, unknown, 0.0))


def _with_outputs(problem: Problem, atoms: Atoms, features: Smoothed) -> Smoothed:
    """The state for other amplitudes of the same directions."""
    F = features.phi @ (atoms.V * atoms.r[:, None]) + atoms.intercept
    loss = problem.loss
    value = loss.value(F) + problem.beta * float(atoms.r.sum())
    return replace(features, atoms=atoms, lam=loss.dual(F), root=_square_roots(loss.curvature(F)), value=value)


def _square_roots(matrices: Array) -> Array:
    """R with R R^T = M for positive semidefinite M, shape (n, c, c)."""
    if matrices.shape[1] == 1:
        return np.sqrt(matrices)
    values, vectors = np.linalg.eigh(matrices)
    return vectors * np.sqrt(np.maximum(values, 0))[:, None, :]


def residual(problem: Problem, state: Smoothed) -> float:
    """The largest violation of stationarity, in the units of beta: over both layers' directions, sizes, intercept."""
    atoms = state.atoms
    inner = problem.design.adjoint(state.gain * state.theta)
    inner -= atoms.U * np.einsum("ij,ij->j", atoms.U, inner)
    outer, growth = split(state.moment, atoms.V)
    free = np.abs(state.lam.sum(axis=0)).max() if problem.intercept else 0.0
    tangents = (np.linalg.norm(inner, axis=0).max(initial=0.0), np.linalg.norm(outer, axis=1).max(initial=0.0))
    return float(max(*tangents, np.abs(problem.beta - growth).max(initial=0.0), free))


def split(moment: Array, V: Array) -> tuple[Array, Array]:
    """The parts of the rows of `moment` across and along the unit rows of V."""
    along = np.einsum("jk,jk->j", moment, V)
    return moment - along[:, None] * V, along


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
    length = np.linalg.norm(step.outer, axis=1, keepdims=True)
    V = atoms.V + step.outer * np.minimum(1.0, LONGEST_STEP / np.maximum(length, 1e-300))
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    return Atoms(U, V, np.maximum(atoms.r + step.amplitudes, 0), atoms.intercept + step.intercept)


def refit(problem: Problem, state: Smoothed, *, exact: bool = False) -> Smoothed:
    """One step of the convex problem in the amplitudes for the smoothed features, the whole way for the squared loss.

    If `exact` no more neurons keep an amplitude than the rank of their fits: with more, Newton's systems are singular.
    """
    atoms, free = state.atoms, problem.loss.shape[1] if problem.intercept else 0
    columns = _amplitude_columns(problem, state)
    gradient = _amplitude_gradient(problem, state)
    point = np.concatenate([atoms.r, atoms.intercept[:free]])
    gram = columns.T @ columns
    gram[np.diag_indices_from(gram)] *= 1 + 1e-12
    linear = gradient - gram @ point
    best = nonnegative_quadratic(gram, linear, point, free, 1e-9, 100)
    if not is_moderate(best):
        return state
    if exact:
        best = active_set(gram, linear, largest(best, columns.shape[0], free), free)
    m = atoms.width
    trial = atoms.with_amplitudes(best[:m], best[m:] if free else atoms.intercept)
    new = _with_outputs(problem, trial, state)
    return new if new.value <= state.value else state


def _amplitude_columns(problem: Problem, state: Smoothed) -> Array:
    """The outputs' Jacobian in (amplitudes, intercept), times the root of the curvature: shape (n c, m + free)."""
    n, c, _ = state.root.shape
    columns = state.phi[:, None, :] * np.einsum("ikl,jk->ilj", state.root, state.atoms.V)
    if problem.intercept:
        columns = np.concatenate([columns, state.root.transpose(0, 2, 1)], axis=2)
    return columns.reshape(n * c, -1)


def _amplitude_gradient(problem: Problem, state: Smoothed) -> Array:
    gradient = problem.beta - split(state.moment, state.atoms.V)[1]
    return np.concatenate([gradient, -state.lam.sum(axis=0)]) if problem.intercept else gradient


def newton_step(problem: Problem, state: Smoothed, damping: float) -> Step:
    """The Newton step in (directions of both layers, amplitudes, intercept) by Schur complements.

    With a block B_j for the two directions of each neuron (`_block_whiteners`), the outputs' Jacobian F in the
    directions and Phi in the amplitudes (both weighted by the root of the loss' curvature), the system is

        [ B + F^T F   F^T Phi   ] [p  ]     [g_p  ]
        [ Phi^T F     Phi^T Phi ] [rho] = - [g_rho].
    """
    design, atoms = problem.design, state.atoms
    r, m, d = atoms.r, atoms.width, design.d
    gain = state.gain
    kappa = np.einsum("ij,ij,ij->j", gain, state.theta, state.z)
    inner = atoms.U * kappa - design.adjoint(gain * state.theta)
    outer, _ = split(state.moment, atoms.V)
    g_p = np.concatenate([inner.T, -outer[:, : _outer_size(state)]], axis=1) * r[:, None]
    g_rho = _amplitude_gradient(problem, state)
    Phi = _amplitude_columns(problem, state)

    whitener = _block_whiteners(problem, state, gain, kappa, damping)
    # far from the ties the direction need not be exact, and single precision halves the cost of the large products
    coarse = state.delta >= COARSE and problem.beta > SMALL_BETA
    dtype = np.float32 if coarse and np.abs(whitener).max(initial=0.0) < LARGE else np.float64
    G = _whitened_jacobian(design, state, whitener.astype(dtype))
    solve = _identity_plus_gram_solver(G)

    q = np.einsum("jab,jb->ja", whitener, g_p).ravel()
    solved = solve(Phi)
    schur = Phi.T @ solved
    schur[np.diag_indices_from(schur)] += 1e-13 * np.trace(schur) / schur.shape[0] + 1e-300
    rho = _bounded_solve(schur, solved.T @ _product(G.T, q) - g_rho, r)
    q = q + _product(G, Phi @ rho)
    q = q - _product(G, solve(_product(G.T, q)))
    p = -np.einsum("jab,ja->jb", whitener, q.reshape(whitener.shape[:2]))
    decrease = -0.5 * float(np.vdot(p, g_p) + rho @ g_rho)
    if not (np.isfinite(p).all() and np.isfinite(rho).all()):  # beyond the range of single precision, say
        raise np.linalg.LinAlgError("the Newton step is not finite")
    turn = p[:, d:] if p.shape[1] > d else np.zeros_like(atoms.V)
    return Step(p[:, :d].T, turn, rho[:m], rho[m:] if problem.intercept else np.zeros_like(atoms.intercept), decrease)


def step_work(problem: Problem, atoms: Atoms) -> float:
    """Multiplications and additions of a Newton step, roughly: its Gram matrix and the factorisation of that."""
    n, c = problem.loss.shape
    unknowns, small = atoms.width * (problem.design.d + (c if c > 1 else 0)), n * c
    return float(small * unknowns * min(small, unknowns) + min(small, unknowns) ** 3 / 3)


def _outer_size(state: Smoothed) -> int:
    """Entries of the outer direction in a block: c, or none for a single output, whose sign is fixed."""
    c = state.lam.shape[1]
    return c if c > 1 else 0


def _whitened_jacobian(design: Design, state: Smoothed, whitener: Array) -> Array:
    """B^{-1/2} F^T, shape (m b, n c), from the whiteners (m, b, b)."""
    n, c, _ = state.root.shape
    m, b, _ = whitener.shape
    d, dtype, atoms = design.d, whitener.dtype, state.atoms
    base = whitener[:, :, :d].reshape(m * b, d) @ design.dense().T.astype(dtype)
    base = base.reshape(m, b, n)
    centre = np.einsum("jab,bj->ja", whitener[:, :, :d], atoms.U.astype(dtype))
    z = state.z.astype(dtype)
    weights = (np.einsum("ikl,jk->jli", state.root, atoms.V) * (state.theta * atoms.r).T[:, None, :]).astype(dtype)
    G = base if c == 1 else np.empty((m, b, c, n), dtype)
    for j in range(m):  # one neuron's block stays in the cache
        base[j] -= np.outer(centre[j], z[:, j])
        if c == 1:
            base[j] *= weights[j, 0]
        else:
            v = atoms.V[j]
            turn = whitener[j, :, d:] @ (np.eye(c) - np.outer(v, v)).astype(dtype)
            features = (atoms.r[j] * state.phi[:, j, None, None] * state.root).astype(dtype)
            G[j] = base[j][:, None, :] * weights[j] + np.einsum("ak,ikl->ali", turn, features)
    return G.reshape(m * b, n) if c == 1 else G.transpose(0, 1, 3, 2).reshape(m * b, n * c)


def _product(G: Array, v: Array) -> Array:
    """G v in the precision of G, returned in double precision.

    Small products now and then raise the flag for an invalid operation although all their numbers are finite; a step
    that is not finite is refused by `newton_step`.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return (G @ v.astype(G.dtype)).astype(np.float64)


def _block_whiteners(problem: Problem, state: Smoothed, gain: Array, kappa: Array, damping: float) -> Array:
    """W_j with W_j B_j W_j^T = I, shape (m, b, b), for the blocks of the neurons' directions (b = d, or d + c)

        B_j = r_j [ kappa_j I + X_t^T diag((-gain_j)_+ phi'') X_t      -X_t^T diag(theta) lam_t ]
                  [ .                                                   growth_j I              ] + damping.

    X_t and lam_t are across the directions (u_j, v_j). Kinks that bend downwards ((gain)_+) are left out, which keeps
    the first block positive definite; with several outputs eigenvalues below beta / 10 are lifted.
    """
    design, atoms, d = problem.design, state.atoms, problem.design.d
    floor = np.maximum(kappa, 0.1 * problem.beta) + damping * problem.beta
    weight = np.maximum(-gain, 0) * state.bend
    significant = weight * (design.row_norms**2)[:, None] > 1e-10 * floor
    blocks = np.zeros((atoms.width, d + _outer_size(state), d + _outer_size(state)))
    for j in range(atoms.width):
        rows = np.flatnonzero(significant[:, j])
        tangent = design.rows(rows) - np.outer(state.z[rows, j], atoms.U[:, j])
        blocks[j, :d, :d] = (tangent.T * weight[rows, j]) @ tangent
    diagonal = np.arange(d)
    blocks[:, diagonal, diagonal] += floor[:, None]
    if not _outer_size(state):
        blocks *= atoms.r[:, None, None]
        return np.linalg.inv(np.linalg.cholesky(blocks))
    _, growth = split(state.moment, atoms.V)
    for j in range(atoms.width):
        u, v = atoms.U[:, j], atoms.V[j]
        mixed = design.adjoint(state.theta[:, j, None] * state.lam)
        mixed -= np.outer(u, u @ mixed)
        mixed -= np.outer(mixed @ v, v)
        blocks[j, :d, d:], blocks[j, d:, :d] = -mixed, -mixed.T
        blocks[j, d:, d:] = (growth[j] + damping * problem.beta) * np.eye(v.size)
    values, vectors = np.linalg.eigh(blocks)
    values = np.maximum(values, (0.1 + damping) * problem.beta) * atoms.r[:, None]
    return (vectors / np.sqrt(values)[:, None, :]).transpose(0, 2, 1)


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

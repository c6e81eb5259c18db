"""The cells of an arrangement: brute force in rationals, closed forms, and what the paper and the theory say."""

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

import extremal
import rational
from extremal import Patterns, arrangements, count_arrangements
from extremal.arrangements.central import Central
from extremal.arrangements.flats import degenerate_cells
from extremal.arrangements.walk import Degenerate, generic_cells
from extremal.design import Design


def grid(d):
    """{-1, 0, 1}^d without zero."""
    return np.array([v for v in itertools.product([-1, 0, 1], repeat=d) if any(v)], dtype=float)


def ordered(patterns):
    return np.unique(patterns.unpack(), axis=0)


def generic(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


def cover(n, r):
    return 2 * sum(comb(n - 1, k) for k in range(r))


integer_data = st.tuples(st.integers(1, 7), st.integers(1, 4)).flatmap(lambda shape: rational.integers(*shape))


# ------------------------------------------------------------------------------------------------------ against truth


@settings(max_examples=80)
@given(integer_data)
def test_integer_data_against_brute_force(X):
    truth = rational.cells(X)
    found = arrangements(X)
    assert found.patterns.count == len(truth)
    np.testing.assert_array_equal(ordered(found.patterns), truth)
    assert count_arrangements(X).value == len(truth)


@settings(max_examples=25)
@given(integer_data, st.randoms(use_true_random=False))
def test_near_degenerate_floats_against_brute_force(X, random):
    X = X / 3
    for _ in range(4):
        i, j = random.randrange(X.shape[0]), random.randrange(X.shape[1])
        X[i, j] = np.nextafter(X[i, j], random.choice([-np.inf, np.inf]))
    truth = rational.cells(X)
    np.testing.assert_array_equal(ordered(arrangements(X).patterns), truth)
    assert count_arrangements(X).value == len(truth)


@settings(max_examples=40)
@given(integer_data, st.randoms(use_true_random=False))
def test_membership_is_decided_without_a_listing(X, random):
    truth = {tuple(pattern) for pattern in rational.cells(X).tolist()}
    found = arrangements(X)
    for _ in range(10):
        pattern = tuple(random.random() < 0.5 for _ in range(len(X)))
        assert found.contains(pattern) == (pattern in truth)
    assert all(found.contains(pattern) for pattern in itertools.islice(truth, 5))
    assert "patterns" not in found.__dict__


@pytest.mark.parametrize(
    ("n", "r"), [(5, 2), (6, 3), (7, 3), (8, 2), (12, 5), (30, 4), (9, 9), (70, 3), (64, 2), (7, 1)]
)
def test_general_position_has_covers_count(n, r):
    X = generic(n, r)
    found = arrangements(X)
    assert found.patterns.unique().count == found.patterns.count == cover(n, r)
    counted = count_arrangements(X)
    assert counted.value == found.count == cover(n, r)
    assert counted.exact
    assert counted.value <= counted.bound or n == r


@pytest.mark.parametrize(("d", "count"), [(1, 2), (2, 8), (3, 96), (4, 5376)])
def test_grids(d, count):
    X = grid(d)
    found = arrangements(X)
    assert found.patterns.unique().count == found.patterns.count == count
    assert count_arrangements(X).value == count


@pytest.mark.slow
def test_the_grid_in_five_dimensions():
    assert count_arrangements(grid(5)).value == 1981440
    assert arrangements(grid(5)).patterns.unique().count == 1981440


@pytest.mark.parametrize("r", [2, 3, 4, 5, 6])
def test_braid_arrangement_has_one_cell_for_every_order(r):
    """{u_i = u_j}: the cells are the orders of u_1, ..., u_{r+1}."""
    X = np.array([np.eye(r + 1)[i] - np.eye(r + 1)[j] for i, j in itertools.combinations(range(r + 1), 2)])
    orders = np.array(list(itertools.permutations(range(r + 1))), dtype=float)
    np.testing.assert_array_equal(ordered(arrangements(X).patterns), np.unique((X @ orders.T > 0).T, axis=0))


def test_the_talks_example():
    patterns = arrangements([[3, 3], [2, 2], [1, 0]]).patterns
    assert {"".join(map(str, row.astype(int))) for row in patterns.unpack()} == {"111", "110", "000", "001"}


def test_a_few_dependencies_among_many_rows():
    """Zaslavsky by hand: one dependent triple and one dependent quadruple take cells away."""
    X = generic(40, 4)
    X[7] = X[3] - 2 * X[20]
    X[30] = 0.5 * X[1] + X[2] + X[3]
    X = np.round(X * 2**20) / 2**20
    X[7], X[30] = X[3] - 2 * X[20], 0.5 * X[1] + X[2] + X[3]
    found = arrangements(X)
    assert count_arrangements(X).method == "characteristic polynomial"
    assert found.patterns.unique().count == found.count < cover(40, 4)
    triple, quadruple = 1, 1
    lost = triple * (1 + (40 - 3)) + quadruple
    assert cover(40, 4) - found.count == 2 * lost


@pytest.mark.parametrize(("n", "r"), [(12, 3), (10, 4), (9, 6)])
def test_the_lattice_agrees_with_the_walk_in_general_position(n, r):
    central = Central.of(Design.from_data(generic(n, r)))
    walked, climbed = (np.vstack(list(cells(central, 1000))) for cells in (generic_cells, degenerate_cells))
    np.testing.assert_array_equal(np.unique(walked, axis=0), np.unique(climbed, axis=0))


def test_the_walk_sees_what_is_degenerate():
    with pytest.raises(Degenerate):
        list(generic_cells(Central.of(Design.from_data(grid(3))), 100))


# ------------------------------------------------------------------------------------------------------- structure


@pytest.mark.parametrize("X", [generic(20, 3), grid(3), np.vstack([generic(6, 3)] * 2), generic(4, 7)])
def test_closed_under_negation(X):
    patterns = arrangements(X).patterns
    assert patterns == patterns.opposite()
    assert arrangements(-X).patterns == patterns
    np.testing.assert_array_equal(ordered(patterns.opposite()), np.unique(~patterns.unpack(), axis=0))


def test_zero_and_parallel_rows():
    base = generic(6, 3)
    rows = np.vstack([base, np.zeros(3), 4 * base[0], -0.125 * base[1]])
    found = arrangements(rows).patterns
    bits = found.unpack()
    assert found.count == cover(6, 3)
    assert not bits[:, 6].any()
    np.testing.assert_array_equal(bits[:, 7], bits[:, 0])
    np.testing.assert_array_equal(bits[:, 8], ~bits[:, 1])
    np.testing.assert_array_equal(ordered(arrangements(base).patterns), np.unique(bits[:, :6], axis=0))


def test_only_zero_rows_have_one_cell():
    found = arrangements(np.zeros((3, 2)))
    assert found.count == found.patterns.count == count_arrangements(np.zeros((3, 2))).value == 1
    assert not found.patterns.unpack().any()
    assert found.witnesses().shape == (1, 2)
    assert [chunk.count for chunk in found] == [1]


@pytest.mark.parametrize("X", [generic(25, 3), grid(3), generic(1, 1), generic(3, 8)])
@pytest.mark.parametrize("size", [2, 7, 64, None])
def test_chunks_are_the_whole(X, size):
    found = arrangements(X)
    chunks = list(found.chunks(size))
    assert sum(chunk.count for chunk in chunks) == found.patterns.count
    assert Patterns(np.vstack([chunk.bits for chunk in chunks]), found.central) == found.patterns
    assert size is None or max(chunk.count for chunk in chunks) <= size


@pytest.mark.parametrize(
    "X", [generic(40, 3), grid(4), generic(10, 6), generic(4, 9), np.array([[3.0, 3], [2, 2], [1, 0]])]
)
def test_witnesses_are_strictly_inside(X):
    found = arrangements(X)
    W = found.witnesses()
    np.testing.assert_allclose(np.linalg.norm(W, axis=1), 1)
    for w, pattern in list(zip(W, found.patterns.unpack(), strict=True))[:: max(1, len(W) // 100)]:
        for x, bit in zip(X, pattern, strict=True):
            value = sum(Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), w.tolist(), strict=True))
            assert value > 0 if bit else value < 0


def test_slivers_have_witnesses_or_nan():
    """Cells as thin as the last bit of a float."""
    X = np.array(
        [[1.0, 1.0, 1.0], [1.0, 1.0, np.nextafter(1.0, 2)], [1.0, np.nextafter(1.0, 0), 1.0], [0.3, -2.0, 1.0]]
    )
    found = arrangements(X)
    assert found.count == cover(4, 3)
    for w, pattern in zip(found.witnesses(), found.patterns.unpack(), strict=True):
        exact = (
            [sum(Fraction(a) * Fraction(b) for a, b in zip(x, w, strict=True)) for x in X.tolist()]
            if w[0] == w[0]
            else []
        )
        assert all((value > 0) == bit and value != 0 for value, bit in zip(exact, pattern, strict=False))


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 3.0, 1e147])
def test_scales_do_not_matter(scale):
    X = np.round(generic(9, 3) * 100)
    assert arrangements(X * 2.0 ** np.round(np.log2(scale))).patterns == arrangements(X).patterns
    columns = np.ldexp(X, np.array([0, int(np.log2(scale) / 2), -int(np.log2(scale) / 2)]))
    found = arrangements(columns)
    assert found.patterns == arrangements(X).patterns
    assert Patterns.of_directions(columns, found.witnesses().T) == found.patterns
    rows = np.ldexp(X, np.linspace(-400, 400, 9).astype(int)[:, None])
    assert arrangements(rows).patterns == arrangements(X).patterns


def test_inputs_of_every_kind():
    import pandas

    X = np.round(generic(8, 3) * 4)
    expected = arrangements(X).patterns
    for other in (X.astype(np.float32), X.astype(int), X.tolist(), sparse.csr_matrix(X), pandas.DataFrame(X)):
        assert arrangements(other).patterns == expected
    assert arrangements(generic(6, 2).astype(np.float32)).count == 12


@pytest.mark.parametrize(
    "bad", [[[np.nan, 1.0]], [[np.inf]], np.zeros((0, 2)), np.zeros((2, 0)), [1.0, 2.0], [[1e200]]]
)
def test_bad_data_is_refused(bad):
    for function in (arrangements, count_arrangements):
        with pytest.raises(ValueError, match=r"X|[Ii]nput|array"):
            function(bad)


# ---------------------------------------------------------------------------------------------------------- size


def test_a_listing_that_does_not_fit_is_refused():
    X = generic(500, 10)
    with pytest.raises(extremal.TooManyCells, match="to list"):
        arrangements(X).patterns  # noqa: B018
    with pytest.raises(extremal.TooManyCells, match="too large to be counted"):
        arrangements(X).count  # noqa: B018
    small = generic(20, 3)
    with pytest.raises(extremal.TooManyCells, match="382 cells"):
        arrangements(small, limit=100).patterns  # noqa: B018
    with pytest.raises(extremal.TooManyCells, match="limit is 100"):
        next(arrangements(small, limit=100).chunks())
    assert arrangements(small, limit=382).patterns.count == 382
    assert arrangements(grid(3), limit=96).patterns.count == 96  # Cover's bound is above the limit
    with pytest.raises(ValueError, match="positive"):
        arrangements(small, limit=0)


def test_counts_beyond_the_budget_are_bounds():
    counted = count_arrangements(generic(1000, 12))
    assert not counted.exact
    assert counted.value == cover(1000, 12)
    assert counted.value <= counted.bound
    assert "up to" in str(counted)
    assert count_arrangements(grid(3), budget=10).value == cover(13, 3)
    assert count_arrangements(generic(10**4, 2)).value == 2 * 10**4


def test_the_papers_bound_is_guarded():
    assert count_arrangements([[1.0, 2.0]]).bound == 2.0 == count_arrangements([[1.0, 2.0]]).value
    counted = count_arrangements(generic(7, 3))
    assert counted.bound == pytest.approx(6 * (np.e * 6 / 3) ** 3)
    assert int(counted) == 44


# ------------------------------------------------------------------------------------------------------------ graph


@pytest.mark.parametrize("X", [generic(12, 3), grid(3), generic(6, 5), np.vstack([generic(5, 3), -2 * generic(5, 3)])])
def test_adjacent_cells_differ_in_one_hyperplane(X):
    found = arrangements(X)
    graph = found.adjacency()
    bits, line_of = found.patterns.unpack(), found.central.line_of
    assert (graph != graph.T).nnz == 0
    assert connected_components(graph)[0] == 1
    i, j = graph.nonzero()
    assert i.size > 0
    for a, b in zip(i, j, strict=True):
        differing = np.flatnonzero(bits[a] != bits[b])
        assert len(set(line_of[differing])) == 1
        assert differing.size == (line_of == line_of[differing[0]]).sum()
    # facets are the cells of the arrangements within the hyperplanes, both sides counted
    facets = sum(count_arrangements(within(X, k)).value for k in first_rows(found.central))
    assert i.size == 2 * facets


def first_rows(central):
    return [int(np.flatnonzero(central.line_of == k)[0]) for k in range(central.N)]


def within(X, k):
    """The rows of X restricted to the hyperplane of row k, in exact coordinates when X is small integers."""
    q = int(np.argmax(np.abs(X[k])))
    if not (X % 1).any():
        return np.delete(X * X[k, q] - np.outer(X[:, q], X[k]), q, axis=1)
    restricted = np.delete(X - np.outer(X[:, q] / X[k, q], X[k]), q, axis=1)
    return restricted[np.abs(restricted).max(axis=1) > 1e-12]


def test_cells_in_the_plane_form_a_cycle():
    graph = arrangements(generic(9, 2)).adjacency()
    assert graph.shape == (18, 18)
    assert (graph.sum(axis=1) == 2).all()
    assert connected_components(graph)[0] == 1


def test_two_cells_of_one_hyperplane_are_neighbours():
    assert arrangements([[1.0]]).adjacency().toarray().tolist() == [[False, True], [True, False]]


# ------------------------------------------------------------------------------------------------------------- sets


def test_sets_of_patterns():
    X = generic(10, 3)
    everything = arrangements(X).patterns
    rng = np.random.default_rng(1)
    some, others = (Patterns.of_directions(X, rng.standard_normal((3, 30))) for _ in range(2))
    both, either = some & others, some | others
    assert both.count + either.count == some.count + others.count
    assert (some - others) | both == some
    assert everything.contains(either).all()
    assert either & everything == either
    assert either | everything == everything
    assert (everything - either).count == everything.count - either.count
    assert not some.contains(everything - some).any()
    assert some.contains(some.unpack()[0]) is True
    assert some.contains((everything - some).unpack()[0]) is False
    assert Patterns.pack(X, some.unpack()) == some
    assert some != others
    assert len(some[:2]) == 2


def test_patterns_of_a_network_and_of_a_trajectory():
    X = generic(15, 2)
    rng = np.random.default_rng(2)
    hidden = rng.standard_normal((3, 6))
    hidden[:, 2] = 0
    network = extremal.Network(hidden, np.ones(6), bias=True)
    with_ones = np.column_stack([X, np.ones(15)])
    patterns = Patterns.of_network(X, network)
    np.testing.assert_array_equal(
        ordered(patterns), np.unique((with_ones @ np.delete(hidden, 2, axis=1) > 0).T, axis=0)
    )
    assert arrangements(with_ones).patterns.contains(patterns).all()
    steps = [hidden + 0.1 * t for t in range(5)]
    visited = Patterns.of_trajectory(with_ones, steps)
    expected = Patterns.of_network(with_ones, steps[0])
    for step in steps[1:]:
        expected = expected | Patterns.of_network(with_ones, step)
    assert visited == expected
    with pytest.raises(ValueError, match="empty"):
        Patterns.of_trajectory(X, [])
    with pytest.raises(ValueError, match="some networks"):
        Patterns.of_trajectory(X, [network, hidden[:2]])
    with pytest.raises(ValueError, match="2 entries"):
        Patterns.of_network(X, hidden)


def test_ties_are_exact():
    """0.1 + 0.2 - 0.3 is positive as a sum of floats and of the rationals that they are; 3 * 0.1 - 0.3 is not zero."""
    X = np.array([[0.1, 0.2, -0.3], [1.0, 1.0, -2.0], [0.0, 0.0, 0.0]])
    u = np.ones((3, 1))
    exact = [Fraction(0.1) + Fraction(0.2) - Fraction(0.3) > 0, False, False]
    assert Patterns.of_directions(X, u).unpack().tolist() == [exact]
    assert Patterns.of_directions(X, u, closed=True).unpack().tolist() == [[exact[0], True, False]]


def test_patterns_of_other_data_are_refused():
    with pytest.raises(ValueError, match="rows"):
        arrangements(generic(4, 2)).patterns.union(arrangements(generic(5, 2)).patterns)
    with pytest.raises(ValueError, match="shape"):
        arrangements(generic(4, 2)).contains([True])
    with pytest.raises(ValueError, match="shape"):
        arrangements(generic(4, 2)).patterns.contains([True])
    with pytest.raises(ValueError, match="not that of a cell"):
        arrangements([[1.0], [2.0]]).witnesses(Patterns.pack([[1.0], [2.0]], [[True, False]]))


# ---------------------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("method", ["gaussian", "data", "walk"])
@pytest.mark.parametrize("X", [generic(12, 3), grid(3), generic(3, 6), np.array([[3.0, 3], [2, 2], [1, 0]]), [[2.0]]])
def test_samples_are_cells(X, method):
    found = arrangements(X)
    sample = extremal.sample_arrangements(X, 3000, method=method, random_state=3)
    assert found.patterns.contains(sample.patterns).all()
    assert sample.patterns.unique().count == sample.patterns.count
    assert sample.times.sum() == sample.draws <= 3000
    assert sample.total == found.count
    assert sample.coverage == pytest.approx(sample.patterns.count / found.count)
    again = extremal.sample_arrangements(X, 3000, method=method, random_state=3)
    np.testing.assert_array_equal(sample.patterns.bits, again.patterns.bits)


def test_good_and_turing_estimate_what_is_missing():
    """The chance of a new pattern, against 20000 new draws."""
    X = generic(60, 4)
    sample = extremal.sample_arrangements(X, 4000)
    fresh = np.random.default_rng(99).standard_normal((4, 20000))
    new = ~sample.patterns.contains((X @ fresh > 0).T)
    assert sample.unseen == pytest.approx(new.mean(), abs=0.03)
    assert 0.2 < sample.unseen < 0.9


def test_many_draws_find_everything():
    for method in ("gaussian", "walk"):
        sample = extremal.sample_arrangements(generic(6, 3), 20000, method=method)
        assert sample.coverage == 1.0
        assert sample.unseen < 1e-3


def test_the_walk_finds_more_small_cells_than_gaussian_draws():
    X = generic(60, 4)
    walked, drawn = (extremal.sample_arrangements(X, 30000, method=m).patterns.count for m in ("walk", "gaussian"))
    assert walked > drawn


def test_class_means_are_among_the_directions():
    X = np.vstack([generic(20, 5) + 8, generic(20, 5, 1) - 8])
    y = np.repeat([0, 1], 20)
    sample = extremal.sample_arrangements(X, 300, method="data", y=y)
    assert sample.patterns.contains(X @ (X[:20].mean(axis=0) - X[20:].mean(axis=0)) > 0)


def test_bad_samples_are_refused():
    X = generic(4, 2)
    with pytest.raises(ValueError, match="gaussian, data, walk"):
        extremal.sample_arrangements(X, 5, method="sobol")
    with pytest.raises(ValueError, match="positive"):
        extremal.sample_arrangements(X, 0)
    with pytest.raises(ValueError, match="y must have shape"):
        extremal.sample_arrangements(X, 5, method="data", y=[0, 1])


def test_large_samples_do_without_the_number_of_cells():
    sample = extremal.sample_arrangements(generic(300, 20), 200)
    assert sample.total is None
    assert sample.coverage is None
    assert sample.unseen == 1.0
    assert "another is new" in str(sample)


def test_scenario_bound():
    """The numbers of theory: n = 100."""
    assert extremal.scenario_size(100, 0.1, 0.05) == 2080
    assert extremal.scenario_size(100, 0.01, 0.01) == 21122  # 21121.03...
    assert extremal.scenario_size(1, 0.5, 0.9) == 4  # the first form: 2 / 0.45 - 1
    with pytest.raises(ValueError, match="between 0 and 1"):
        extremal.scenario_size(10, 0.0, 0.5)


def test_almost_degenerate_data_of_unequal_columns():
    """Standardised integers with a bias: what was dependent is so up to rounding only, and both methods must see it."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, size=(9, 2)).astype(float)
    X = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(9), 1e6 + rng.standard_normal(9)])
    for columns in ([0, 1, 2], [0, 2, 3], [0, 1, 2, 3]):
        truth = rational.cells(X[:, columns])
        np.testing.assert_array_equal(ordered(arrangements(X[:, columns]).patterns), truth)
        assert count_arrangements(X[:, columns]).value == len(truth)

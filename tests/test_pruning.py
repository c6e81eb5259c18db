"""The table of optimal sets for files of comma-separated numbers."""

from __future__ import annotations

import numpy as np
import pytest

from extremal.reproductions.pruning import read_classes, table


def written(path, X, labels, head=""):
    lines = [",".join([*(f"{x:.6f}" for x in row), str(label)]) for row, label in zip(X, labels, strict=True)]
    path.write_text(head + "\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(110, 4))
    return X, np.where(X[:, 0] + 0.3 * rng.normal(size=110) > 0, "yes", "no")


def test_a_file_has_a_row_for_each_loss(tmp_path, data):
    X, labels = data
    rows = table([written(tmp_path / "mine.csv", X, labels)])
    assert [(row.name, row.loss) for row in rows] == [("mine", "squared"), ("mine", "squared_hinge")]
    for row in rows:
        assert 0.6 < min(row.accuracies.values()) <= max(row.accuracies.values()) <= 1
        assert row.spread == max(row.accuracies.values()) - min(row.accuracies.values())
        assert row.widths["sparsest"] <= row.widths["given"] <= row.neurons
        assert row.accuracies["best on test"] >= row.accuracies["best on validation"] - 0.1


def test_headers_gaps_and_third_classes_are_left_out(tmp_path, data):
    X, labels = data
    labels = np.array(labels, dtype=object)
    labels[:5] = "other"
    path = written(tmp_path / "odd.data", X, labels, head="a,b,c,d,class\n\n1,2,?,4,yes\n1,2,yes\n")
    samples, y = read_classes(path)
    assert samples.shape == (105, 4)
    np.testing.assert_allclose(samples, X[5:], atol=1e-6)
    np.testing.assert_array_equal(y, labels[5:] == "yes")


def test_files_that_cannot_be_used(tmp_path, data):
    X, labels = data
    with pytest.raises(ValueError, match="at least 70"):
        table([written(tmp_path / "short.csv", X[:40], labels[:40])])
    with pytest.raises(ValueError, match="1 classes"):
        table([written(tmp_path / "one.csv", X, ["a"] * len(X))])
    (tmp_path / "empty.csv").write_text("", "utf-8")
    with pytest.raises(ValueError, match="0 classes"):
        table([tmp_path / "empty.csv"])

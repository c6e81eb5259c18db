"""Reading CSV files: a header row, numeric columns, and messages that say which column is at fault."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extremal.design import Array

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}
_LARGEST = 1e100  # squares of larger numbers, as in a variance, come close to the end of double precision


@dataclass(frozen=True, eq=False)
class Table:
    """The text of a CSV file.

    Attributes
    ----------
    columns : tuple of str
        The names of the columns.
    cells : array of str, shape (n, number of columns)
    """

    name: str
    columns: tuple[str, ...]
    cells: np.ndarray

    @classmethod
    def read(cls, path: str) -> Table:
        """Read a file with a header row; columns are separated by commas, semicolons or tabs.

        Raises
        ------
        ValueError
            If the file is not text in UTF-8, has no header, no row, or a row of another length.
        """
        name = Path(path).name
        try:
            columns, rows = _read(path)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{name} is not a CSV file in UTF-8; save it as one ({error})") from error
        if not columns or not rows:
            raise ValueError(f"{name} has no data: it needs a header row and at least one row of values")
        if all(_is_number(cell) for cell in columns):
            raise ValueError(f"{name} starts with numbers; its first row must name the columns")
        if "" in columns:
            raise ValueError(f"column {columns.index('') + 1} of {name} has no name; name it, or delete it")
        repeated = sorted({column for column in columns if columns.count(column) > 1})
        if repeated:
            raise ValueError(f"{name} names {_listed(repeated)} more than once")
        for number, row in enumerate(rows, start=2):
            if len(row) != len(columns):
                raise ValueError(f"row {number} of {name} has {len(row)} values; the header has {len(columns)}")
        return cls(name, columns, np.char.strip(np.array(rows, dtype=str)))

    def without(self, columns: Sequence[str]) -> Table:
        """The table without some columns."""
        for column in columns:
            self._check(column)
        keep = [i for i, column in enumerate(self.columns) if column not in columns]
        return Table(self.name, tuple(self.columns[i] for i in keep), self.cells[:, keep])

    def without_missing(self, columns: Sequence[str]) -> Table:
        """The table without the rows in which one of the columns has no value."""
        missing = np.zeros(len(self.cells), dtype=bool)
        for column in columns:
            missing |= _missing(self.text(column))
        if missing.all():
            raise ValueError(f"every row of {self.name} has a missing value")
        return Table(self.name, self.columns, self.cells[~missing])

    def target(self, wanted: str | None) -> str:
        """The column to predict: the one asked for, or `target`, or `y`, or the last."""
        if wanted is None:
            return next((column for column in ("target", "y") if column in self.columns), self.columns[-1])
        self._check(wanted)
        return wanted

    def text(self, column: str) -> np.ndarray:
        """A column as it is written."""
        self._check(column)
        return self.cells[:, self.columns.index(column)]

    def is_numeric(self, column: str) -> bool:
        """Whether a column has numbers only, but for missing values."""
        cells = self.text(column)
        return all(_is_number(cell) for cell in cells[~_missing(cells)])

    def numbers(self, columns: Sequence[str]) -> Array:
        """Some columns as a matrix.

        Raises
        ------
        ValueError
            If a column is not there, is not numeric, or has missing values; the message names all that are
            at fault.
        """
        if not columns:
            raise ValueError(
                f"{self.name} has no column besides the target (columns are separated by commas, semicolons or tabs)"
            )
        words = [column for column in columns if not self.is_numeric(column)]
        if words:
            cells = self.text(words[0])
            sample = next(str(cell) for cell in cells[~_missing(cells)] if not _is_number(cell))
            raise ValueError(
                f"{_listed(words)} of {self.name} cannot be read as numbers (for example {sample!r} in "
                f"{words[0]!r}); {_advice(sample)}"
            )
        self.refuse_missing(columns)
        values = np.column_stack([self.text(column).astype(np.float64) for column in columns])
        self._refuse_large(columns, values)
        return values

    def refuse_missing(self, columns: Sequence[str]) -> None:
        """Raise ValueError, with the numbers of missing values, if there are any."""
        counts = {column: int(_missing(self.text(column)).sum()) for column in columns}
        counts = {column: count for column, count in counts.items() if count}
        if counts:
            total = sum(counts.values())
            listed = ", ".join(f"{column!r} ({count})" for column, count in list(counts.items())[:10])
            raise ValueError(
                f"{self.name} has {total} missing value{'s' if total > 1 else ''}, in {listed}; "
                "fill them in, or leave those rows out with --drop-missing"
            )

    def _refuse_large(self, columns: Sequence[str], values: Array) -> None:
        large = np.any(np.abs(values) > _LARGEST, axis=0)
        if large.any():
            listed = _listed([column for column, found in zip(columns, large, strict=True) if found])
            raise ValueError(f"{listed} of {self.name} has infinity, or values above {_LARGEST:g}; rescale it")

    def _check(self, column: str) -> None:
        if column not in self.columns:
            raise ValueError(f"{self.name} has no column {column!r}; it has {', '.join(self.columns)}")


def _read(path: str) -> tuple[tuple[str, ...], list[list[str]]]:
    """The names of the columns, and the rows that are not empty."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        header = file.readline()
        separator = max(",;\t", key=header.count)
        columns = tuple(cell.strip() for cell in next(csv.reader([header], delimiter=separator), []))
        return columns, [row for row in csv.reader(file, delimiter=separator) if row]


def _advice(sample: str) -> str:
    """What to do about a cell that is not a number."""
    if _is_number(sample.replace(".", "").replace(",", ".", 1)) or _is_number(sample.replace(",", "")):
        return "write decimals with a point, and nothing between thousands"
    return "encode what is needed, or leave it out with --drop"


def _missing(cells: np.ndarray) -> np.ndarray:
    return np.isin(np.char.lower(cells), list(_MISSING))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(repr(column) for column in columns[:10])
    more = f" and {len(columns) - 10} more" if len(columns) > 10 else ""
    return f"column{'s' if len(columns) > 1 else ''} {shown}{more}"

"""The terminal: a line of progress on stderr, a table on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extremal.training import Record


class ProgressLine:
    """A line that is rewritten while the training goes on; silent if asked to be, or without a terminal."""

    def __init__(self, quiet: bool, first: str) -> None:
        console = Console(stderr=True)
        self._line = Status(first, console=console) if console.is_terminal and not quiet else None

    def __enter__(self) -> Self:
        if self._line:
            self._line.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._line:
            self._line.stop()

    def show(self, record: Record) -> None:
        """Show one record of the training."""
        from extremal.training.result import describe

        if self._line:
            self._line.update(describe(record))

    def say(self, text: str) -> None:
        """Show a text."""
        if self._line:
            self._line.update(text)


def show_table(rows: dict[str, str], status: str, proven: bool, notes: Sequence[str] = ()) -> None:
    """Print names and values in two columns, and below them how it ended."""
    show_rows(rows)
    console = Console(file=sys.stdout, highlight=False)
    console.print(Text(status, style="bold green" if proven else "bold yellow"))
    for note in notes:
        console.print(Text(f"Note: {note}", style="dim"))


def show_rows(rows: dict[str, str]) -> None:
    """Print names and values in two columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, Text(value))
    Console(file=sys.stdout, highlight=False).print(table)

"""What a reproduction found: comparisons with what was published, and a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Agreement(Enum):
    """Whether what came out is what was published."""

    AGREES = "agrees"
    DIFFERS = "differs"
    INCOMPARABLE = "cannot be compared"


@dataclass(frozen=True)
class Comparison:
    """One published value or claim and ours.

    Attributes
    ----------
    what : str
    published, ours : str
        As they are to be read, numbers with the digits that count.
    verdict : Agreement
    why : str
        Why it differs, or cannot be compared; required for these.
    """

    what: str
    published: str
    ours: str
    verdict: Agreement
    why: str = ""

    def __post_init__(self) -> None:
        if self.verdict is not Agreement.AGREES and not self.why:
            raise ValueError(f"{self.what}: a comparison that does not agree has to say why")

    @classmethod
    def number(
        cls, what: str, published: float, ours: float, *, tol: float, digits: int = 10, why: str = ""
    ) -> Comparison:
        """Two numbers, which agree if |ours - published| <= tol max(1, |published|)."""
        same = abs(ours - published) <= tol * max(1.0, abs(published))
        verdict = Agreement.AGREES if same else Agreement.DIFFERS
        why = why if not same else ""
        return cls(what, f"{published:.{digits}g}", f"{ours:.{digits}g}", verdict, why or ("" if same else "not known"))

    @classmethod
    def claim(cls, what: str, published: str, ours: str, holds: bool, why: str = "") -> Comparison:
        """A claim in words, and whether what came out bears it out."""
        verdict = Agreement.AGREES if holds else Agreement.DIFFERS
        return cls(what, published, ours, verdict, why if not holds else "")

    @classmethod
    def incomparable(cls, what: str, published: str, ours: str, why: str) -> Comparison:
        """A published value that cannot be compared, because its data or settings are not at hand."""
        return cls(what, published, ours, Agreement.INCOMPARABLE, why)


@dataclass(frozen=True, eq=False)
class Reproduction:
    """The outcome of one reproduction.

    Attributes
    ----------
    comparisons : tuple of Comparison
    sentence : str
        What was seen, in a sentence or two.
    draw : callable
        Makes the matplotlib figure.
    name, title, source : str
        As in the catalogue.
    seconds : float
        Wall time of the run, without the picture.
    """

    comparisons: tuple[Comparison, ...]
    sentence: str
    draw: Callable[[], Figure]
    name: str = ""
    title: str = ""
    source: str = ""
    seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether nothing differs from what was published."""
        return all(comparison.verdict is not Agreement.DIFFERS for comparison in self.comparisons)

    def __str__(self) -> str:
        head = [f"{self.title} [{self.source}]"]
        for comparison in self.comparisons:
            head.append(f"  {comparison.what}: published {comparison.published}, ours {comparison.ours}")
            head.append(f"    {comparison.verdict.value}" + (f": {comparison.why}" if comparison.why else ""))
        return "\n".join([*head, self.sentence, f"{self.seconds:.1f} s"])

    def markdown(self) -> str:
        """A section of a page, with the picture that `save` writes."""
        lines = [f"## {self.name}", "", f"{self.title}. *{self.source}.*", ""]
        lines += ["| what | published | ours | verdict |", "| --- | --- | --- | --- |"]
        for c in self.comparisons:
            cells = [c.what, c.published, c.ours, c.verdict.value + (f": {c.why}" if c.why else "")]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join([*lines, "", self.sentence, "", f"![{self.title}]({self.name}.png)", ""])

    def save(self, folder: str | Path) -> Path:
        """Write NAME.png and NAME.md into the folder, which is made if need be; the path of the picture."""
        from matplotlib import pyplot

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        figure = self.draw()
        picture = folder / f"{self.name}.png"
        figure.savefig(picture, dpi=110)
        pyplot.close(figure)
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")
        return picture

"""The sources of what the package claims, as BibTeX, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Source", "citation", "sources_of"]


@dataclass(frozen=True)
class Source:
    """A publication.

    Attributes
    ----------
    key, kind : str
        Of its BibTeX entry.
    fields : dict
        Of that entry, in order.
    role : str
        What it is used for here.
    """

    key: str
    kind: str
    fields: dict[str, str]
    role: str

    @property
    def bibtex(self) -> str:
        lines = [f"  {name:<10} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])

    @property
    def plain(self) -> str:
        """Authors, title, where and when, in one line of text."""
        people = self.fields["author"].split(" and ")
        names = [" ".join(reversed(person.split(", "))) for person in people]
        authors = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        where = self.fields.get("journal") or self.fields.get("booktitle", "")
        title = self.fields["title"].replace("{", "").replace("}", "")
        return f"{authors}: {title}. {where}, {self.fields['year']}."

    @property
    def link(self) -> str:
        """Where it can be read."""
        return f"https://doi.org/10.48550/arXiv.{self.fields['eprint']}"


def _arxiv(number: str) -> dict[str, str]:
    return {"eprint": number, "eprinttype": "arXiv"}


SOURCES = {
    source.key: source
    for source in (
        Source(
            "pilanci2020neural",
            "inproceedings",
            {
                "author": "Pilanci, Mert and Ergen, Tolga",
                "title": "Neural Networks are Convex Regularizers: Exact Polynomial-time Convex Optimization "
                "Formulations for Two-layer Networks",
                "booktitle": "International Conference on Machine Learning (ICML)",
                "series": "Proceedings of Machine Learning Research",
                "volume": "119",
                "pages": "7695--7705",
                "year": "2020",
                **_arxiv("2002.10553"),
            },
            "the convex program that is equivalent to training, and strong duality",
        ),
        Source(
            "ergen2021convex",
            "article",
            {
                "author": "Ergen, Tolga and Pilanci, Mert",
                "title": "Convex Geometry and Duality of Over-parameterized Neural Networks",
                "journal": "Journal of Machine Learning Research",
                "volume": "22",
                "number": "212",
                "pages": "1--63",
                "year": "2021",
                **_arxiv("2002.11219"),
            },
            "the dual problem, the rectified ellipsoid and its extreme points",
        ),
        Source(
            "wang2022hidden",
            "inproceedings",
            {
                "author": "Wang, Yifei and Lacotte, Jonathan and Pilanci, Mert",
                "title": "The Hidden Convex Optimization Landscape of Regularized Two-Layer {ReLU} Networks: an Exact "
                "Characterization of Optimal Solutions",
                "booktitle": "International Conference on Learning Representations (ICLR)",
                "year": "2022",
                **_arxiv("2006.05900"),
            },
            "checking whether a given network is globally optimal",
        ),
        Source(
            "wang2022backpropagation",
            "inproceedings",
            {
                "author": "Wang, Yifei and Pilanci, Mert",
                "title": "The Convex Geometry of Backpropagation: Neural Network Gradient Flows Converge to Extreme "
                "Points of the Dual Convex Program",
                "booktitle": "International Conference on Learning Representations (ICLR)",
                "year": "2022",
                **_arxiv("2110.06488"),
            },
            "where gradient flow ends, and when that is the global optimum",
        ),
        Source(
            "mishkin2023optimal",
            "inproceedings",
            {
                "author": "Mishkin, Aaron and Pilanci, Mert",
                "title": "Optimal Sets and Solution Paths of {ReLU} Networks",
                "booktitle": "International Conference on Machine Learning (ICML)",
                "series": "Proceedings of Machine Learning Research",
                "volume": "202",
                "year": "2023",
                **_arxiv("2306.00119"),
            },
            "pruning a network without changing what it computes on the data",
        ),
        Source(
            "boyd2017alternating",
            "article",
            {
                "author": "Boyd, Nicholas and Schiebinger, Geoffrey and Recht, Benjamin",
                "title": "The Alternating Descent Conditional Gradient Method for Sparse Inverse Problems",
                "journal": "SIAM Journal on Optimization",
                "volume": "27",
                "number": "2",
                "pages": "616--639",
                "year": "2017",
                **_arxiv("1507.01562"),
            },
            "the scheme of the training algorithm: add a neuron, correct, descend, prune",
        ),
        Source(
            "lyu2020gradient",
            "inproceedings",
            {
                "author": "Lyu, Kaifeng and Li, Jian",
                "title": "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks",
                "booktitle": "International Conference on Learning Representations (ICLR)",
                "year": "2020",
                **_arxiv("1906.05890"),
            },
            "the limit direction of gradient flow satisfies the optimality conditions of the max-margin problem",
        ),
    )
}

_OF = {
    "fit": ("pilanci2020neural", "ergen2021convex", "boyd2017alternating", "mishkin2023optimal", "wang2022hidden"),
    "certify": ("pilanci2020neural", "ergen2021convex", "wang2022hidden"),
    "flow": ("wang2022backpropagation", "lyu2020gradient", "pilanci2020neural", "ergen2021convex"),
}


def sources_of(task: str) -> list[Source]:
    """The sources of "fit", "certify" or "flow"."""
    return [SOURCES[key] for key in _OF[task]]


def citation(key: str | None = None) -> str:
    """BibTeX of one source, or of all.

    Parameters
    ----------
    key : str, optional
        One of `SOURCES`, for example "pilanci2020neural".
    """
    if key is None:
        return "\n\n".join(source.bibtex for source in SOURCES.values())
    if key not in SOURCES:
        raise ValueError(f"there is no source {key!r}; there are {', '.join(SOURCES)}")
    return SOURCES[key].bibtex

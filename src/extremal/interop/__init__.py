"""Networks of other libraries: to and from PyTorch, scikit-learn, plain arrays and files."""

from __future__ import annotations

from extremal.interop.imported import Imported

__all__ = ["Imported"]

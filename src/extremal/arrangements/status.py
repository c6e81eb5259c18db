"""How a compiled loop ended."""

DONE, FULL, ZERO, UNLUCKY = 0, 1, 2, 3

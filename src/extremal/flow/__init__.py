"""Gradient flow of the unregularised two-layer ReLU network from a small start to its limit direction."""

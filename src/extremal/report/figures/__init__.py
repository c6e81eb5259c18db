"""Figures: pure functions from numbers to what plotly.js draws."""

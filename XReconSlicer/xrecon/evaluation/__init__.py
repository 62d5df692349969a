"""Metrics, benchmark and report."""

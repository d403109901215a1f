"""Masks without labels: clusters of intensities or of tokens."""

PER_CASE, COHORT = "per-case", "cohort"
"""What centers are fitted to, in place of a file of them: each case, or all cases together."""

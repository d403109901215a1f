"""Masks without labels: clusters of intensities or of tokens."""

PER_CASE, COHORT = "per-case", "cohort"
"""What centers are fitted to, in place of a file of them: each case, or all cases together."""
CLUSTERS, MOST_CLUSTERS = 3, 255
FUZZIFIER, FUZZIFIER_OF_TOKENS = 2.0, 1.2
TOLERANCE, MAX_ITERATIONS = 1e-4, 300
"""Defaults of the commands."""

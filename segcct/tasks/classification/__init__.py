"""Labelled pictures: found by layout, decoded once, divided by side, augmented in batches."""

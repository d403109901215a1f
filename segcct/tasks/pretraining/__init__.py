"""Masked pre-training of encoders on images without labels."""

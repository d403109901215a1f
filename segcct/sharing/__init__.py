"""A trained model for others: its description, `segcct push`, and a bundle for MONAI."""

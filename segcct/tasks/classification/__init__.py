"""Image to class: labeled images found by layout, decoded once, split, augmented in batches; classes predicted."""

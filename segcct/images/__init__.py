"""Files of strangers: what a header may claim and where its voxels may lie, format by format."""

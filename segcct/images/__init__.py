"""Image files: what a header may claim, where its voxels may be, and the voxels, format by format."""

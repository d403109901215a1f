"""`segcct init DIR`: what kind of dataset is this, and what config would train on it?

Names first, then headers, then a sample of the voxels. Meanings are never guessed from values: a scheme is named only
where the file names are a known dataset's own and the values agree, or where there is one value besides 0. What was not
clear is said, on the terminal and in the config.
"""

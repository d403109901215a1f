"""`segcct check`: every problem of a dataset, each with file, found, expected and remedy.

Two depths. The quick part, which runs before any training, looks at names, headers and the split. The deep part reads
every voxel. Neither stops at a file that cannot be read.

Errors make the check fail. Notices do not: they may be meant, and are worth knowing (slices without foreground, cases
without a label, a class that no label holds, one patient's image stored twice).
"""

"""`segcct train-m2i` as a script."""

import sys

from segcct.cli import main

if __name__ == "__main__":
    sys.exit(main(["train-m2i", *sys.argv[1:]]))

"""`segcct train-cls` as a script."""

import sys

from segcct.cli import main

if __name__ == "__main__":
    sys.exit(main(["train-cls", *sys.argv[1:]]))

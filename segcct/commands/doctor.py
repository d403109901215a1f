"""segcct doctor."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from segcct.commands.parser import Commands, add_command


def add_doctor(commands: Commands) -> None:
    """What this machine is, and what that means."""
    parser = add_command(commands, "doctor", _doctor, "report versions, hardware, measured speed and what is missing")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    parser.add_argument("--no-speed", action="store_true", help="skip the speed measurements")


def _doctor(arguments: argparse.Namespace) -> None:
    from segcct.environment import describe, examine
    from segcct.progress import say

    if not arguments.no_speed:
        say("measuring a training step in fp32 and bf16, and the backends of prediction ...")
    facts = examine(Path(), measure=not arguments.no_speed)
    print(json.dumps(facts, indent=2, allow_nan=False) if arguments.json else describe(facts))

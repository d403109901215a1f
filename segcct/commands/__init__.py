"""One file per group of commands; each `add_*` registers a parser, and heavy imports wait until the command runs."""

from segcct.commands.calibrate import add_calibrate
from segcct.commands.cluster_segment import add_assign_clusters, add_cluster_segment
from segcct.commands.compare import add_compare
from segcct.commands.dataset_commands import add_check, add_init, add_phantom
from segcct.commands.doctor import add_doctor
from segcct.commands.export_model import add_export
from segcct.commands.list_models import add_models
from segcct.commands.parser import CommandParser, ProgramParser
from segcct.commands.predict_evaluate import add_evaluate, add_predict, add_report
from segcct.commands.push import add_bundle, add_push
from segcct.commands.run_demo import add_demo
from segcct.commands.train import add_train
from segcct.commands.tune_postprocessing import add_tune_postprocessing
from segcct.version import VERSION

COMMANDS = (
    add_phantom,
    add_init,
    add_check,
    add_train,
    add_predict,
    add_evaluate,
    add_report,
    add_compare,
    add_calibrate,
    add_tune_postprocessing,
    add_export,
    add_push,
    add_bundle,
    add_cluster_segment,
    add_assign_clusters,
    add_models,
    add_doctor,
    add_demo,
)


def build_parser() -> ProgramParser:
    """The parser of every command; abbreviated flags are off."""
    parser = ProgramParser(
        prog="segcct",
        description="Medical image segmentation by compact transformers. Research use only; not a medical device.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"segcct {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=CommandParser)
    for command in COMMANDS:
        command(commands)
    parser.commands = commands.choices
    return parser

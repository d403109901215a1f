"""One file per group of commands; each `add_*` registers a parser, and heavy imports wait until the command runs."""

from segcct.commands.calibrate import add_calibrate
from segcct.commands.classification import add_train_cls
from segcct.commands.compare import add_compare
from segcct.commands.dataset import add_check, add_init, add_phantom
from segcct.commands.evaluate import add_evaluate, add_report
from segcct.commands.models import add_models
from segcct.commands.predict import add_predict
from segcct.commands.train import add_train_seg
from segcct.commands.train_m2i import add_train_m2i

COMMANDS = (
    add_phantom,
    add_init,
    add_check,
    add_train_seg,
    add_train_cls,
    add_train_m2i,
    add_predict,
    add_evaluate,
    add_report,
    add_compare,
    add_calibrate,
    add_models,
)

"""The command line: extremal fit | certify | verify | predict | flow | arrangements | reproduce | info."""

# Nothing but click is imported here: `extremal --help` answers at once, and NumPy waits for a command that
# needs it.
from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

FINISHED, DATA_ERROR, TIME_LIMIT, GAP_TOO_LARGE, REJECTED, INTERRUPTED = 0, 1, 3, 4, 5, 130

EXIT_CODES = """\b
Exit codes:
    0  finished; the proven gap is reported
    1  the data or the model cannot be used
    2  wrong usage
    3  stopped by the time limit before the training converged
    4  the proven gap is larger than --require-gap
  130  interrupted (Ctrl-C); the best network so far is reported and saved
"""

VERIFY_CODES = """\b
Exit codes:
    0  the proof is accepted
    1  the data cannot be used
    2  wrong usage
    5  the proof is rejected
"""

FLOW_CODES = """\b
Exit codes:
    0  finished; every start has its verdict
    1  the data cannot be used, or no network fits the labels
    2  wrong usage
    3  the time limit ended a start before its verdict
  130  interrupted (Ctrl-C); the starts that are done are reported
"""

#: The methods of `extremal.flow`.
METHODS = ["flow", "gd", "sgd", "momentum", "adam", "normalised", "decaying", "unit"]

_DATA = click.Path(exists=True, dir_okay=False)


def _options(*options: Any) -> Any:
    """Several click options as one decorator."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_reading = _options(
    click.option("--target", metavar="COLUMN", help="The column to predict. [default: target or y, else the last]"),
    click.option("--drop", multiple=True, metavar="COLUMN", help="A column to leave out; may be repeated."),
    click.option("--drop-missing", is_flag=True, help="Leave out rows with missing values."),
)
_proving = _options(
    click.option("--tol", type=click.FloatRange(min=0, min_open=True), default=1e-6, show_default=True,
                 help="The relative gap at which the network counts as proven optimal."),
    click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
                 help="Stop then, with the best network so far and its valid gap."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seeds the search."),
    click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
                 help="Threads of the proof; with --cv folds trained in parallel, too."),
    click.option("--require-gap", type=click.FloatRange(min=0), metavar="GAP",
                 help="Exit with code 4 if the proven relative gap is larger."),
    click.option("--proof", type=click.Path(dir_okay=False, writable=True), metavar="PROOF.npz",
                 help="Save the certificate with a proof for `extremal verify`; takes up to as much time again."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
@click.version_option(package_name="extremal")
def main() -> None:
    """Train two-layer ReLU networks to the global optimum, with a proof of how close they are to it."""


@main.command(epilog=EXIT_CODES, short_help="Train a network on a CSV file, and certify it.")
@click.argument("data", type=_DATA)
@_reading
@click.option(
    "--alpha",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="The penalty on the squared weights, relative to the mean loss.  [default: 0.01]",
)
@click.option("--cv", is_flag=True, help="Choose alpha by five-fold cross-validation.")
@click.option("--classes", is_flag=True, help="The target holds classes (always so for a column of words).")
@click.option(
    "--loss",
    type=click.Choice(["squared", "huber", "logistic", "squared_hinge"]),
    help="[default: squared, or logistic for classes]",
)
@click.option(
    "--bias",
    type=click.Choice(["penalized", "none"]),
    default="penalized",
    show_default=True,
    help="The bias of the hidden neurons.",
)
@click.option("--intercept/--no-intercept", default=True, show_default=True, help="An unpenalised output intercept.")
@click.option(
    "--standardize/--no-standardize",
    default=True,
    show_default=True,
    help="Scale all columns to mean 0 and variance 1 (a numeric target too); saved with the model.",
)
@_proving
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True),
    metavar="MODEL",
    help="Save the model: .npz for `predict` and `certify`, or .onnx, .skops, .pt, .safetensors.",
)
@click.option(
    "--history",
    type=click.Path(dir_okay=False, writable=True),
    metavar="PICTURE",
    help="Draw how objective and proven bound closed on each other (png, svg or pdf).",
)
def fit(data: str, as_json: bool, require_gap: float | None, **options: Any) -> None:
    """Train a network on the CSV file DATA and certify it.

    The file has a header row and numeric columns.

    \b
    extremal fit data.csv
    extremal fit data.csv --target price --cv --out model.npz
    extremal fit data.csv --target species --classes --alpha 0.003 --json
    extremal fit data.csv --proof proof.npz && extremal verify proof.npz data.csv
    """
    if options["cv"] and options["alpha"] is not None:
        raise click.UsageError("give --alpha or --cv, not both")
    if options["classes"] and options["loss"] in ("squared", "huber"):
        raise click.UsageError(f"--loss {options['loss']} is for numbers, and --classes asks for classes")
    for option in ("out", "history", "proof"):
        _check_folder(options[option], option)
    from extremal.cli import commands

    with _data_errors():
        report = commands.fit(data, quiet=as_json, **options)
    _finish(report, as_json, require_gap)


@main.command(epilog=EXIT_CODES, short_help="Judge a trained network of any library.")
@click.argument("model", type=_DATA)
@click.argument("data", type=_DATA)
@_reading
@click.option("--alpha", type=click.FloatRange(min=0, min_open=True), help="The penalty, relative to the mean loss.")
@click.option(
    "--beta", type=click.FloatRange(min=0, min_open=True), help="The penalty, relative to the sum of the losses."
)
@click.option(
    "--loss",
    type=click.Choice(["squared", "mse", "huber", "logistic", "softmax", "squared_hinge"]),
    help="squared is r^2/2, mse r^2 as in PyTorch's MSELoss.  [default: squared, or logistic or softmax for classes]",
)
@click.option("--classes", is_flag=True, help="The target holds classes, in order of the outputs.")
@click.option(
    "--biases",
    type=click.Choice(["hidden", "all", "none"]),
    help="Which biases the penalty includes: hidden as `fit`, all as PyTorch's weight_decay, none as scikit-learn.  "
    "[default: all for .pt and .safetensors, none for .skops, else hidden]",
)
@click.option(
    "--standardize", is_flag=True, help="The network was trained on columns of mean 0 and variance 1 (target too)."
)
@_proving
@click.option(
    "--improved",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Save the better network: .npz, .safetensors, .pt, .onnx or .skops.",
)
def certify(model: str, data: str, as_json: bool, require_gap: float | None, **options: Any) -> None:
    """Say how far a trained MODEL is from the best network for DATA, where that comes from, and what is better.

    MODEL is a file of `extremal fit`, which knows its penalty and columns, or a two-layer ReLU network of another
    library: a state dict or Sequential of PyTorch (.pt, .safetensors), an .onnx graph, arrays (.npz), or a model of
    scikit-learn (.skops), which knows its penalty. It reads the columns of DATA in the file's order. The objective is

    \b
        sum of the losses + beta/2 |weights|^2     with --beta, and
        mean of the losses + alpha/2 |weights|^2   with --alpha;

    weight_decay of PyTorch's SGD and Adam is --alpha, and alpha of scikit-learn is --beta.

    \b
    extremal certify model.npz data.csv
    extremal certify model.pt data.csv --target price --alpha 1e-3 --loss mse
    extremal certify model.onnx data.csv --beta 0.1 --classes --improved better.onnx
    """
    if options["alpha"] is not None and options["beta"] is not None:
        raise click.UsageError("give --alpha or --beta, not both")
    for option in ("proof", "improved"):
        _check_folder(options[option], option)
    from extremal.cli import judging

    with _data_errors():
        report = judging.certify(model, data, **options)
    _finish(report, as_json, require_gap)


@main.command(epilog=VERIFY_CODES, short_help="Check a proof of optimality from scratch.")
@click.argument("proof", type=_DATA)
@click.argument("data", type=_DATA)
@_reading
@click.option("--model", type=_DATA, metavar="MODEL.npz", help="Take columns and scaling from a saved model.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def verify(proof: str, data: str, as_json: bool, **options: Any) -> None:
    """Check a PROOF of optimality for the CSV file DATA from scratch, and say what it proves.

    The checker shares no code with the search. The columns are taken as they are, or standardised as `fit` does,
    whichever the proof is about. Classes in the target are numbered in order.

    \b
    extremal verify proof.npz data.csv
    extremal verify proof.npz data.csv --target price --model model.npz
    """
    from extremal.cli import verifying

    with _data_errors("Interrupted."):
        verdict = verifying.verify(proof, data, **options)
    click.echo(verifying.as_json(verdict) if as_json else str(verdict))
    if not verdict.accepted:
        sys.exit(REJECTED)


@main.command(short_help="Write the predictions of a saved model.")
@click.argument("model", type=_DATA)
@click.argument("data", type=_DATA)
@click.option("--out", type=click.Path(dir_okay=False, writable=True), metavar="CSV", help="[default: stdout]")
def predict(model: str, data: str, out: str | None) -> None:
    """Write the predictions of a saved MODEL for the rows of DATA, one a line, as CSV."""
    _check_folder(out, "out")
    from extremal.cli import commands

    with _data_errors(), contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(out, "w", newline="", encoding="utf-8")) if out else sys.stdout
        commands.predict(model, data, stream)


@main.command(short_help="Count, list or sample the activation patterns of a CSV file.")
@click.argument("data", type=_DATA)
@_reading
@click.option(
    "--bias",
    type=click.Choice(["penalized", "none"]),
    default="penalized",
    show_default=True,
    help="The bias of the hidden neurons: penalized adds a column of ones.",
)
@click.option("--count", is_flag=True, help="Only count the patterns.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Draw N random directions instead.")
@click.option(
    "--method",
    type=click.Choice(["gaussian", "data", "walk"]),
    default="gaussian",
    show_default=True,
    help="How --sample draws.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="List so many patterns at most. [default: 2 GiB]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seeds --sample.")
@click.option(
    "--out", type=click.Path(dir_okay=False, writable=True), metavar="PATTERNS.npz", help="Save the patterns."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def arrangements(data: str, as_json: bool, **options: Any) -> None:
    """Find all activation patterns of the CSV file DATA: the cells of the hyperplanes of its rows.

    The columns are used as they are, without the target. With a bias, scaling the columns changes no pattern.

    \b
    extremal arrangements data.csv --count
    extremal arrangements data.csv --out patterns.npz
    extremal arrangements data.csv --sample 100000 --method walk --json
    """
    if options["count"] and (options["sample"] or options["out"]):
        raise click.UsageError("--count lists nothing; leave out --sample and --out")
    _check_folder(options["out"], "out")
    from extremal.cli import cells

    with _data_errors("Interrupted."):
        report = cells.arrangements(data, quiet=as_json, **options)
    if as_json:
        click.echo(report.json())
    else:
        report.show()


@main.command(epilog=FLOW_CODES, short_help="Follow gradient flow to its limit: is that the global optimum?")
@click.argument("data", type=_DATA)
@_reading
@click.option("--width", type=click.IntRange(min=1), default=20, show_default=True, help="The number of neurons.")
@click.option(
    "--init",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    help="The scale of the start: the norm of every neuron's weights.",
)
@click.option(
    "--loss",
    type=click.Choice(["logistic", "exponential", "squared"]),
    default="logistic",
    show_default=True,
    help="squared: the target holds numbers, and is interpolated.",
)
@click.option(
    "--bias",
    type=click.Choice(["none", "penalized"]),
    default="none",
    show_default=True,
    help="The bias of the hidden neurons; penalized adds a column of ones.",
)
@click.option(
    "--standardize/--no-standardize",
    default=False,
    show_default=True,
    help="Scale all columns to mean 0 and variance 1 (a numeric target too). Another scale is another "
    "problem, with another optimum.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="flow",
    show_default=True,
    help="The gradient flow, or a discrete method.",
)
@click.option(
    "--step",
    type=click.FloatRange(min=0, min_open=True),
    help="The step of a discrete method.  [default: 0.1 / the largest row norm]",
)
@click.option(
    "--max-steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Steps of every start.  [default: 50 000; discrete methods: 100 000]",
)
@click.option("--seeds", type=click.IntRange(min=1), default=16, show_default=True, help="The number of starts.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The first start's seed.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="For every start.",
)
@click.option(
    "--proof-time",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For every verdict; with 0 the global optimum is not computed.",
)
@click.option(
    "--report",
    type=click.Path(file_okay=False, writable=True),
    metavar="FOLDER",
    help="Write the verdicts (csv), and the record (npz) and pictures (png, gif) of the best start.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def flow(data: str, as_json: bool, **options: Any) -> None:
    """Follow gradient flow on the CSV file DATA from random starts, each to its limit: is it the global optimum?

    The target has two classes, which are numbers or words. The unregularised network separates them, and as its
    weights grow for ever its direction tends to a stationary point of the max-margin problem. Every limit is
    computed to the last digits and compared, with a proof, with the best network of any width.

    \b
    extremal flow data.csv
    extremal flow data.csv --target species --width 50 --seeds 100 --report out/
    extremal flow data.csv --method gd --step 0.01 --max-steps 1000000 --json
    """
    if options["method"] == "flow" and options["step"] is not None:
        raise click.UsageError("--step is for the discrete methods; the flow chooses its steps")
    from extremal.cli import flowing

    with _data_errors("Interrupted before there was a result."):
        report = flowing.flow(data, quiet=as_json, **options)
        if as_json:
            click.echo(report.json())
        else:
            report.show()
    if report.interrupted:
        sys.exit(INTERRUPTED)
    if report.out_of_time:
        sys.exit(TIME_LIMIT)


@main.command(short_help="Run published experiments again, and compare.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Run all of them.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, writable=True),
    metavar="FOLDER",
    help="Write a table (md) and a picture (png) of each, and a page of all of them (README.md).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def reproduce(names: tuple[str, ...], everything: bool, out: str | None, as_json: bool) -> None:
    """Run published experiments again: the printed value, ours, and whether they agree. Without NAME, list them.

    \b
    extremal reproduce
    extremal reproduce toy-landscape --out out/
    extremal reproduce --all --out out/
    """
    from extremal.cli import reproducing

    with _data_errors():
        text, interrupted = reproducing.reproduce(names, everything=everything, out=out, as_json=as_json)
    click.echo(text, nl=False)
    if interrupted:
        click.echo("Interrupted; what was finished before is above" + (" and saved." if out else "."), err=True)
        sys.exit(INTERRUPTED)


@main.command(short_help="Print versions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(as_json: bool) -> None:
    """Print the versions of everything that is involved."""
    from extremal.cli import commands

    report = commands.info()
    click.echo(report.json() if as_json else str(report))


def _check_folder(path: str | None, option: str) -> None:
    """Refuse a file that cannot be written before the work is done, not after."""
    if path and not Path(path).absolute().parent.is_dir():
        raise click.UsageError(f"--{option}: there is no folder {Path(path).parent}")


@contextlib.contextmanager
def _data_errors(interrupted: str = "Interrupted before there was a network.") -> Iterator[None]:
    """Errors in what the user gave, as one line and exit code 1."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo(interrupted, err=True)
        sys.exit(INTERRUPTED)


def _finish(report: Any, as_json: bool, require_gap: float | None) -> None:
    """Print the report and exit with the code that it deserves."""
    if as_json:
        click.echo(report.json())
    else:
        report.show()
    if report.interrupted:
        sys.exit(INTERRUPTED)
    if report.out_of_time:
        sys.exit(TIME_LIMIT)
    if require_gap is not None and not report.gap <= require_gap:
        click.echo(f"The proven gap {report.gap:.1e} is larger than the required {require_gap:g}.", err=True)
        sys.exit(GAP_TOO_LARGE)

"""The command line. No logic: commands parse, call the library, and print. Heavy imports wait until a command runs."""

import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flexsearch import __version__
from flexsearch.errors import UserError

app = typer.Typer(
    name="flexsearch",
    help="Find the token-density schedule of a diffusion transformer, for your model, GPU and latency budget.",
    epilog="Start with: flexsearch run search_spaces/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 130

Space = Annotated[Path, typer.Argument(help="search space, a YAML file", metavar="SPACE")]
RunDir = Annotated[Path, typer.Argument(help="run directory", metavar="RUN")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="override a field, e.g. search.trials=20")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


def main() -> None:
    """Runs a command and turns its end into an exit status: 0, 2 (the user can mend it), 1 (our fault), 130."""
    warnings.simplefilter("ignore")  # other libraries' news is not the user's; errors are
    try:
        code = app(standalone_mode=False)  # typer turns an interrupt into this status
    except UserError as error:
        _stop(f"error: {error}", 2)
    except Exception as error:
        if hasattr(error, "format_message"):  # what typer raises for wrong usage
            _stop(f"error: {error.format_message()}", 2)
        log = _log_path()
        log.write_text(traceback.format_exc())
        _stop(f"internal error: {type(error).__name__}: {error}\nthe traceback is in {log}", 1)
    if code == _INTERRUPTED:
        _stop("interrupted: nothing is lost, the same command goes on", _INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


def _log_path() -> Path:
    import tempfile

    handle, name = tempfile.mkstemp(prefix="flexsearch-", suffix=".log")
    import os

    os.close(handle)
    return Path(name)


def _print_json(values: Any) -> None:
    print(json.dumps(values, indent=2))


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)


@app.command(epilog="Example: flexsearch plan search_spaces/dit_xl.yaml --json")
def plan(space: Space, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a search space: its size, the dense model, MACs of every baseline. Needs no weights and no GPU."""
    from flexsearch.cli.plan import plan_of, print_plan
    from flexsearch.config import load_config

    found = plan_of(load_config(space, overrides or ()))
    _print_json(found) if as_json else print_plan(found)


@app.command(epilog="Example: flexsearch profile search_spaces/quickstart.yaml")
def profile(
    space: Space,
    rounds: Annotated[int, typer.Option(help="repetitions of everything; more are more precise")] = 9,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Time every operation of a space on this device, once; from then on `plan` and `run` predict latency."""
    from flexsearch.cli.profile import print_profile, profile_space
    from flexsearch.config import load_config

    found = profile_space(load_config(space, overrides or ()), rounds=rounds)
    _print_json(found) if as_json else print_profile(found)


@app.command(epilog="Example: flexsearch run search_spaces/quickstart.yaml --trials 30")
def run(
    space: Space,
    run_dir: Annotated[Path | None, typer.Option(help="run directory; default runs/<name>")] = None,
    trials: Annotated[int | None, typer.Option(help="finished trials to reach")] = None,
    seed: Annotated[int | None, typer.Option(help="of sampler, training and noise")] = None,
    executor: Annotated[Literal["auto", "local", "ray"], typer.Option(help="where trials run")] = "auto",
    storage: Annotated[str | None, typer.Option(help="SQLAlchemy URL; default RUN/study.db")] = None,
    ray_address: Annotated[str | None, typer.Option(help="of a running Ray cluster")] = None,
    overrides: Overrides = None,
) -> None:
    """Search. The same command resumes; it ends with the front as a table and says where everything is."""
    from flexsearch.cli.search import search
    from flexsearch.config import load_config

    options = {"search.trials": trials, "search.seed": seed, "storage": storage}
    given = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    config = load_config(space, [*(overrides or ()), *given])
    search(config, run_dir=run_dir or Path("runs") / config.name, executor=executor, ray_address=ray_address)


@app.command(epilog="Example: flexsearch front runs/quickstart --csv front.csv --plot front.png")
def front(
    run_dir: RunDir,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="write all complete trials to this file")] = None,
    plot: Annotated[Path | None, typer.Option(help="write a picture: .png, .svg or .pdf")] = None,
) -> None:
    """Show the Pareto front of a run, its baselines and its hypervolume."""
    from flexsearch.cli.results import show_front

    found = show_front(run_dir, csv=csv, plot=plot, quiet=as_json)
    if as_json:
        _print_json(found)


@app.command(epilog="Example: flexsearch confirm runs/quickstart --top 5 --seeds 4")
def confirm(
    run_dir: RunDir,
    top: Annotated[int | None, typer.Option(help="at most this many searched trials; default all")] = None,
    images: Annotated[int | None, typer.Option(help="per trial and seed; default 4 times the run's")] = None,
    seeds: Annotated[int, typer.Option(help="of the sampling noise, none of them seen by the search")] = 3,
    as_json: AsJson = False,
) -> None:
    """Measure the front again: intervals, and what stands. The same command goes on where it was interrupted."""
    from flexsearch.cli.confirm import confirm_front

    found = confirm_front(run_dir, top=top, images=images, seeds=seeds, quiet=as_json)
    if as_json:
        _print_json(found)


@app.command(epilog="Example: flexsearch show runs/quickstart 7 --picture schedule.svg")
def show(
    run_dir: RunDir,
    trial: Annotated[int, typer.Argument(help="number of the trial", metavar="TRIAL")],
    as_json: AsJson = False,
    picture: Annotated[Path | None, typer.Option(help="draw its schedule: .png, .svg or .pdf")] = None,
) -> None:
    """Show one trial: its schedule, measurements with protocol, training curve and files."""
    from flexsearch.cli.results import show_trial

    found = show_trial(run_dir, trial, picture=picture, quiet=as_json)
    if as_json:
        _print_json(found)


@app.command(epilog="Example: flexsearch choose runs/quickstart --max-latency 6.5")
def choose(
    run_dir: RunDir,
    max_latency: Annotated[float | None, typer.Option(help="ms per image: the best within it")] = None,
    max_fid: Annotated[float | None, typer.Option(help="of the quality objective: the fastest within it")] = None,
    knee: Annotated[bool, typer.Option("--knee", help="the point farthest from the front's chord")] = False,
    by: Annotated[
        Literal["outlook", "quality"] | None, typer.Option(help="what the best is by; the outlook, if it is known")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose a trial by exactly one of three rules, and say why."""
    from flexsearch.cli.choosing import choose_trial

    found = choose_trial(run_dir, max_latency_ms=max_latency, max_quality=max_fid, knee=knee, by=by, quiet=as_json)
    if as_json:
        _print_json(found)


@app.command(epilog="Example: flexsearch compare runs/quickstart 24 5")
def compare(
    run_dir: RunDir,
    a: Annotated[int, typer.Argument(help="number of a trial", metavar="A")],
    b: Annotated[int, typer.Argument(help="number of another", metavar="B")],
    as_json: AsJson = False,
) -> None:
    """Compare two trials: schedules, measurements and whether they differ by more than noise."""
    from flexsearch.cli.choosing import show_comparison

    found = show_comparison(run_dir, a, b, quiet=as_json)
    if as_json:
        _print_json(found)


@app.command(epilog="Example: flexsearch report runs/quickstart quickstart.html")
def report(
    run_dir: RunDir, out: Annotated[Path, typer.Argument(help="page to write, ends in .html", metavar="OUT")]
) -> None:
    """Write one self-contained page of a run: front, images, schedules, protocols. Opens without a network."""
    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.report.page import write_page

    opened = open_run(run_dir)
    write_page(opened, front_of_run(opened), out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, opens in any browser", file=sys.stderr)


@app.command(epilog="Example: flexsearch dashboard runs/quickstart --port 8080")
def dashboard(run_dir: RunDir, port: Annotated[int, typer.Option(help="on this machine only")] = 8080) -> None:
    """Serve optuna-dashboard on a run, with sample images and the front."""
    from flexsearch.cli.results import open_run
    from flexsearch.report.dashboard import serve

    serve(open_run(run_dir), port=port)


@app.command(epilog="Example: flexsearch export runs/quickstart 7 exported --onnx")
def export(
    run_dir: RunDir,
    trial: Annotated[int, typer.Argument(help="number of the trial", metavar="TRIAL")],
    out: Annotated[Path, typer.Argument(help="folder to make", metavar="OUT")],
    onnx: Annotated[bool, typer.Option("--onnx", help="add OUT/onnx: one ONNX graph per stage")] = False,
    programs: Annotated[
        bool, typer.Option("--torch-export", help="add OUT/torch_export: one torch.export program per stage")
    ] = False,
) -> None:
    """Export a trial's model: safetensors, schedule, recipe and card, checked by rebuilding it."""
    from itertools import chain

    from flexsearch.cli.results import open_run
    from flexsearch.export.graphs import require_onnx, write_graphs
    from flexsearch.export.model import export_trial

    if onnx:
        require_onnx()
    lines = export_trial(open_run(run_dir), trial, out)
    for line in chain(lines, write_graphs(out, onnx=onnx, programs=programs)):
        print(line, file=sys.stderr)


@app.command(epilog="Example: flexsearch train exported/recipe.yaml --updates 1000 --set training.batch=64")
def train(
    recipe: Annotated[Path, typer.Argument(help="recipe.yaml of an exported model", metavar="RECIPE")],
    out: Annotated[Path | None, typer.Option(help="folder of the run; default the export's with -trained")] = None,
    updates: Annotated[int | None, typer.Option(help="optimiser steps; default those of the recipe")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="override a field, e.g. training.batch=64")
    ] = None,
) -> None:
    """Train an exported model for long. The same command resumes; accelerate launch -m flexsearch train: many GPUs."""
    from flexsearch.cli.train import train_recipe

    given = [] if updates is None else [f"training.updates={updates}"]
    train_recipe(recipe, out=out, overrides=[*(overrides or ()), *given])


@app.command(epilog="Example: flexsearch sample exported --out samples.png --dense --classes 3,7 --seeds 0,1")
def sample(
    model: Annotated[
        str, typer.Argument(help="exported folder, or a base such as embedded:quickstart", metavar="MODEL")
    ],
    out: Annotated[Path, typer.Option(help="picture to write")],
    num: Annotated[int, typer.Option(help="images per seed")] = 40,
    steps: Annotated[int | None, typer.Option(help="sampler steps; default those of the export, else 50")] = None,
    seeds: Annotated[str, typer.Option("--seeds", "--seed", help="of the noise, e.g. 0,1,2")] = "0",
    guidance: Annotated[float, typer.Option(help="classifier-free guidance; 1 is none")] = 1.0,
    classes: Annotated[str | None, typer.Option(help="labels to take in turn, e.g. 3,7; default all")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="what to draw; repeatable, taken in turn")] = None,
    dense: Annotated[bool, typer.Option("--dense", help="beside each image the dense base's, from one noise")] = False,
) -> None:
    """Draw images or videos from an exported model or a base. Several seeds or --dense give rows with captions."""
    from flexsearch.cli.number_list import number_list
    from flexsearch.export.samples import SampleRequest, draw

    request = SampleRequest(
        num=num,
        steps=steps,
        seeds=number_list(seeds, field="--seeds"),
        guidance=guidance,
        prompts=tuple(prompt or ()),
        classes=() if classes is None else number_list(classes, field="--classes"),
        beside_dense=dense,
    )
    print(draw(model, out, request), file=sys.stderr)


@app.command(epilog="Example: flexsearch pretrain search_spaces/fashion_mnist.yaml")
def pretrain(space: Space, overrides: Overrides = None) -> None:
    """Train a dense base from scratch into the folder base.checkpoint. The same command resumes."""
    from flexsearch.cli.training import pretrain_base
    from flexsearch.config import load_config

    pretrain_base(load_config(space, overrides or ()))


@app.command(epilog="Example: flexsearch encode photos latents --checkpoint facebook/DiT-XL-2-256")
def encode(
    images: Annotated[Path, typer.Argument(help="class folders of images, or images with captions", metavar="IMAGES")],
    out: Annotated[Path, typer.Argument(help="folder to make; data.root of a search", metavar="OUT")],
    checkpoint: Annotated[str, typer.Option(help="of the base: its autoencoder and text encoder are used")],
    size: Annotated[int, typer.Option(help="pixels per side of the centre crop")] = 256,
    frames: Annotated[int | None, typer.Option(help="per video; a video is a folder of frame images")] = None,
    captions: Annotated[Literal["auto", "none"], typer.Option(help="auto: taken where there are any")] = "auto",
    batch: Annotated[int, typer.Option(help="images at once")] = 16,
    shard_size: Annotated[int, typer.Option(help="images or videos per file")] = 1024,
    seed: Annotated[int, typer.Option(help="of the samples of the autoencoder's posterior")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option(help="of autoencoder and text encoder")] = "fp32",
) -> None:
    """Encode images or videos into latents to train on. The same command goes on where it was interrupted."""
    from flexsearch.cli.encode import encode_images

    encode_images(
        images,
        out,
        checkpoint=checkpoint,
        size=size,
        frames=frames,
        reads_captions=captions == "auto",
        batch=batch,
        shard_size=shard_size,
        seed=seed,
        device=device,
        dtype=dtype,
    )

"""``ssm2edge sweep``: every combination of options, each a whole artifact."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssm2edge.cli.options import MODEL, json_option, plan_of, with_options
from ssm2edge.cli.output import print_json
from ssm2edge.errors import VerificationError
from ssm2edge.options import DEFAULTS, TABLE

if TYPE_CHECKING:
    from ssm2edge.sweeps.progress import State

Command = Callable[..., Any]

EXAMPLES = {"--keep": "0.25,0.125", "--max-drop": "0.5,1", "--max-error": "0.05,0.1", "--seed": "0,1", "--confidence": "0.9,0.95"}
"""Values of options whose values are none of the size of orders."""


def values_of(name: str, text: str | None) -> list[Any] | None:
    """Read the values of an option, separated by commas; None where it is not given."""
    if text is None:
        return None
    kinds = TABLE[name].kinds
    flag = flags_of(name)[-1]
    return [_value(flag, word.strip(), kinds) for word in text.split(",") if word.strip()]


def flags_of(name: str) -> list[str]:
    """Return an option as the command line has it, and its plural; --seeds is a number of them."""
    from ssm2edge.sweeps.grid import PLURALS

    plurals = [plural for plural, option in PLURALS.items() if option == name != "seed"]
    return [f"--{one.replace('_', '-')}" for one in (name, *plurals)]


def _value(flag: str, word: str, kinds: tuple[type, ...]) -> Any:
    for kind in (kind for kind in (int, float, str) if kind in kinds):
        with contextlib.suppress(ValueError):
            return kind(word)
    noun = "number" if float in kinds else "whole number"
    sentence = f"{word!r} is no {noun}; give numbers separated by commas, such as {flag} {EXAMPLES.get(flag, '8,4')}."
    raise click.BadParameter(sentence, param_hint=flag)


def axis_option(name: str) -> Callable[[Command], Command]:
    """Make the option of a sweep of one row of the table: several values, also under its plural."""
    row = TABLE[name]
    flag = f"--{name.replace('_', '-')}"
    if name == "plan":
        return click.option(flag, multiple=True, callback=lambda _, __, given: plan_of(given), metavar=row.metavar, help=row.help)
    default = row.default_text or DEFAULTS[name]
    text = row.help if default is None else f"{row.help}  [default: {default}]"
    return click.option(
        *flags_of(name),
        name,
        callback=lambda _, __, given: values_of(name, given),
        metavar=f"{row.metavar or 'VALUE'},...",
        help=text,
    )


class OfParent(click.Context):
    """A context that shows itself as its parent."""

    @property
    def command_path(self) -> str:
        """The words that call the command, of which its own name is none."""
        return super().command_path.rstrip()


class Itself(click.Command):
    """The command of a group that is called by the group's name."""

    context_class = OfParent


class WithPick(click.Group):
    """A command whose first argument may name another one; anything else goes to the sweep itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let arguments that name no other command be those of the sweep."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else [ITSELF, *args])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the sweep itself has no further name in what it says of its use."""
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == ITSELF else name, command, rest


ITSELF = "run"


@click.group(cls=WithPick, add_help_option=False)
def sweep() -> None:
    """Build every combination of options of some models, and draw them."""


@sweep.command(name=ITSELF, cls=Itself)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", type=click.Path(path_type=Path), help="Directory of the sweep.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Seeds from 0 on, in place of --seed 0,1,...")
@click.option("--search", type=click.IntRange(min=1), metavar="N", help="Let Optuna propose N cells of each model, not the grid.")
@with_options(*(axis_option(name) for name in TABLE))
@with_options(*MODEL)
@click.option("--rate", type=click.IntRange(min=1), metavar="HZ", help="Samples a second of recordings that the model takes.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Cells at once; they share the cores.  [default: cores]")
@click.option("--memory", metavar="BYTES", help="Memory of all cells at once, such as 8000M.  [default: most of what is free]")
@click.option(
    "--engine",
    type=click.Choice(["processes", "here", "dask", "ray"]),
    help="Where cells are built.  [default: processes of this machine]",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of a Dask scheduler or a Ray cluster.  [default: one on this machine]")
@json_option
@click.pass_context
def run(ctx: click.Context, /, sources: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Build every combination of options of the models SOURCE..., each an artifact with its verdict.

    SOURCE is what `ssm2edge build` takes; or one TOML file says all of this. Options take several values, separated by commas.
    What is built already is not built again. `ssm2edge sweep pick DIRECTORY` copies the artifact that fits.

    Exit code 0 if every cell was built, 1 if some failed, 2 if the input is at fault.
    """
    from ssm2edge import sweeps

    plain = {name: value for name, value in given.items() if value not in (None, (), {}, False)}
    with cells_to_stderr(quiet=as_json) as progress:
        found = sweeps.sweep(list(sources), progress=progress, **plain)
    if as_json:
        from ssm2edge.artifact.typed import plain as plainly

        print_json({"directory": str(found.directory), "sweep": plainly(found.record)})
    else:
        from ssm2edge.tables.artifact import wide_console

        found.show(wide_console())
    ctx.exit(1 if found.failures else 0)


@sweep.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--max-drop", type=float, metavar="POINTS", help="Smallest artifact that is shown to lose at most so many points.")
@click.option("--max-bytes", metavar="N", help="None of its graphs has more bytes, such as 40k.")
@click.option("--max-ram", metavar="N", help="Its stream as C takes at most so many bytes of RAM, such as 16k.")
@click.option("--model", metavar="NAME", help="Model of the artifact, where the sweep has several.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Probability with which --max-drop holds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the samples that choose.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to make.")
@click.option("--force", is_flag=True, help="Replace an artifact that is there already.")
@json_option
@click.pass_context
def pick(ctx: click.Context, /, directory: Path, out: Path, as_json: bool, **given: Any) -> None:
    """Copy the artifact of the sweep in DIRECTORY that holds some limits.

    With --max-drop it is the smallest that is shown to lose no more; otherwise the one that loses least. A half of the held-out
    samples chooses, the other half judges. Exit code 1 if the choice does not hold on the samples that judge.
    """
    from ssm2edge.artifact.typed import plain
    from ssm2edge.sweeps.result import Sweep
    from ssm2edge.tables.sweep import chosen_sentence

    try:
        Sweep.open(directory).pick(out, **given)
    except VerificationError as failure:
        if as_json:
            print_json({"error": failure.commanded, "exit_code": 1, "verdict": failure.verdict.to_json()})
        click.echo(f"ssm2edge: {failure.commanded}", err=True)
        ctx.exit(1)
    choice = Sweep.open(directory).record.chosen
    assert choice is not None
    if as_json:
        print_json({"directory": str(out), "chosen": plain(choice)})
    else:
        click.echo(f"{chosen_sentence(choice)}\n{out} is a copy of it.")


@contextlib.contextmanager
def cells_to_stderr(quiet: bool) -> Iterator[Callable[[State], None]]:
    """Return a callback that shows the cells of a sweep on stderr: a bar on a terminal, else a line for each that ends."""
    from ssm2edge.tables.sweep import outcome, words

    def line(state: State) -> str | None:
        cell = state.cell
        if cell is None:
            return None
        return f"{state.seconds:6.1f} s  {state.done + state.failed}/{state.of}  {cell.model}, {words(cell)}: {outcome(cell)}"

    if quiet:
        yield lambda state: None
        return
    if not sys.stderr.isatty():

        def write(state: State) -> None:
            if (text := line(state)) is not None:
                click.echo(f"{text}{_left(state)}", err=True)
            elif state.done and state.seconds < 1:
                click.echo(f"{state.done} of {state.of} cells are there already.", err=True)

        yield write
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("cells"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task("")

        def show(state: State) -> None:
            if (text := line(state)) is not None:
                bars.console.print(text, markup=False, highlight=False)
            failed = f", [red]{state.failed} failed[/red]" if state.failed else ""
            description = f"{state.running} running{failed}{_left(state)}"
            bars.update(task, total=state.of, completed=state.done + state.failed, description=description)

        yield show


def _left(state: State) -> str:
    """Return the time that is left, in words."""
    if state.left is None or state.left < 1:
        return ""
    seconds = round(state.left)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    shown = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
    return f", about {shown} left"

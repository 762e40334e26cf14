"""The command ``veneer``: serve, plan, measure, and show the configuration."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from veneer_server import __version__
from veneer_server.commands import adapters as adapters_cli
from veneer_server.commands import audit as audit_cli
from veneer_server.commands import keys as keys_cli
from veneer_server.commands import train as train_cli
from veneer_server.commands import usage as usage_cli
from veneer_server.commands.terminal import (
    EXIT_CONFIG,
    EXIT_ENGINE,
    EXIT_FAILED,
    EXIT_IN_USE,
    EXIT_INTERRUPTED,
    EXIT_PORT,
    ConfigOption,
)
from veneer_server.commands.terminal import failure as _failure
from veneer_server.commands.terminal import load as _load
from veneer_server.commands.terminal import read as _read
from veneer_server.settings import Settings, SettingsError, asked_faults

app = typer.Typer(
    help="One base model, many LoRA adapters, one OpenAI-compatible URL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config = typer.Typer(help="Show the configuration.", no_args_is_help=True)
app.add_typer(config, name="config")
app.add_typer(adapters_cli.group, name="adapters")
app.add_typer(keys_cli.group, name="keys")
app.add_typer(usage_cli.group)
app.add_typer(train_cli.group)
app.add_typer(audit_cli.group, name="audit")


@app.command()
def serve(
    config: ConfigOption = None,
    model: Annotated[
        str | None,
        typer.Option(help="Local folder or Hugging Face id. Default: the embedded SmolLM2."),
    ] = None,
    adapters: Annotated[
        Path | None,
        typer.Option(help="Folder of your adapters. The server follows changes in it."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind; 0 picks a free one.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="'vllm', or 'echo' to try the API without a model.")
    ] = None,
    new_catalog: Annotated[
        bool,
        typer.Option(
            "--new-catalog", help="Begin with an empty catalog although adapters are stored."
        ),
    ] = False,
    unsafe_test_hooks: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve the base model and every adapter in the adapter folders, at one URL.

    To see all settings, run [bold]veneer config show[/bold]. To change one, set the variable
    VENEER_<SECTION>__<FIELD>, or write it into a YAML file and name the file with --config.
    """
    flags: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port},
        "model": {"path": model},
        "adapters": {"dir": adapters},
        "engine": {"kind": engine},
    }
    _arm_faults(allowed=unsafe_test_hooks)
    # A hang-up before the server is ready must not end it either.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    settings = _load(config, flags)
    _run(settings, lambda: _read(config, flags), new_catalog=new_catalog)


def _arm_faults(*, allowed: bool) -> None:
    from veneer_adapters.faults import arm

    try:
        for spec in asked_faults(os.environ, allowed=allowed):
            arm(spec)
            typer.secho(
                f"This server will fail on purpose, for a test: {spec}",
                err=True,
                fg=typer.colors.RED,
            )
    except (SettingsError, ValueError) as error:
        raise _failure(f"The settings cannot be used:\n{error}", EXIT_CONFIG) from error


def _run(settings: Settings, read: Callable[[], Settings], *, new_catalog: bool) -> None:
    from veneer_server.collecting import nothing_collected

    with nothing_collected():
        import uvloop

        from veneer_server.api.listener import PortTaken, bind
        from veneer_server.app import Start
        from veneer_server.app import serve as run
        from veneer_server.commands.startup import Startup
        from veneer_server.telemetry import logs

    # Nobody else on this machine reads the catalog, the adapters or the engine's sockets.
    os.umask(0o077)
    logs.configure(settings.observability.log_level, settings.observability.log_format)
    try:
        listener = bind(settings.server.host, settings.server.port)
    except PortTaken as error:
        raise _failure(f"{error} Choose another port with --port.", EXIT_PORT) from error
    with listener, Startup(Console(stderr=True)) as shown:
        start = Start(shown.stages, shown.say)

        def announce(server: Any, bound_port: int) -> None:
            shown.end()
            _announce(settings, server, bound_port)

        served = run(settings, listener, announce, read, new_catalog=new_catalog, start=start)
        try:
            uvloop.run(served)
        except KeyboardInterrupt:
            raise _failure("Stopped before the server was ready.", EXIT_INTERRUPTED) from None
        except Exception as error:
            shown.stop()
            if (ending := _ending_of(error)) is None:
                raise
            raise _failure(*ending) from error


def _ending_of(error: Exception) -> tuple[str, int] | None:
    """Return what to print and the exit code, or None for a bug, whose traceback is wanted."""
    from veneer_adapters.errors import AdapterError, StateFolderInUse
    from veneer_server.engine.base import EngineNotStarted, EngineStartTimedOut
    from veneer_server.engine.supervision import EngineGaveUp
    from veneer_server.telemetry.otel import ExportNotPossible
    from veneer_server.tenancy.errors import KeyNeeded

    match error:
        case EngineGaveUp():
            return f"Veneer ends: {error}", EXIT_ENGINE
        case EngineStartTimedOut():
            return f"Veneer cannot start: {error}", EXIT_ENGINE
        case StateFolderInUse():
            return f"Veneer cannot start: {error}", EXIT_IN_USE
        case KeyNeeded():
            return f"The settings cannot be used:\n{error}", EXIT_CONFIG
        case EngineNotStarted() | AdapterError() | ExportNotPossible():
            return f"Veneer cannot start: {error}", EXIT_CONFIG
    return None


def _announce(settings: Settings, server: Any, port: int) -> None:
    host = "127.0.0.1" if settings.server.host in ("0.0.0.0", "::") else settings.server.host  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host else host
    key = "$VENEER_SERVER__API_KEY" if settings.server.api_key else "none"
    url = f"http://{host}:{port}/v1"
    base = server.engine.model.id
    ready = [a.name for a in server.adapters.every() if a.live]
    model = ready[0] if ready else base
    header = f' -H "Authorization: Bearer {key}"' if settings.server.api_key else ""
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "What does a lighthouse do?"}]}
    )
    shown = settings.server.shows_console()
    console = f"The console, in a browser: http://{host}:{port}/console/\n\n" if shown else ""
    typer.echo(
        f"\nVeneer {__version__} is ready. Models: {', '.join([base, *ready])}\n\n"
        f"  export OPENAI_BASE_URL={url} OPENAI_API_KEY={key}\n\n"
        f"  curl {url}/chat/completions{header} -H 'Content-Type: application/json' \\\n"
        f"    -d '{body}'\n\n"
        f"{console}"
        f"To add an adapter, copy a PEFT folder into {settings.adapters.dir}/ while this runs.\n"
    )
    sys.stdout.flush()


@app.command()
def bench(  # noqa: PLR0913, PLR0917 - typer makes an option of each argument
    quick: Annotated[
        bool, typer.Option("--quick", help="One round with fewer requests: under 6 minutes.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Rounds over all peers. Default: 3, or 1 with --quick."),
    ] = None,
    goals: Annotated[
        str | None, typer.Option(help="Measure only these goals, as in G1,G3. Default: all.")
    ] = None,
    rank: Annotated[int, typer.Option(help="Rank of the adapters: 16 or 8.")] = 16,
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model. Default: the embedded one.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of every server: bfloat16 or float32. Default: Veneer's.")
    ] = None,
    llama_server: Annotated[
        Path | None, typer.Option(help="A llama-server that you built, in place of xllamacpp.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port for the peers.", min=1, max=65535)] = 8377,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the results as Markdown to this file.")
    ] = None,
) -> None:
    """Measure this server beside its peers on this machine, and print a verdict for each goal.

    The command starts one peer at a time: vLLM's own server (default, tuned, without LoRA),
    llama.cpp (if the package xllamacpp is installed) and Veneer. Most results are a ratio of two
    figures of the same run. Do not use the machine for anything else meanwhile. The full run takes
    more than an hour and needs 4 GB of disk while it runs. After Ctrl-C the command shows the
    results so far.
    """
    from veneer_server.api.listener import PortTaken
    from veneer_server.bench import command
    from veneer_server.bench.peers.running import BenchFailed
    from veneer_server.bench.session import Asked
    from veneer_server.engine.base import EngineNotStarted
    from veneer_server.engine.sizing import sizes
    from veneer_server.engine.sizing.here import dtypes_here
    from veneer_server.engine.starting import embedded_model

    try:
        if rank not in (8, 16):
            raise BenchFailed("The rank is 8 or 16.")
        if dtype not in (None, "bfloat16", "float32"):
            raise BenchFailed("The dtype is bfloat16 or float32.")
        named = command.goal_ids(goals)
        outputs = command.check_outputs(command.Outputs(json, markdown))
        command.check_port(port)
        folder, gguf = (model, None) if model else embedded_model()
        folder = command.check_model(folder)
        dtypes = dtypes_here(folder, sizes.Asked(dtype=dtype or "auto"))
        asked = Asked(
            model=folder,
            gguf=gguf,
            goals=named,
            rounds=rounds or (1 if quick else 3),
            rank=rank,
            port=port,
            threads=tuple(sorted(os.sched_getaffinity(0))),
            quick=quick,
            dtype=dtypes[0],
            lora_dtype="auto" if len(set(dtypes)) == 1 else dtypes[1],
            llama_server=command.check_program(llama_server),
        )
        command.bench(asked, os.environ, outputs)
    except PortTaken as error:
        raise _failure(f"{error} Choose another port with --port.", EXIT_PORT) from error
    except (BenchFailed, EngineNotStarted) as error:
        raise _failure(str(error), EXIT_FAILED) from error
    except KeyboardInterrupt:
        raise _failure("Stopped.", EXIT_INTERRUPTED) from None


@config.command()
def show(config: ConfigOption = None) -> None:
    """Print every setting with its present value, as JSON; secrets are masked."""
    typer.echo(_load(config, {}).model_dump_json(indent=2))


@app.command()
def plan(
    config: ConfigOption = None,
    adapters: Annotated[
        Path | None, typer.Option(help="Folder of adapters. Default: the adapter folders.")
    ] = None,
    assume: Annotated[
        str | None, typer.Option(help="Adapters to plan for, as COUNTxRANK: 100x16.")
    ] = None,
    skew: Annotated[
        float, typer.Option(help="Popularity: the n-th adapter gets requests like 1/n**skew.")
    ] = 1.0,
    memory_gib: Annotated[
        float, typer.Option(help="GiB of memory for device slots and KV cache.")
    ] = 4.0,
    host_gib: Annotated[float, typer.Option(help="GiB of main memory for host slots.")] = 2.0,
    cold: Annotated[
        float, typer.Option(help="Largest share of requests that may start cold.")
    ] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Compute how many slots your adapters need.

    Use it before you set adapters.device_slots and adapters.host_slots. It prints the settings,
    the memory that they take, and how many requests would start cold.
    """
    from veneer_server.commands import plan as command
    from veneer_server.commands.planning import DoesNotFit, Memory
    from veneer_server.engine.base import EngineNotStarted
    from veneer_server.engine.sizing.asking import asked_in
    from veneer_server.engine.sizing.shapes import ModelNotUnderstood
    from veneer_server.engine.starting import model_folder
    from veneer_server.wiring import roots

    settings = _load(config, {})
    folders = [adapters] if adapters else [root.path for root in roots(settings)]
    ranks = _assumed(assume) if assume else command.ranks_in(folders)
    if not ranks:
        raise _failure(
            "There are no adapters to plan for; name a folder with --adapters, or use --assume.", 1
        )
    memory = Memory(int(memory_gib * 2**30), int(host_gib * 2**30))
    try:
        made, dtypes = command.plan_for(
            model_folder(settings),
            ranks,
            asked=asked_in(settings),
            skew=skew,
            memory=memory,
            cold=cold,
        )
    except (DoesNotFit, ModelNotUnderstood) as error:
        raise _failure(f"There is no plan: {error}.", 1) from error
    except EngineNotStarted as error:
        raise _failure(f"There is no plan: {error}", 1) from error
    said = command.to_json(made, dtypes) if as_json else command.to_text(made, len(ranks), dtypes)
    typer.echo(said)


def _assumed(text: str) -> list[int]:
    count, _, rank = text.partition("x")
    if not (count.isdigit() and rank.isdigit() and int(count) and int(rank)):
        raise _failure("Write --assume as COUNTxRANK, for instance 100x16.", 1)
    return [int(rank)] * int(count)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """One base model, many LoRA adapters, one OpenAI-compatible URL."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command ``veneer``."""
    app()

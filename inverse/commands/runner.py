"""The frame of every command: parsing, errors in one sentence, exit codes, signals.

This module imports nothing slow. A command's make_parser and work import torch, Taichi and other
slow modules when they are called, so that Ctrl-C stops the command cleanly from the first second.
"""

import argparse
import contextlib
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130  # exit codes
AGAIN = 0.5  # s after which an interrupt that had no effect is repeated
RESUME = "stopped; the same command with --resume goes on from here"


class CommandError(Exception):
    """Ends a command with one sentence and the exit code `code`."""

    def __init__(self, sentence: str, *, code: int = BAD_INPUT):
        super().__init__(sentence)
        self.code = code


class _Stop:
    """Records whether a signal asked the process to stop, and what to print then."""

    def __init__(self) -> None:
        self.asked, self.word = False, "stopped"

    def __call__(self, number: int, frame: object) -> None:
        self.asked = True
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.signal(signal.SIGALRM, self.again)
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
        raise KeyboardInterrupt

    def again(self, number: int, frame: object) -> None:
        """Interrupt again, unless the first interrupt is still being handled.

        A `finally` that saves a checkpoint may be handling it. But a bare `except:` swallows it,
        such as the one that Taichi runs for every kernel.
        """
        error = sys.exc_info()[1]
        while error is not None:
            if isinstance(error, KeyboardInterrupt):
                return
            error = error.__context__
        raise KeyboardInterrupt


def run_command(
    make_parser: Callable[[], argparse.ArgumentParser],
    work: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
    *,
    resumable: bool = False,
) -> int:
    """Parse the command line, do the work, and return the exit code.

    The code is what work returns, or 0 if it returns None; 2 after one sentence for bad input; 130
    after a short message for Ctrl-C or SIGTERM. argv: the words after the command's name, by
    default those of this process. resumable: whether the command has a --resume that continues
    a stopped run; then the message says so, once the command line has been parsed.
    """

    def parsed(stop: _Stop) -> int | None:
        parser = make_parser()
        words = list(sys.argv[1:] if argv is None else argv)
        arguments = parser.parse_args(joined(parser, words))
        if resumable:
            stop.word = RESUME
        return work(arguments)

    return _guarded(parsed)


def stoppable(work: Callable[[], object]) -> int:
    """Do the work of a script that parses its own flags, and return the exit code.

    The code is what work returns if that is an int, and otherwise as in `run_command`.
    """
    return _guarded(lambda stop: work())


def _guarded(work: Callable[[_Stop], object]) -> int:
    stop = _Stop()
    try:
        with _signals(stop), plain_warnings():
            result = work(stop)
            sys.stdout.flush()  # raises here, not at the exit, if the pipe is closed
    except KeyboardInterrupt:
        return _stopped(stop)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return FAILED
        sentence = _sentence(error)
        # A module may turn the interrupt of its import into an error of its own.
        if sentence is None and stop.asked:
            return _stopped(stop)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return error.code if isinstance(error, CommandError) else BAD_INPUT
    return result if isinstance(result, int) else DONE


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that its reader, such as `head`, has closed.

    If so, standard output is redirected to nowhere.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no file, or no poll: Windows
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return True
    return False


def _stopped(stop: _Stop) -> int:
    print(stop.word, file=sys.stderr)
    return STOPPED


def _sentence(error: Exception) -> str | None:
    """The sentence to print for an error that a user can cure; None for all other errors."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return place + error.strerror[0].lower() + error.strerror[1:]
    known: tuple[type[Exception], ...] = (CommandError, ValueError, OSError)
    library = sys.modules.get("taichi_phys")  # if it is not loaded, it raised no error
    if simulation_error := getattr(library, "SimulationError", None):
        known += (simulation_error,)
    return str(error) if isinstance(error, known) else None


@contextlib.contextmanager
def _signals(stop: _Stop) -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does. Only the main thread can receive signals."""
    before: dict[int, Any] = {}
    alarm = signal.getsignal(signal.SIGALRM) if hasattr(signal, "SIGALRM") else None
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # where Ctrl-C is ignored, as in a background job of a shell, keep ignoring it
            if number == signal.SIGTERM or signal.getsignal(number) is signal.default_int_handler:
                before[number] = signal.signal(number, stop)
    except ValueError:  # another thread
        pass
    try:
        yield
    finally:
        if stop.asked and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings as a sentence for the user, without a line of source code."""
    before = warnings.formatwarning

    def sentence(message, category, *place, **more) -> str:
        if issubclass(category, UserWarning):
            return f"warning: {message}\n"
        return before(message, category, *place, **more)

    warnings.formatwarning = sentence
    try:
        yield
    finally:
        warnings.formatwarning = before


def joined(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Turn "--up -y" into "--up=-y", because argparse takes a separate -y for a flag.

    This is done only if the value is one of the flag's choices.
    """
    choices = {
        flag: set(map(str, action.choices))
        for action in parser._actions
        for flag in action.option_strings
        if action.choices is not None
    }
    result: list[str] = []
    for word in words:
        if word.startswith("-") and result and word in choices.get(result[-1], ()):
            result[-1] += f"={word}"
        else:
            result.append(word)
    return result


def command_parser(name: str, doc: str) -> argparse.ArgumentParser:
    """Make a parser whose description is doc.

    In doc, %(prog)s stands for what was typed: taichi-phys NAME, or the name of a script.
    """
    return argparse.ArgumentParser(
        prog=" ".join(_program(name)),
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def command_line(name: str, argv: Sequence[str] | None) -> list[str]:
    """The words that run a command again; argv: the argument of the command's main."""
    return [*_program(name), *sys.argv[1:]] if argv is None else ["taichi-phys", name, *argv]


def _program(name: str) -> list[str]:
    script = Path(sys.argv[0])
    if script.suffix == ".py" and script.stem != "__main__":
        return ["python", sys.argv[0]]
    return ["taichi-phys", name]

"""What all commands do around their work: parsing, errors, exit codes, signals."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from helpers import PATIENCE

import taichi_phys as tp
from inverse.commands import COMMANDS, module_of, simulate
from inverse.commands import main as taichi_phys
from inverse.commands.assets import asset
from inverse.commands.runner import (
    RESUME,
    CommandError,
    command_line,
    command_parser,
    joined,
    run_command,
    stoppable,
)


ROOT = Path(__file__).resolve().parent.parent
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def make_parser():
    parser = command_parser("try", "%(prog)s --up -y")
    parser.add_argument("--up", choices=["y", "-y"], default="y")
    parser.add_argument("--shift")
    return parser


def run(work, *words, **options):
    return run_command(make_parser, work, list(words), **options)


def test_exit_code_is_that_of_the_work():
    assert run(lambda args: None) == 0
    assert run(lambda args: 3) == 3
    assert stoppable(lambda: {"a": "result"}) == 0


def raising(error):
    def work(*_):
        raise error

    return work


TOO_FAST = tp.SimulationError("particle 3 is too fast", particle=3, smaller_dt_helps=True)
FAILURES = {
    "bad value": (ValueError("frames: got 0"), "frames: got 0", 2),
    "file in the way": (NotADirectoryError(20, "Not a directory", "out/a"), "out/a: not a dir", 2),
    "port in use": (OSError(98, "Address already in use"), "address already in use", 2),
    "pipe of ffmpeg": (BrokenPipeError(32, "Broken pipe"), "broken pipe", 2),
    "simulation": (
        tp.SimulationError("too fast", particle=3, smaller_dt_helps=True),
        "too fast",
        2,
    ),
    "own code": (CommandError("the others have ended", code=1), "the others have ended", 1),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_of_the_user_are_one_sentence(case, capfd):
    error, sentence, code = FAILURES[case]
    assert run(raising(error)) == code
    shown = capfd.readouterr()
    assert shown.err.startswith(f"error: {sentence}") and shown.err.count("\n") == 1


def test_failures_of_the_program_keep_their_traceback():
    with pytest.raises(RuntimeError, match="a bug"):
        run(raising(RuntimeError("a bug")))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("resumable", [False, True])
def test_signals_are_answered_in_a_word(number, resumable, capfd):
    before = [signal.getsignal(n) for n in SIGNALS]
    assert run(lambda args: signal.raise_signal(number), resumable=resumable) == 130
    assert capfd.readouterr().err.strip() == (RESUME if resumable else "stopped")
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_nothing_can_be_resumed_before_the_command_line_is_read(capfd):
    def interrupted():
        raise KeyboardInterrupt

    assert run_command(interrupted, raising(AssertionError()), [], resumable=True) == 130
    assert capfd.readouterr().err == "stopped\n"


def test_import_that_a_signal_cuts_off_may_fail_as_it_likes(capfd):
    def imports():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy.core failed to import") from None

    assert stoppable(imports) == 130
    assert capfd.readouterr().err == "stopped\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timer")
@pytest.mark.parametrize("number", SIGNALS)
def test_signal_that_a_library_swallows_is_repeated(number, capfd):
    before = signal.getsignal(signal.SIGALRM)

    def work(args):
        with contextlib.suppress(BaseException):
            signal.raise_signal(number)
        while True:
            pass

    assert run(work) == 130
    assert capfd.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timer")
def test_what_is_saved_after_a_signal_is_not_interrupted(capfd):
    saved = []

    def work(args):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGALRM)
            with contextlib.suppress(OSError):
                signal.raise_signal(signal.SIGALRM)
                raise OSError("tried in another way")
            saved.append("checkpoint")

    assert run(work, resumable=True) == 130
    assert saved == ["checkpoint"] and capfd.readouterr().err.strip() == RESUME


def test_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(lambda args: signal.raise_signal(signal.SIGINT)) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_commands_run_in_other_threads():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(run(lambda args: 5)))
    thread.start()
    thread.join()
    assert codes == [5]


def test_warnings_are_a_sentence_while_a_command_runs():
    before, shown = warnings.formatwarning, []
    said = ("the clip is short", UserWarning, "file.py", 3)
    assert run(lambda args: shown.append(warnings.formatwarning(*said))) == 0
    assert shown == ["warning: the clip is short\n"]
    assert warnings.formatwarning is before


@pytest.mark.parametrize(
    ("words", "up", "shift"),
    [
        (["--up", "-y"], "-y", None),
        (["--up=-y"], "-y", None),
        (["--up", "y", "--shift", "-3"], "y", "-3"),
    ],
)
def test_values_may_start_with_a_dash(words, up, shift):
    parser = make_parser()
    args = parser.parse_args(joined(parser, words))
    assert (args.up, args.shift) == (up, shift)


def test_unknown_value_with_a_dash_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(raising(AssertionError()), "--up", "-w")
    assert stopped.value.code == 2 and "--up" in capsys.readouterr().err


def test_help_and_report_name_what_was_typed(monkeypatch, capsys):
    for typed, program in {
        "/usr/bin/taichi-phys": "taichi-phys try",
        "examples/try.py": "python examples/try.py",
        "/site/inverse/commands/__main__.py": "taichi-phys try",
    }.items():
        monkeypatch.setattr(sys, "argv", [typed, "--shift", "1"])
        assert make_parser().format_help().count(f"{program} ") == 2
        assert command_line("try", None) == [*program.split(), "--shift", "1"]
        assert command_line("try", ["--up", "y"]) == ["taichi-phys", "try", "--up", "y"]


# Commands as processes


def start(words, **options):
    environment = dict(os.environ, PYTHONPATH=str(ROOT)) | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=options.pop("cwd", ROOT),
        **options,
    )


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"doctor"}))
def test_ctrl_c_while_modules_are_imported_is_one_word(name, tmp_path):
    """In the place of torch and Taichi, modules whose import says so and then takes long."""
    for module in ("torch", "taichi", "numpy"):
        (tmp_path / f"{module}.py").write_text(
            "import time\nprint('importing', flush=True)\ntime.sleep(600)\n"
        )
    words = ["-c", f"import sys; from {module_of(name)} import main; sys.exit(main(['x']))"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = start(words, stderr=subprocess.PIPE, env={"PYTHONPATH": path})
    assert process.stdout.readline() == b"importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE)[1] == b"stopped\n"
    assert process.returncode == 130


def test_closed_pipe_is_no_error():
    words = ["-c", "from inverse.commands.runner import *; import sys; input(); "
             "sys.exit(stoppable(lambda: print('x' * 10)))"]  # fmt: skip
    process = start(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.communicate(b"go\n", timeout=PATIENCE)[1] == b""
    assert process.returncode == 1


LEAF = "--frames 6 --iterations 3 --cells 10 --keypoints 60 --splat-iterations 10"
ENDLESS = {  # command -> flags, its checkpoint, and what its progress bar shows once it works
    "wind": (LEAF, "force.pt", rb"\b1/5 "),
    "trace": ("--gaussians 60 --iterations 90000 --sh-degree 0", "trace.pt", rb"\b[1-9]\d*/90000 "),
    "fit": (
        f"--data {ROOT / 'assets' / 'rotor_puck'} --gaussians 60 --iterations 90000 --sh-degree 0",
        "fit.pt",
        rb"\b[1-9]\d*/90000 ",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal, for progress bars")
@pytest.mark.parametrize("name", ENDLESS)
def test_terminated_work_is_kept(name, tmp_path):
    """SIGTERM, once the work is under way, leaves a checkpoint and a sentence."""
    import fcntl
    import pty
    import struct
    import termios

    flags, checkpoint, progress = ENDLESS[name]
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    words = ["-m", "inverse.commands", name, *flags.split(), "--out", tmp_path, "--device", "cpu"]
    process = start(words, stderr=its_end)
    os.close(its_end)
    shown, told = b"", False
    limit = threading.Timer(500, process.kill)  # rather than never end
    limit.start()
    try:
        while more := os.read(terminal, 4096):
            shown += more
            if not told and re.search(progress, shown):
                process.terminate()
                told = True
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        limit.cancel()
        process.kill()
        process.wait()
        os.close(terminal)
        process.stdout.close()
    assert told and process.returncode == 130, shown.decode()
    assert shown.decode().splitlines()[-1] == RESUME
    assert torch.load(tmp_path / "checkpoints" / checkpoint, weights_only=True)["state"]
    assert not (tmp_path / "metrics.json").exists()


def test_help_and_version_are_quick():
    """They import nothing heavy."""
    for flag, shows in {"--help": "wind ", "--version": tp.__version__}.items():
        script = (
            "import sys; from inverse.commands import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit as end: assert not end.code\n"
            "print({'torch', 'taichi', 'numpy', 'cv2', 'scipy'} & set(sys.modules))"
        )
        process = start(["-c", script, flag])
        shown = process.communicate(timeout=PATIENCE)[0].decode()
        assert shows in shown and shown.endswith("set()\n")


def test_every_command_takes_its_flags(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            taichi_phys([name, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert stopped.value.code == 0 and f"usage: taichi-phys {name} " in shown
        with pytest.raises(SystemExit) as stopped:
            taichi_phys([name, "--nonsense"])
        assert stopped.value.code == 2
        capsys.readouterr()


@pytest.mark.parametrize("words", [[], ["wnid"], ["--nonsense"]])
def test_unknown_commands_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        taichi_phys(words)
    assert stopped.value.code == 2 and "error:" in capsys.readouterr().err


def test_device_has_a_second_name_in_simulate():
    parser = simulate.make_parser()
    for flag in ("--device", "--arch"):
        assert parser.parse_args(["a.toml", flag, "cpu"]).device == "cpu"
    assert "--arch" not in parser.format_help()


# Clips and scenes that come along


def test_scenes_go_by_name_from_anywhere(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert taichi_phys(["simulate", "jelly_drop", "--check"]) == 0
    assert "Jelly drop" in capfd.readouterr().out
    (tmp_path / "jelly_drop").write_text("a file of one's own comes first")
    assert taichi_phys(["simulate", "jelly_drop", "--check"]) == 2
    assert not capfd.readouterr().out


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("jely_drop", "did you mean jelly_drop?"),
        ("q", "the scenes are ball_on_slope, "),
        ("q.toml", "q"),
    ],
)
def test_unknown_scene_is_one_sentence(word, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert taichi_phys(["simulate", word]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"error: {word}") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("below", ["", "deeper/out"])
def test_out_that_is_a_file_is_one_sentence(below, tmp_path, capfd):
    out = tmp_path / "file"
    out.write_text("in the way")
    words = ["simulate", "jelly_drop", "--coarsen", "4", "--frames", "2", "--out", out / below]
    assert taichi_phys([str(word) for word in words]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"error: {out}") and error.count("\n") == 1
    assert out.read_text() == "in the way"


def test_assets_are_found_or_named():
    assert asset("leaf/video.mp4").is_file() and asset("rotor_puck").is_dir()
    with pytest.raises(ValueError, match="nowhere.mp4: not among the clips and scenes"):
        asset("nowhere.mp4")

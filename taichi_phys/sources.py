"""How Taichi reads kernels in Python, without finding out the same again and again.

For its messages it describes the place of every node of the source whenever a function is inlined
or a loop is unrolled; it looks up the source of a function as often; and when a function is
defined, it searches all modules for the source of importlib. That took more than half of the time
in which it reads a kernel, which a kernel from the offline cache takes as well, and a sixth of the
time in which this package is imported.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def quick_import() -> Iterator[None]:
    """Import Taichi in this block without its search for the source of importlib."""
    describe = inspect.getframeinfo

    def getframeinfo(frame: Any, context: int = 1) -> Any:
        code = frame.f_code
        if code.co_filename.startswith("<frozen "):  # has no source
            return inspect.Traceback(code.co_filename, frame.f_lineno, code.co_name, None, None)
        return describe(frame, context)

    inspect.getframeinfo = getframeinfo
    try:
        yield
    finally:
        inspect.getframeinfo = describe


def read_once(taichi: ModuleType) -> None:
    """Make Taichi look up the source of a function once, and describe places in it in short."""
    lang = taichi.lang
    lang.ast.ast_transformer_utils.ASTTransformerContext.get_pos_info = _place
    lang.kernel_impl.getsourcelines = functools.cache(lang.kernel_impl.getsourcelines)
    lang.kernel_impl._inside_class = _inside_class


def _place(context: Any, node: Any) -> str:
    """The line where a node of a function begins, and what it takes of it."""
    number, line = node.lineno + context.lineno_offset, context.src[node.lineno - 1]
    begin, end = context.indent + node.col_offset, len(line)
    if node.end_lineno == node.lineno:
        end = context.indent + node.end_col_offset
    where = f'File "{context.file}", line {number}, in {context.func.func.__name__}:'
    return f"{where}\n{line}\n{' ' * begin}{'^' * (end - begin)}\n"


def _inside_class(level_of_class_stackframe: int) -> bool:
    """Whether a function is being defined in a class, whose body is then the frame below."""
    return "__qualname__" in sys._getframe(level_of_class_stackframe - 1).f_locals

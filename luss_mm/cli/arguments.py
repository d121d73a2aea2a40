"""What several commands read from the command line."""

import argparse
import difflib
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with one line: the usage of some commands would fill the terminal."""
        self.exit(2, f'error: {message} ({self.prog} --help)\n')


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a docstring as it is, and errors in one line."""
    return _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def one_of(module: str, name: str) -> Callable[[str], str]:
    """Type of an argument that is one of the names that a module has.

    The module is imported when an argument is read: not for `--help`, and not without the argument.

    Args:
        module: Name of the module.
        name: Of the container of names in it.
    """

    def read(text: str) -> str:
        known = getattr(import_module(module), name)
        if text not in known:
            raise argparse.ArgumentTypeError(not_known(text, known))
        return text

    return read


def not_known(text: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the nearest ones, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.6)
    return (
        f'{text!r}: did you mean {near[0]!r}?' if near else f'{text!r}: none of {", ".join(known)}'
    )

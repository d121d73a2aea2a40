"""What torch would take minutes to refuse in a checkpoint, refused before torch reads it.

torch.load(weights_only=True) names in its error what a file wanted to call, and searches through
that text in a time that grows with the square of its length: 100 kB take minutes. Here the pickles
of a checkpoint are gone through once, without executing anything, so that such a text stays short.
What may be called is for torch to judge.
"""

import io
import mmap
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch

LONGEST_NAME = 200  # characters of a module and of what is taken from it
LEGACY_PICKLES = 5  # magic number, version, system, content, names of the storages
NUMPY_FLAGS = 7  # place in the state of a numpy type; torch lets no other state be that long
_CALLS = ('REDUCE', 'NEWOBJ')
_FUNCTION = object()  # on the stack: what the file asks for by its name


def check_pickles(path: str | Path) -> None:
    """Refuse a checkpoint of torch's zip or legacy format that calls what it must not.

    No tensor is read. A pickle that is cut short or makes no sense is refused too.

    Raises:
        pickle.UnpicklingError: If a name is too long, or if anything but a named function is
            called, or if more is made than one content.
        Exception: Whatever pickletools and torch's reader of zips raise for damaged bytes.
    """
    for stream in _pickles(Path(path)):
        _check_calls(stream)


def _pickles(path: Path) -> Iterator[BinaryIO]:
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\3\4':  # as torch tells them apart
            # mapped, so that a pickle that asks for petabytes gets what there is
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                for _ in range(LEGACY_PICKLES):
                    yield mapped
            return
    # torch's own reader: another one could take another member for the pickle
    content = torch._C.PyTorchFileReader(str(path)).get_record('data.pkl')
    if len(content) > path.stat().st_size:
        raise pickle.UnpicklingError(f'its pickle unpacks to {len(content):,} bytes')
    yield io.BytesIO(content)


def _check_calls(stream: BinaryIO) -> None:
    """Follow one pickle's stack, of which only functions and plain values are kept."""
    stack: list[object] = []
    memo: dict[int, object] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in _CALLS and stack[-2] is not _FUNCTION:
            raise pickle.UnpicklingError('it calls what is no function with a name')
        if opcode.name == 'GLOBAL':
            if len(argument) > LONGEST_NAME:
                raise pickle.UnpicklingError(f'it asks for a name of {len(argument):,} characters')
            stack.append(_FUNCTION)
        elif opcode.name.endswith('PUT'):
            memo[argument] = stack[-1]
        elif opcode.name.endswith('GET'):
            stack.append(memo[argument])
        elif opcode.arg and not opcode.stack_before and opcode.stack_after:
            stack.append(argument)
        else:
            if opcode.name == 'BUILD' and _has_flags(stack[-1]):
                raise pickle.UnpicklingError('it changes how numpy frees numbers')
            _apply(opcode, stack)
    if stack:
        raise pickle.UnpicklingError(f'it makes {len(stack):,} things that it does not use')


def _apply(opcode: pickletools.OpcodeInfo, stack: list[object]) -> None:
    """Take from the stack and put on it as pickletools describes."""
    taken = opcode.stack_before
    items = []
    if pickletools.markobject in taken:
        while (item := stack.pop()) is not pickletools.markobject:
            items.append(item)
        taken = taken[: taken.index(pickletools.markobject)]
    items += [stack.pop() for _ in taken]
    if opcode.name.startswith('TUPLE'):
        stack.append(tuple(reversed(items)))
    else:
        stack += opcode.stack_after


def _has_flags(state: object) -> bool:
    """Whether this is the state of a numpy type with flags, which numbers do not have."""
    return (
        isinstance(state, tuple)
        and len(state) > NUMPY_FLAGS
        and not (type(state[NUMPY_FLAGS]) is int and state[NUMPY_FLAGS] == 0)
    )

"""Some seconds of tests/stress/fuzz_readers.py, the same files in every run."""

import pytest

from tests.stress import fuzz_readers
from tests.stress.fuzz_readers import READERS, fuzz

ROUNDS = 25  # of a file for each reader
ACCEPTING = sorted(set(READERS) - {'official list'})  # which has its published length alone


@pytest.mark.parametrize('reader', ACCEPTING)
def test_whole_files_are_accepted(reader, tmp_path):
    wholes, read, _ = READERS[reader]
    for whole in wholes:
        (tmp_path / 'file').write_bytes(whole)
        read(tmp_path / 'file')


def test_readers_raise_nothing_but_their_own_errors():
    counts, findings = fuzz(lambda number: number == ROUNDS)
    assert not [(reader, number, repr(error)) for reader, number, error, _ in findings]
    assert all(tried == ROUNDS and refused for tried, refused, *_ in counts.values())


@pytest.mark.parametrize('error', [KeyError('a'), UnicodeDecodeError('utf-8', b'a', 0, 1, 'b')])
def test_errors_of_others_are_findings(monkeypatch, error):
    def read(path):
        raise error

    monkeypatch.setitem(fuzz_readers.READERS, 'match', ([b'{}'], read, ValueError))
    _, findings = fuzz(lambda number: number == 2, readers=['match'])
    assert [(reader, number) for reader, number, *_ in findings] == [('match', 0), ('match', 1)]

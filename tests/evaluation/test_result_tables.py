import pytest

from luss_mm.engine.run_records import (
    NOT_RUN,
    TOO_FEW,
    cell,
    check_method,
    compare,
    compared_with,
    merge_entries,
    result_tables,
)


def entry(method, seed, miou, name='eth', weights='lite0', setting='', labels=('ImageNet',)):
    return dict(
        set=name,
        weights=weights,
        method=method,
        seed=seed,
        setting=setting,
        metrics={'mIoU': miou, 'ImgAcc': miou + 1, 'F-beta': miou + 2},
        labels_of_weights=list(labels),
    )


ENTRIES = [
    *(entry('plain baseline', seed, 20 + seed) for seed in range(3)),
    *(entry('PASS', seed, 30 + seed) for seed in range(3)),
    *(entry('PASS', seed, 5, 'cal') for seed in range(2)),
    *(entry('PASS, refined', seed, 33 + seed) for seed in range(3)),
    *(entry('PDSO', seed, 30.5) for seed in range(3)),
    *(entry('+ DFF', seed, 29.5) for seed in range(3)),
    entry('+ SPO', 0, 50),
]


def rows(text, title):
    """Cells of the table below a line, by their row's name."""
    lines = text.split(title)[1].strip().split('\n\n')[0].splitlines()
    header, _, *body = [[c.strip() for c in line.strip('|').split('|')] for line in lines]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in body}


def test_cells_hold_mean_range_and_number():
    text = result_tables(ENTRIES)
    found = rows(text, 'Validation mIoU:')
    methods = ['PASS', 'PASS, refined', '+ DFF', '+ CSD', '+ SPO', 'all (PDSO)']
    assert list(found) == ['plain baseline', *methods] and list(found['PASS']) == ['cal', 'eth']
    assert found['plain baseline']['eth'] == '21.0 (20.0 to 22.0), 3 seeds'
    assert found['+ SPO']['eth'] == '50.0 (50.0 to 50.0), 1 seed'
    assert found['plain baseline']['cal'] == found['+ CSD']['eth'] == NOT_RUN
    others = rows(text, 'Image accuracy and F-beta:')
    assert others['PASS']['eth, ImgAcc'] == '32.0 (31.0 to 33.0), 3 seeds'
    assert others['PASS']['eth, F-beta'] == '33.0 (32.0 to 34.0), 3 seeds'
    assert 'have seen: ImageNet.' in text


def test_ranges_that_are_apart_are_named():
    found = rows(result_tables(ENTRIES), 'of another method:')
    others = {method: row.pop('compared with') for method, row in found.items()}
    assert others['PASS'] == 'plain baseline' and others['all (PDSO)'] == 'PASS'
    assert others['PASS, refined'] == 'PASS' and 'plain baseline' not in others
    assert found['PASS'] == dict(eth='above', cal=NOT_RUN)
    assert found['PASS, refined']['eth'] == 'above' and found['+ DFF']['eth'] == 'below'
    assert found['all (PDSO)']['eth'] == 'none' and found['+ CSD']['eth'] == NOT_RUN
    assert found['+ SPO']['eth'] == TOO_FEW


def test_compare_by_all_pairs():
    for values, others in [
        ([1, 1, 2], [3, 3, 3]),
        ([3, 4, 5], [1, 2, 2]),
        ([1, 3, 3], [2, 2, 2]),
        ([2, 2, 2], [2, 2, 2]),
    ]:
        pairs = [(v > o) - (v < o) for v in values for o in others]
        expected = {1: 'above', -1: 'below'}[pairs[0]] if abs(sum(pairs)) == len(pairs) else 'none'
        assert compare(values, others) == expected
    assert compare([], [1]) == compare([1], []) == NOT_RUN == cell([])
    assert compare([1, 1], [2, 2, 2]) == compare([3, 3, 3], [2]) == TOO_FEW


def test_settings_have_tables_of_their_own_with_the_plain_baseline():
    text = result_tables([*ENTRIES, entry('PASS', 0, 50, setting='sharp')])
    assert text.count('### ') == 2
    other = text.split('### lite0, sharp')[1]
    assert rows(other, 'Validation mIoU:')['PASS']['eth'] == '50.0 (50.0 to 50.0), 1 seed'
    assert rows(other, 'Validation mIoU:')['plain baseline']['eth'].startswith('21.0')
    own = [*ENTRIES, entry('plain baseline', 0, 8, setting='sharp')]
    assert result_tables(own).count('### ') == 1  # nothing to compare it with
    own.append(entry('PASS', 0, 50, setting='sharp'))
    other = result_tables(own).split('### lite0, sharp')[1]
    assert rows(other, 'Validation mIoU:')['plain baseline']['eth'].startswith('8.0')


def test_a_baseline_alone_has_its_table():
    assert '### lite0' in result_tables([entry('plain baseline', 0, 8)])
    assert result_tables([]) == 'No run has been recorded yet.\n'


def test_the_same_key_is_replaced_and_the_order_does_not_matter():
    again = entry('PASS', 1, 99)
    merged = merge_entries(ENTRIES, [again])
    assert len(merged) == len(ENTRIES) and again in merged
    assert merge_entries([again], [e for e in ENTRIES if e != entry('PASS', 1, 31)]) == merged
    assert len(merge_entries(ENTRIES, [entry('PASS', 1, 99, setting='other')])) == len(ENTRIES) + 1


def test_unknown_methods_are_refused():
    assert check_method('+ CSD, refined') == '+ CSD, refined'
    assert compared_with('+ CSD, refined') == '+ CSD'
    with pytest.raises(ValueError, match="no method 'CSD'"):
        check_method('CSD')

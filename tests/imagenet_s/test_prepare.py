import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from luss_mm.imagenet_s import lists as imagenet_s_lists
from luss_mm.imagenet_s.archives import look_through
from luss_mm.imagenet_s.dataset import ImageNetSDataset
from luss_mm.imagenet_s.lists import NUM_IMAGES, imagenet_s_categories
from luss_mm.imagenet_s.prepare import ImageNetSPreparation
from tests.imagenet_s.miniature_ilsvrc import (
    MERGED,
    PLAIN,
    TRAIN,
    WNIDS,
    build_miniature,
    files_of,
    write_bytes,
    write_tar,
    write_zip,
)


def snapshot(root):
    """Every path with its inode and time of change: what was touched shows."""
    return {p: (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in root.rglob('*') if not p.is_dir()}


class TestWholeSubset:
    @pytest.mark.parametrize('mode', ['link', 'hardlink', 'copy'])
    @pytest.mark.parametrize('flat_val', [False, True])
    def test_all_splits_by_the_real_categories(
        self, main, tmp_path, monkeypatch, capsys, mode, flat_val
    ):
        wnids = [wnid for wnid, _ in imagenet_s_categories(50)]
        miniature = build_miniature(tmp_path / 'source', 50, wnids, flat_val, two_columns=flat_val)
        monkeypatch.setitem(NUM_IMAGES, 50, miniature.counts)
        pack, name = (write_tar, 'ImageNetS50.tar.gz') if flat_val else (write_zip, 'S.zip')
        folder = '' if flat_val else 'ImageNetS50/'
        archive = pack(
            tmp_path / name, {folder + member: path for member, path in miniature.masks.items()}
        )
        out = tmp_path / 'out'
        main(miniature.arguments(out, '--annotations', archive, '--mode', mode))
        assert 'NOT FINISHED' not in capsys.readouterr().out
        root = out / 'ImageNetS50'
        for split, count in miniature.counts.items():
            assert len(files_of(root / split)) == count
            assert sorted(p.name for p in (root / split).iterdir()) == wnids
        for split in ('train-semi', 'validation'):
            masks = files_of(root / f'{split}-segmentation', '.png')
            assert [m[:-4] for m in masks] == [i[:-5] for i in files_of(root / split)]
        assert not list(root.rglob('*.partial'))
        linked = [p.is_symlink() for p in (root / 'validation').rglob('*.JPEG')]
        assert all(linked) if mode == 'link' else not any(linked)
        report = json.loads((root / 'preparation.json').read_text())
        assert [f['problems'] for f in report['folders']] == [[]] * 6
        dataset = ImageNetSDataset(
            50,
            data_root=str(root),
            data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
            pipeline=[],
        )
        assert len(dataset) == miniature.counts['validation']
        assert all(os.path.exists(dataset[i]['seg_map_path']) for i in range(len(dataset)))

    def test_merged_categories_and_train_full_of_919(self, main, tmp_path, monkeypatch):
        wnids = [wnid for wnid, _ in imagenet_s_categories(919)]
        miniature = build_miniature(tmp_path / 'source', 919, wnids)
        assert miniature.counts['train'] == 924 * TRAIN
        monkeypatch.setitem(NUM_IMAGES, 919, miniature.counts)
        splits = ('train', 'train-full', 'test')
        for mode in ('link', 'copy'):
            out = tmp_path / mode
            main(miniature.arguments(out, '--mode', mode, '--sample', 20, '--splits', *splits))
            train, full = (out / 'ImageNetS919' / name for name in splits[:2])
            for source, target in MERGED.items():
                names = sorted(p.name for p in (train / target).iterdir())
                expected = [f'{w}_{i}.JPEG' for w in (source, target) for i in range(TRAIN)]
                assert names == sorted(expected) and not (train / source).exists()
                assert (full / source).is_dir()
                assert len(files_of(miniature.imagenet / 'train' / target)) == TRAIN  # left alone
                assert len(files_of(out / 'ImageNetS919' / 'test' / target)) == 2
            assert full.is_symlink() == (mode == 'link')
            assert len(files_of(train)) == len(files_of(full)) == 924 * TRAIN


class TestAgain:
    def test_killed_while_copying(self, s50, archive, tmp_path, monkeypatch):
        """A process that dies in the middle of a file leaves no file that looks whole."""
        copied = []

        def die_in_the_sixth(source, target):
            copied.append(target)
            content = Path(source).read_bytes()
            Path(target).write_bytes(content[: 20 if len(copied) == 6 else None])
            if len(copied) == 6:
                os.kill(os.getpid(), signal.SIGKILL)

        archives = [look_through(archive)]
        preparation = ImageNetSPreparation(
            s50.imagenet, tmp_path / 'out', 50, s50.lists, archives, 'copy'
        )
        with monkeypatch.context() as patch:
            patch.setattr(shutil, 'copyfile', die_in_the_sixth)
            process = multiprocessing.get_context('fork').Process(target=preparation.run)
            process.start()
            process.join(60)
        assert process.exitcode == -signal.SIGKILL
        root = tmp_path / 'out/ImageNetS50'
        assert [p.name for p in root.iterdir()] == ['train.partial']
        whole = files_of(s50.imagenet / 'train')
        sizes = {p.stat().st_size for p in (root / 'train.partial').glob('*/[!.]*')}
        assert sizes == {(s50.imagenet / 'train' / whole[0]).stat().st_size}
        reports = preparation.run()
        assert not any(report.problems for report in reports)
        assert reports[0].kept == 5 and reports[0].made == len(whole) - 5
        assert not list(root.rglob('*partial'))


class TestNotAsItShouldBe:
    def test_missing_images_are_named_and_the_split_is_not_finished(
        self, main, s50, archive, tmp_path, capsys
    ):
        lost = sorted((s50.imagenet / 'val').rglob('*.JPEG'))[:1]
        lost[0].rename(tmp_path / 'lost.JPEG')
        arguments = s50.arguments(tmp_path / 'out', '--annotations', archive)
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 1
        text = capsys.readouterr().out
        assert f'1 files are not in {s50.imagenet}: {lost[0]}. Complete' in text
        root = tmp_path / 'out/ImageNetS50'
        assert (root / 'validation.partial').is_dir() and not (root / 'validation').exists()
        assert (root / 'train').is_dir() and (root / 'validation-segmentation').is_dir()
        (tmp_path / 'lost.JPEG').rename(lost[0])
        main(arguments)
        assert (root / 'validation').is_dir() and not list(root.glob('*.partial'))

    @pytest.mark.parametrize('mode', ['link', 'copy'])
    def test_foreign_files_stay_as_they_are(self, main, s50, archive, tmp_path, capsys, mode):
        root = tmp_path / 'out/ImageNetS50'
        foreign = {
            root / 'validation' / files_of(s50.imagenet / 'val')[0]: b'mine',
            root / 'test' / PLAIN / 'extra.JPEG': b'mine too',
            root / next(iter(s50.masks)): b'my mask',
        }
        for path, content in foreign.items():
            write_bytes(path, content)
        (root / 'train').mkdir()
        (root / 'train' / PLAIN).symlink_to(tmp_path / 'nowhere')
        with pytest.raises(SystemExit):
            main(s50.arguments(tmp_path / 'out', '--annotations', archive, '--mode', mode))
        assert all(path.read_bytes() == content for path, content in foreign.items())
        assert os.readlink(root / 'train' / PLAIN) == str(tmp_path / 'nowhere')
        problems = {r['folder']: ' '.join(r['problems']) for r in read_report(root)}
        assert '1 files or folders are not what belongs there' in problems['validation']
        assert f'do not belong there: {PLAIN}/extra.JPEG. Move' in problems['test']
        assert 'left alone' in problems['train-semi-segmentation']
        assert str(root / 'train' / PLAIN) in problems['train']
        assert problems['train-semi'] == ''

    def test_nothing_is_placed_through_links_into_other_data(self, s50, tmp_path, monkeypatch):
        target = WNIDS[0]
        monkeypatch.setitem(imagenet_s_lists.MERGED, PLAIN, target)  # two sources for one folder
        root = tmp_path / 'out/ImageNetS919'
        monkeypatch.setitem(NUM_IMAGES, 919, {'train': 1, 'test': s50.counts['test']})
        for path in (s50.lists / 'mapping').iterdir():
            shutil.copy(path, path.with_name(path.name.replace('im50', 'im919')))
        (root / 'train').mkdir(parents=True)
        (root / 'train' / target).symlink_to(s50.imagenet / 'train' / target)
        (tmp_path / 'elsewhere').mkdir()
        (root / 'test').symlink_to(tmp_path / 'elsewhere')
        for source in MERGED:
            (s50.imagenet / 'train' / source).mkdir(exist_ok=True)
        before = snapshot(s50.imagenet)
        train, test = ImageNetSPreparation(s50.imagenet, tmp_path / 'out', 919, s50.lists).run()
        assert snapshot(s50.imagenet) == before and not list((tmp_path / 'elsewhere').iterdir())
        assert f'{target}/{PLAIN}_0.JPEG' in train.problems[0]
        assert 'is a link' in test.problems[0]

    def test_wrong_paths_stop_before_anything_is_written(self, main, s50, tmp_path):
        arguments = s50.arguments(tmp_path / 'out')
        for index, path, message in (
            (0, tmp_path / 'source', 'IMAGENET is the folder that holds'),
            (3, tmp_path, '--lists is the folder data/'),
        ):
            wrong = [*arguments[:index], str(path), *arguments[index + 1 :]]
            with pytest.raises(SystemExit, match=message):
                main(wrong)
        shutil.rmtree(s50.imagenet / 'train' / PLAIN)
        with pytest.raises(SystemExit, match=f'1 folders .*{PLAIN}'):
            main(arguments)
        with pytest.raises(SystemExit, match="no split 'train-full'"):
            main([*arguments, '--splits', 'train-full'])
        assert not (tmp_path / 'out').exists()


def read_report(root):
    return json.loads((root / 'preparation.json').read_text())['folders']

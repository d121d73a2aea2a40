import shutil
from pathlib import Path

import pytest

from luss_mm.imagenet_s import archives as imagenet_s_archives
from tests.imagenet_s.miniature_ilsvrc import WNIDS, files_of, mask_of, write_zip


def test_damaged_archive(main, s50, archive, tmp_path, capsys):
    content = archive.read_bytes()
    name = list(s50.masks)[3]
    place = content.index(s50.masks[name].read_bytes())
    archive.write_bytes(content[: place + 40] + b'damage' + content[place + 46 :])
    with pytest.raises(SystemExit, match=f'(?s){Path(name).name}.* is damaged'):
        main(s50.arguments(tmp_path / 'out', '--annotations', archive))
    root = tmp_path / 'out/ImageNetS50'
    partial = root / 'train-semi-segmentation.partial'
    assert len(files_of(partial, '.png')) == 3 and not list(partial.rglob('.*'))
    assert not list(root.glob('*-segmentation'))
    archive.write_bytes(content)
    main(s50.arguments(tmp_path / 'out', '--annotations', archive))
    assert len(list(root.glob('*-segmentation'))) == 2


def test_masks_of_another_subset_are_not_taken(main, s50, tmp_path, capsys):
    contents = {f'ImageNetS919/{name}': path for name, path in s50.masks.items()}
    other = write_zip(tmp_path / 'ImageNetS50.zip', contents)
    with pytest.raises(SystemExit):
        main(s50.arguments(tmp_path / 'out', '--annotations', other))
    assert 'are in none of the archives' in capsys.readouterr().out
    nameless = write_zip(tmp_path / 'masks.zip', s50.masks)
    with pytest.raises(SystemExit, match='tell the subset'):
        main(s50.arguments(tmp_path / 'out', '--annotations', nameless))


def test_masks_that_do_not_fit_are_found(main, s50, tmp_path, capsys):
    def problems_with(masks):
        archive = write_zip(tmp_path / 'ImageNetS50.zip', s50.masks | masks)
        with pytest.raises(SystemExit):
            main(s50.arguments(tmp_path / 'out', '--annotations', archive))
        text = capsys.readouterr().out
        shutil.rmtree(tmp_path / 'out')
        return text

    name = next(n for n in s50.masks if n.startswith('validation'))
    longer = [*WNIDS, 'n99999999']
    assert 'id 5; categories end at 4' in problems_with(
        {name: mask_of(tmp_path / 'other', longer, 'n99999999')}
    )
    wider = mask_of(tmp_path / 'wider', WNIDS, WNIDS[0], size=(10, 15))
    assert '(10, 15), its image is (10, 14)' in problems_with({name: wider})
    others = {
        n: mask_of(tmp_path / 'shifted', WNIDS[1:] + WNIDS[:1], p.stem)
        for n, p in s50.masks.items()
    }
    assert 'only 0 of 4 sampled masks hold the id of their own' in problems_with(others)


def test_downloaded_when_asked_for(main, s50, archive, tmp_path, monkeypatch):
    release = tmp_path / 'release'
    release.mkdir()
    monkeypatch.setattr(imagenet_s_archives, 'RELEASE', f'{release.as_uri()}/')
    arguments = s50.arguments(tmp_path / 'out', '--download')
    with pytest.raises(SystemExit, match='give it as --annotations'):
        main(arguments)
    name = imagenet_s_archives.ARCHIVE_NAMES[50]
    shutil.copy(archive, release / name)
    main(arguments)
    assert (tmp_path / 'out' / name).read_bytes() == archive.read_bytes()
    assert not list((tmp_path / 'out').glob('.*.partial'))
    (tmp_path / 'out' / name).unlink()
    (release / name).unlink()
    main(arguments)  # finished: nothing is fetched

"""What a recipe for folders finds out by looking at the folder: images, scoring, K, epochs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luss_mm.datasets.image_walk import category_folders, category_names, walk_images
from luss_mm.datasets.mask_files import INSTANCE_FOLDERS, MASK_FOLDERS, find_masks
from luss_mm.functional.clustering_scores import FEWEST_CLUSTERS, MOST_CLUSTERS, rule_of_thumb
from luss_mm.recipes.settings import Settings, SettingsError

# Folders of a data set with splits; an album may be called `test`.
LAYOUT = ('train', 'train-*', 'validation', 'validation-*')
OTHER_SPLITS = ('val', 'valid', 'dev', 'test')
# Folders of photographs that others have beside their folder of masks, in lower case.
PHOTOGRAPHS = frozenset('images img imgs img_dir jpegimages leftimg8bit photos'.split())
FOUND = ('train_split', 'evaluate', 'num_categories', 'finetune_epochs')
# Of fine-tuning: a small folder needs steps rather than epochs.
FEWEST_STEPS = 400
FEWEST_EPOCHS = 6


def look_at_folder(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Values for the settings in FOUND where a recipe has None.

    A folder of images without splits is itself the training set. Without `validation` nothing is
    scored. K and the epochs of fine-tuning follow the number of images.

    Args:
        values: Settings and `evaluate` of a recipe, `work_dir` among them.

    Returns:
        Those of the settings that were None, and a line for each that deserves one.

    Raises:
        SettingsError: If the run would write among the training images, or K is missing where the
            scores need the number of categories.
    """
    wanted = {key for key in FOUND if key in values and values[key] is None}
    if not wanted or 'data_root' not in values:
        return {}, []
    root = Path(Settings(values).resolve(values['data_root'], 'data_root'))
    is_flat = root.is_dir() and not _has_splits(root)
    if is_flat and next(_images_below(root), None) is None:
        raise SettingsError(f'data_root={root}: holds neither images nor a folder train/.')
    found: dict[str, Any] = {}
    lines = []
    if 'train_split' in wanted:
        found['train_split'], line = _find_training_images(root, is_flat)
        lines += [line] if line else []
        lines += _unused_folders(root, found['train_split'])
    split = found.get('train_split', values.get('train_split') or '')
    _refuse_to_write_into(root / split, Path(values['work_dir']))
    if 'evaluate' in wanted:
        found['evaluate'] = not _lacks_masks(root, split)
        if not found['evaluate']:
            lines.append(f'{root}: no folder validation/, so nothing is scored (evaluate=False)')
            lines += _other_validation(root)
    if 'num_categories' in wanted:
        if found.get('evaluate', values.get('evaluate')):
            _refuse_to_guess(root / 'validation', bool(values.get('use_dff')))
        number, line = _guess_categories(root / split, values['work_dir'])
        found['num_categories'] = number
        if root.is_dir():  # else whoever needs the images says so
            lines.append(line)
    if 'finetune_epochs' in wanted:
        batch = Settings(values).resolve('${finetune_batch_size}', 'finetune_epochs')
        images = sum(1 for _ in _images_below(root / split))
        found['finetune_epochs'], line = _choose_epochs(images, batch)
        lines += [line] if images else []  # else whoever needs the images says so
    return found, lines


def _find_training_images(root: Path, is_flat: bool) -> tuple[str, str | None]:
    """Folder below one that holds the photographs, and a line about it.

    Raises:
        SettingsError: If there are masks among the photographs.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    inner = {path.name: path for path in folders}
    if 'train' in inner or not (is_flat or any(name.lower() in PHOTOGRAPHS for name in inner)):
        _refuse_masks(root, 'train')
        return 'train', None
    known = MASK_FOLDERS - INSTANCE_FOLDERS
    masks = next((path for name, path in inner.items() if name.lower() in known), None)
    photographs = next((name for name in inner if name.lower() in PHOTOGRAPHS), None)
    if masks and photographs:
        nested = inner[photographs] / 'train'
        split = f'{photographs}/train' if nested.is_dir() else photographs
        line = f'{root}: trained on {split}/, not on {masks.name}/'
        if not is_flat:
            return split, line
        return split, f'{line}. To be scored: {_command(masks, inner[photographs], root)}'
    if not is_flat:
        return 'train', None
    _refuse_masks(root, '.')
    return '', f'{root}: no folder train/, so all images in it are the training set'


def _refuse_masks(root: Path, split: str) -> None:
    if (root / split).is_dir() and (found := find_masks(root / split)):
        first, count = found
        raise SettingsError(
            f'{root / split / first}: a mask by its name, 1 of {count}, which would be trained on '
            'as a photograph. Set train_split to the folder of the photographs, move the masks '
            f'away, or set train_split={split} if these are photographs'
        )


def _command(masks: Path, photographs: Path, root: Path) -> str:
    """How masks become a validation split."""
    return (
        f'python tools/convert_masks.py {masks} --images {photographs} --out '
        f'{root}/validation-segmentation; ln -s {photographs.name} {root}/validation'
    )


def _unused_folders(root: Path, split: str) -> list[str]:
    """A line about folders with images beside train/, which may be albums."""
    if split != 'train' or not root.is_dir():
        return []
    known = {*OTHER_SPLITS, *PHOTOGRAPHS, *MASK_FOLDERS}
    unused = [
        name
        for name in category_folders(root)
        if name.lower() not in known and not any(Path(name).match(pattern) for pattern in LAYOUT)
    ]
    if not unused:
        return []
    shown = ', '.join(unused[:3]) + (' ...' if len(unused) > 3 else '')
    return [
        f'{root}: trained on train/ alone, not on {len(unused)} folder(s) beside it ({shown}). Set '
        'train_split=. if train/ is one of several albums'
    ]


def _other_validation(root: Path) -> list[str]:
    """A line about a validation split of another name."""
    name = next((name for name in OTHER_SPLITS[:-1] if (root / name).is_dir()), None)
    if name is None:
        return []
    return [
        f'{root / name}: to be scored on it, rename it validation/ and bring its masks to '
        'validation-segmentation/ (python tools/convert_masks.py)'
    ]


def _has_splits(root: Path) -> bool:
    return any(path.is_dir() for pattern in LAYOUT for path in root.glob(pattern))


def _lacks_masks(root: Path, split: str) -> bool:
    return (root / split).is_dir() and not (root / 'validation').is_dir()


def _refuse_to_write_into(images: Path, work_dir: Path) -> None:
    if work_dir.resolve().is_relative_to(images.resolve()):
        raise SettingsError(
            f'work_dir={work_dir} lies among the images of {images}, so the pictures of the run '
            'would be trained on. Set another work_dir.'
        )


def _refuse_to_guess(validation: Path, use_dff: bool) -> None:
    """Scores need as many clusters as categories, which nobody has named."""
    if folders := len(category_names([validation])):
        # The classifiers of DFF cannot tell one category apart.
        also = ' and use_dff=False' if folders == 1 and use_dff else ''
        raise SettingsError(
            f'{validation.parent} has {folders} categories (folders, or lines of classes.txt): to '
            f'be scored against them set num_categories={folders}{also}, or set evaluate=False.'
        )


def _guess_categories(folder: Path, work_dir: str) -> tuple[int, str]:
    images = sum(1 for _ in _images_below(folder))
    number = rule_of_thumb(images)
    line = (
        f'num_categories={number}, a rule of thumb for {images} images (the root of half their '
        f'number, from {FEWEST_CLUSTERS} to {MOST_CLUSTERS}). Set num_categories=K if you know '
        f'better; tools/suggest_categories.py {work_dir} compares numbers once images are clustered'
    )
    return number, line


def _choose_epochs(images: int, batch: int) -> tuple[int, str]:
    """Epochs of fine-tuning on one process, and a line about them."""
    steps = max(images // batch, 1)  # of an epoch
    epochs = max(FEWEST_EPOCHS, -(-FEWEST_STEPS // steps))
    line = (
        f'finetune_epochs={epochs}, {epochs * steps} steps for {images} images in batches of '
        f'{batch} (at least {FEWEST_STEPS} steps and {FEWEST_EPOCHS} epochs)'
    )
    return epochs, line


def _images_below(folder: Path) -> Iterator[str]:
    return walk_images(folder) if folder.is_dir() else iter(())

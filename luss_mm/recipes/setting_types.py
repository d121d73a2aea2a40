"""What each setting of the recipes may be, which is also how the command line reads it."""

import ast
import math
import os
from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luss_mm.recipes.settings import REFERENCE, Settings, SettingsError, literal
from luss_mm.work_dir import ON_CHANGE

BLOCKS = ('{', '[{', 'dict(', '[dict(')  # how a dict or a list of dicts begins
FLAGS = {'true': True, 'yes': True, 'on': True, '1': True} | {
    'false': False,
    'no': False,
    'off': False,
    '0': False,
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a setting may be, beside a reference to other settings.

    Attributes:
        words: Texts that are allowed as they are.
        optional: Whether None is allowed.
    """

    noun: ClassVar[str] = ''  # what else is allowed
    words: tuple[str, ...] = ()
    optional: bool = False

    def read(self, text: str) -> Any:
        """Value of a text of the command line; the text itself where it is none."""
        if self.optional and text == 'None':
            return None
        return text if text in self.words or REFERENCE.search(text) else self._read(text)

    def takes(self, value: Any) -> bool:
        """Whether a resolved value will do."""
        if value is None:
            return self.optional
        return (isinstance(value, str) and value in self.words) or self._takes(value)

    def __str__(self) -> str:
        """What is allowed, as messages and docs/settings.md put it."""
        parts = [*map(repr, self.words), self._name(), 'None' if self.optional else '']
        return ' or '.join(filter(None, parts))

    def _read(self, text: str) -> Any:
        return text

    def _takes(self, value: Any) -> bool:
        return False

    def _name(self) -> str:
        return self.noun


class Choice(Kind):
    """One of `words`."""


class Text(Kind):
    """A name or a path, taken literally with its blanks, commas and brackets."""

    noun = 'a text'

    def _takes(self, value: Any) -> bool:
        return isinstance(value, str)


class Path(Text):
    """A text, literal also as the last part of a nested key; a leading `~` is the home folder."""

    noun = 'a path'

    def _read(self, text: str) -> str:
        return os.path.expanduser(text)  # some shells leave it alone behind a '='

    def _takes(self, value: Any) -> bool:
        return isinstance(value, (str, os.PathLike))


class Flag(Kind):
    """True or False."""

    noun = 'True or False'

    def _read(self, text: str) -> bool | str:
        return FLAGS.get(text.lower(), text)

    def _takes(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class Number(Kind):
    """A finite number.

    Attributes:
        above: Bound that does not belong to it.
        lowest: Bound that does.
        highest: Bound that does.
    """

    noun = 'a finite number'
    above: float = -math.inf
    lowest: float = -math.inf
    highest: float = math.inf

    def _read(self, text: str) -> float | str:
        try:
            # Python would take 1_8 for 18. Whole numbers stay so: they are part of what was made.
            return text if '_' in text else int(text)
        except ValueError:
            pass
        try:
            return float(text)
        except ValueError:
            return text

    def _takes(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return math.isfinite(value) and self.above < value and self.lowest <= value <= self.highest

    def _name(self) -> str:
        bounds = [f' {sign} {bound:g}' for sign, bound in self._bounds() if math.isfinite(bound)]
        return f'{self.noun}{" and".join(bounds)}'

    def _bounds(self) -> tuple[tuple[str, float], ...]:
        return ('>', self.above), ('>=', self.lowest), ('<=', self.highest)


class Whole(Number):
    """A whole number."""

    noun = 'a whole number'

    def _takes(self, value: Any) -> bool:
        return isinstance(value, int) and super()._takes(value)


class Side(Whole):
    """Height and width in one number; the two equal numbers of mmseg's configs are taken as one."""

    def _read(self, text: str) -> Any:
        inner = text.strip('()[] ').split(',')
        equal = len(inner) == 2 and inner[0].strip() == inner[1].strip()
        return super()._read(inner[0].strip() if equal else text)

    def _name(self) -> str:
        return f'{super()._name()} for height and width'


@dataclass(frozen=True, kw_only=True)
class Listed(Kind):
    """A list; without a `length` also a single entry in its place.

    Attributes:
        of: What each of its entries may be.
        length: How many entries there are; 0 for any number.
    """

    of: Kind
    length: int = 0

    def _read(self, text: str) -> Any:
        bare = text.strip()
        kind = tuple if bare.startswith('(') else list
        if bare[:1] + bare[-1:] in ('[]', '()'):
            if set(bare) & set('\'"'):  # as Python writes it, for names with commas
                try:
                    return kind(ast.literal_eval(bare))
                except (SyntaxError, TypeError, ValueError):
                    return text
            bare = bare[1:-1]
        return kind(self.of.read(part.strip()) for part in bare.split(',') if part.strip())

    def _takes(self, value: Any) -> bool:
        if not isinstance(value, (list, tuple)):
            return not self.length and self.of.takes(value)
        return (not self.length or len(value) == self.length) and all(map(self.of.takes, value))

    def _name(self) -> str:
        return f'a list of {self.length or "entries"}, each {self.of}'


class OneOrMore(Listed):
    """A single entry, or a list of them."""

    def _read(self, text: str) -> Any:
        entries = super()._read(text)
        bracketed = text.strip()[:1] in ('[', '(')
        return entries if bracketed or len(entries) != 1 else entries[0]

    def _name(self) -> str:
        return f'{self.of}, or a list of such'


PATH, OPTIONAL_PATH = Path(), Path(optional=True)
NAME, OPTIONAL_NAME = Text(), Text(optional=True)
FLAG = Flag()
FROM_0, FROM_1, FOUND_FROM_1 = Whole(lowest=0), Whole(lowest=1), Whole(lowest=1, optional=True)
SIDE = Side(lowest=1)
NOT_NEGATIVE, POSITIVE = Number(lowest=0), Number(above=0)
SHARE, POSITIVE_SHARE = Number(lowest=0, highest=1), Number(above=0, highest=1)
COLOUR = Listed(of=Number(), length=3)

# Every setting of the recipes that is no block of others, keys of a recipe that are switches, and
# keys of mmengine's Runner that people give on the command line.
TYPES: dict[str, Kind] = dict(
    amp=Flag(words=('float16', 'bfloat16')),
    attended=OPTIONAL_PATH,
    attention_epochs=FROM_1,
    attention_lr=POSITIVE,
    attention_min_lr=NOT_NEGATIVE,
    attention_queue_length=FROM_0,
    attention_upsample=FROM_1,
    base_lr=POSITIVE,
    batch_size=FROM_1,
    by_epoch=FLAG,
    cache_maps=FLAG,
    category_window=NOT_NEGATIVE,
    certain_quantiles=Listed(of=SHARE, length=2),
    check_labels=FLAG,
    check_labels_from=SHARE,
    checkpoint=OPTIONAL_PATH,
    checkpoint_interval=FROM_1,
    checkpoint_iterations=FROM_1,
    classifier_lr_factor=NOT_NEGATIVE,
    cluster_folder=NAME,
    colours_on_device=FLAG,
    continue_pretraining=FLAG,
    contrastive_temperature=POSITIVE,
    crop_size=SIDE,
    csd_cap=Number(lowest=1, optional=True),
    csd_floor=Number(above=0, optional=True),
    csd_keep_fraction=Number(above=0, highest=1, optional=True),
    csd_limit=Number(optional=True),
    csd_rule=Choice(words=('margin', 'ratio', 'distance')),
    data_root=PATH,
    dense_crf=FLAG,
    dff_batch_size=FROM_1,
    dff_epochs=FROM_1,
    dff_f_batch_size=FROM_1,
    dff_f_epochs=FROM_1,
    dff_lr=POSITIVE,
    dff_min_lr=NOT_NEGATIVE,
    embedding_channels=FROM_1,
    drop_last=FLAG,
    epochs=FROM_1,
    evaluate=Flag(optional=True),
    feature_channels=FROM_1,
    feature_folder=NAME,
    feature_maps=PATH,
    feature_stage=NAME,
    finetune_batch_size=FROM_1,
    finetune_epochs=FOUND_FROM_1,
    finetune_lr=POSITIVE,
    finetune_min_lr=NOT_NEGATIVE,
    finetune_scale=Listed(of=POSITIVE, length=2),
    finetune_warmup_epochs=FROM_0,
    foreground=Choice(words=('length', 'attention', 'found'), optional=True),
    foreground_epochs=FROM_0,
    foreground_threshold=Number(lowest=0, highest=1, words=('otsu', 'validation_sweep')),
    found_epochs=FROM_1,
    frozen_prototype_iters=FROM_0,
    gate_power=NOT_NEGATIVE,
    head_channels=FROM_1,
    head_lr_factor=NOT_NEGATIVE,
    hidden_channels=FROM_1,
    ignore_index=FROM_0,
    image_mean=COLOUR,
    image_std=COLOUR,
    image_tags=OPTIONAL_PATH,
    image_threshold=FLAG,
    in_index=Whole(),
    inference_precision=Choice(words=('auto', 'float32', 'bfloat16')),
    iterations=FROM_1,
    kmeans_components=FOUND_FROM_1,
    kmeans_folder=NAME,
    kmeans_initialization=Choice(words=('random', 'k-means++')),
    kmeans_iterations=FROM_1,
    kmeans_labels=PATH,
    kmeans_neighbours=FROM_0,
    kmeans_restarts=FROM_1,
    lacks_projection=FLAG,
    label_average=Choice(words=('probabilities', 'logits')),
    label_batch_size=FROM_1,
    label_flip=FLAG,
    label_network=Choice(words=('hybrid', 'pseudo')),
    label_refinement=Choice(words=('spo', 'uo_sam')),
    label_scales=Listed(of=POSITIVE),
    label_window=NOT_NEGATIVE,
    labelled_batch=FROM_0,
    largest_gradient=Number(above=0, optional=True),
    layer_decay=POSITIVE_SHARE,
    load_from=OPTIONAL_PATH,
    log_level=Choice(words=('DEBUG', 'INFO', 'WARNING', 'ERROR')),
    loss_stride=FROM_1,
    map_outputs=Listed(of=Whole()),
    map_strides=Listed(of=FROM_1),
    max_side=FOUND_FROM_1,
    min_box_area=FROM_0,
    min_lr=NOT_NEGATIVE,
    multiple=PATH,
    needs_projection=FLAG,
    num_categories=FOUND_FROM_1,
    num_classes=FROM_1,
    num_prototypes=OneOrMore(of=FROM_1),
    num_workers=FROM_0,
    on_bad_image=Choice(words=('error', 'skip')),
    on_change=Choice(words=tuple(ON_CHANGE)),
    output_channels=Listed(of=FROM_1),
    p2p_points=Choice(words=('edge', 'centre')),
    pretrain_epochs=FROM_1,
    pretrain_lr=POSITIVE,
    pretrain_min_lr=NOT_NEGATIVE,
    pretrain_splits=Listed(of=NAME),
    pretrain_warmup_epochs=FROM_0,
    pretrain_warmup_start=POSITIVE_SHARE,
    pretraining=Choice(words=('pass', 'contrastive')),
    pretrained=OPTIONAL_PATH,
    pretrains=FLAG,
    projection_epochs=FROM_1,
    pseudo_labels=PATH,
    queue_length=FROM_0,
    queue_start_epoch=FROM_0,
    relabel_epoch=FOUND_FROM_1,
    relabel_loss=Choice(words=('given', 'predicted')),
    resize_scale=Listed(of=FROM_1, length=2),
    resize_side=SIDE,
    resume=FLAG,
    resizing_type=Choice(words=('ResizeShortSide', 'ResizeSquare')),
    retrain_batch_size=FROM_1,
    retrain_iterations=FROM_1,
    retrain_lr=POSITIVE,
    save_best=Choice(words=('student/mIoU', 'teacher/mIoU'), optional=True),
    search=PATH,
    search_interval=FROM_1,
    search_steps=FROM_1,
    seed=FROM_0,
    selection=Choice(words=('class_aware', 'all')),
    self_training_from=SHARE,
    semi_supervised=FLAG,
    shallow_channels=FROM_1,
    shard_size=FROM_1,
    sharpen_radius=NOT_NEGATIVE,
    sigma=NOT_NEGATIVE,
    size_divisor=FROM_1,
    split=NAME,
    square_resize=FLAG,
    split_root=PATH,
    spo_prompts=Choice(words=('region', 'score')),
    stage_order=Listed(of=NAME),
    stored_pixels=FLAG,
    strong_from_epoch=FROM_0,
    strong_operations=FROM_0,
    structure=PATH,
    tagged_batch=FROM_0,
    tagged_labels=PATH,
    teacher_momentum=POSITIVE_SHARE,
    train_split=OPTIONAL_NAME,
    trained_epochs=FROM_1,
    unlabelled_batch=FROM_0,
    use_csd=FLAG,
    use_dff=FLAG,
    use_pyramid_head=FLAG,
    use_spo=FLAG,
    validation_interval=FROM_1,
    validation_tags=OPTIONAL_PATH,
    warmup_epochs=FROM_0,
    warmup_iterations=FROM_0,
    weight_decay=NOT_NEGATIVE,
    work_dir=PATH,
)


def read_setting(key: str, text: str) -> Any:
    """Value that a text of the command line gives a setting.

    Args:
        key: Name of a setting in TYPES, or a nested key that ends in the name of a path there.
        text: What stands behind `KEY=`.

    Raises:
        SettingsError: Naming the setting and what it may be.
        KeyError: If nothing is known of the key.
    """
    outer, _, name = key.rpartition('.')
    kind = TYPES[name]
    if outer and not isinstance(kind, Path):
        raise KeyError(key)
    value = kind.read(text)
    if not kind.takes(value) and not REFERENCE.search(text):
        raise SettingsError(f'{name} must be {kind}, not {value!r}')
    return value


def check_settings(values: Mapping[str, Any]) -> None:
    """Refuse settings that are not of their type, or whose numbers make no sense.

    Args:
        values: Settings and switches of a recipe, which may refer to each other.

    Raises:
        SettingsError: Naming the setting and what it may be.
    """
    for name in values:
        if name not in TYPES:
            continue
        try:
            value = Settings(values).resolve(values[name], name)
        except SettingsError:
            continue  # named where the reference is used
        if not TYPES[name].takes(value):
            raise SettingsError(f'{name} must be {TYPES[name]}, not {value!r}')


def device(text: str) -> str:
    """A device of torch that is there, for argparse.

    Raises:
        ArgumentTypeError: If there is none of that name.
    """
    import torch

    try:
        kind, index = torch.device(text).type, torch.device(text).index or 0
    except RuntimeError as error:
        raise ArgumentTypeError(f'{text!r} is none, as cpu, cuda or cuda:1 are') from error
    if kind == 'cuda' and index >= torch.cuda.device_count():
        raise ArgumentTypeError(f'{text}: there are {torch.cuda.device_count()} GPUs here')
    return text


class OptionAction(Action):
    """KEY=VALUE, each read as the type of the setting says; the other keys as mmengine reads them.

    Unlike with mmengine, `_` stays in numbers, so that `split=1_8` is a text, and a dict or a list
    of dicts is written as in Python. A dict is merged into the config's own; with '_delete_': True
    it takes its place: "segmenter={'_delete_': True, 'type': 'GrabCutSegmenter'}".
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the options; the parser tells of those that are none."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for value in values:
            key, sign, text = value.partition('=')
            if not key or not sign:
                raise ArgumentError(self, f'{value!r}: options are KEY=VALUE')
            try:
                options[key] = _read_option(key, text)
            except SettingsError as error:
                raise ArgumentError(self, str(error)) from error
            except RecursionError as error:  # of mmengine's reader, at brackets within a text
                raise ArgumentError(self, f'{key}: {text!r} cannot be read') from error
            except (ArgumentTypeError, AssertionError) as error:
                raise ArgumentError(self, f'{key}: {error}') from error
        setattr(namespace, self.dest, options)


def _read_option(key: str, text: str) -> Any:
    try:
        return read_setting(key, text)
    except KeyError:
        pass
    if text.startswith(BLOCKS):
        return _read_block(text)
    from mmengine.config import DictAction

    parsed = DictAction._parse_iterable(text)
    return text if '_' in text and isinstance(parsed, (int, float)) else parsed


def _read_block(text: str) -> Any:
    """Dicts, lists and what they hold, as Python writes them, `dict(a=1)` included.

    Raises:
        ArgumentTypeError: If it is anything else.
    """
    try:
        return literal(ast.parse(text, mode='eval').body)
    except (SyntaxError, ValueError) as error:
        message = f'{text} is no dict or list of dicts as Python writes it'
        raise ArgumentTypeError(message) from error

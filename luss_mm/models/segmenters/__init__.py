"""Promptable segmenters: boxes and points to masks. Importing this package registers them."""

from luss_mm.models.segmenters.grabcut_segmenter import GrabCutSegmenter
from luss_mm.models.segmenters.promptable_segmenter import PromptableSegmenter, SegmenterError
from luss_mm.models.segmenters.sam_segmenter import SAMSegmenter

__all__ = ['GrabCutSegmenter', 'PromptableSegmenter', 'SAMSegmenter', 'SegmenterError']

"""Checks a data set: all findings at once."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...common.errors import UserError
from ..mending import Choices
from ..proposal import FINEST_SMALL, Proposal, propose_for, usable_boxes
from .annotations import annotation_findings
from .classes import class_findings
from .findings import Finding, Level
from .image_findings import (
    alike,
    image_findings,
    missing_findings,
    orphan_findings,
)
from .images import read_images
from .reading import STEPS, ReadSplit, read_split
from .splits import DataSet

__all__ = ['Checked', 'Progress', 'check']

# Called with what is done and how many steps that has; gives what is called
# after each step.
Progress = Callable[[str, int], Callable[[], object]]


def _silent(what: str, steps: int) -> Callable[[], object]:
    return lambda: None


@dataclass
class Checked:
    """What is known of a data set.

    Attributes:
        data: What was asked.
        reads: Its splits, those that could be read.
        findings: The errors first.
        proposal: For training; None without a box to train on.
    """

    data: DataSet
    reads: list[ReadSplit]
    findings: list[Finding] = field(default_factory=list)
    proposal: Proposal | None = None

    def of(self, level: Level) -> list[Finding]:
        """Findings of a level."""
        return [finding for finding in self.findings if finding.level is level]


def check(
    data: DataSet,
    choices: Choices = Choices(),  # noqa: B008  a tuple
    progress: Progress = _silent,
) -> Checked:
    """Reads all files and images and collects what is found.

    Args:
        data: The splits.
        choices: A person's, of mending.
        progress: Is told how far it is.

    Raises:
        UserError: There is one annotation file, and it cannot be read.
    """
    collects = gc.isenabled()
    gc.disable()  # else it goes over millions of annotations again and again
    try:
        return _check(data, choices, progress)
    finally:
        if collects:
            gc.enable()


def _check(data: DataSet, choices: Choices, progress: Progress) -> Checked:
    findings = [
        Finding(Level.NOTE, name, 'no data set in COCO form, not looked at')
        for name in data.passed
    ]
    reads = []
    for split in data.splits:
        step = progress(f'annotations of {split.name}', STEPS + 2)
        read, found = read_split(split, choices, step)
        findings += found
        if read:
            findings += annotation_findings(read, data.allow_subset)
            reads.append(read)
            step()
            if split.folder:
                findings += missing_findings(read, data.allow_missing)
            step()
    if not reads and len(data.splits) == 1:
        raise UserError(findings[-1].text)  # there is nothing else to say
    if reads:
        findings += class_findings(reads)
    _look_at_images(reads, findings, data.allow_missing, progress)
    order = list(Level)
    findings.sort(key=lambda finding: order.index(finding.level))
    proposal = None
    if reads and reads[0].split is data.splits[0]:
        boxes = usable_boxes(reads[0].content, reads[0].boxes)
        if len(boxes.boxes):
            proposal = propose_for(boxes, small=_starts_small(data.head))
    return Checked(data, reads, findings, proposal)


def _starts_small(head: Mapping[str, Any]) -> bool | None:
    """Whether a config has a small head, as FCOS from C2 shows; None without one."""
    if not head.get('strides'):
        return None
    return bool(head.get('regress_ranges')) and head['strides'][0] == FINEST_SMALL


def _look_at_images(
    reads: list[ReadSplit],
    findings: list[Finding],
    allow_missing: bool,
    progress: Progress,
) -> None:
    there = {}
    for read in reads:
        if read.split.folder:
            missing = set(read.missing)
            there[id(read)] = [
                image
                for image in read.content['images']
                if image['file_name'] not in missing
            ]
    total = sum(map(len, there.values()))
    if not total:
        return
    step = progress('images', total)
    for read in reads:
        if id(read) in there:
            assert read.split.folder is not None
            read.facts = read_images(there[id(read)], read.split.folder, step)
            findings += image_findings(read, allow_missing)
    findings += orphan_findings(reads)
    findings += alike(reads)

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.nano import clipart
from pipelines.nano.icons import (
    ICON_LIST,
    SETS,
    Drawing,
    Paint,
    Pose,
    list_drawings,
    render,
)
from pipelines.nano.sentences import concepts
from pipelines.nano.split import Split, icon_style

Disc = Callable[..., Drawing]
LINES = [
    line.split("\t")
    for line in ICON_LIST.read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def test_every_concept_has_drawings_in_natural_colours_of_several_artists() -> None:
    artists: dict[str, set[str]] = {concept: set() for concept in concepts()}
    for concept, styles, _ in LINES:
        artists[concept] |= {style for style in styles.split(",") if style in SETS}
    natural = {style for style, icon_set in SETS.items() if icon_set.paint is Paint.natural}
    assert min(len(styles & natural) for styles in artists.values()) >= 3


def test_the_list_of_icons_names_training_styles_only() -> None:
    styles = {style for _, styles, _ in LINES for style in styles.split(",")}
    assert styles <= {*SETS, clipart.STYLE}
    assert {icon_style(style) for style in styles} == {Split.train}


def test_no_icon_is_listed_twice() -> None:
    listed = Counter(
        (style, name)
        for _, styles, names in LINES
        for style in styles.split(",")
        for name in names.split()
    )
    assert max(listed.values()) == 1


def test_no_icon_set_is_reserved() -> None:
    assert Split.reserved not in map(icon_style, SETS)


def test_emojione_and_a_few_drawings_of_training_styles_are_for_development(disc: Disc) -> None:
    assert disc("emojione").split is Split.dev
    kept = {
        (style, concept)
        for style in SETS
        for concept in concepts()
        if disc(style, concept).split is Split.dev and style != "emojione"
    }
    assert 20 < len(kept) < 40
    assert max(Counter(concept for _, concept in kept).values()) == 1
    assert all(disc(clipart.STYLE, concept).split is Split.train for concept in concepts())


def test_only_icons_that_a_set_has_become_drawings(
    icon_set: Callable[..., dict[str, Any]],
) -> None:
    opened = {
        "noto": icon_set("dog", "poodle"),
        "mdi": icon_set("dog"),
        "emojione": icon_set("cat"),
    }
    drawings = list_drawings("# a comment\ndog\tnoto,mdi\tdog poodle hound", opened)
    assert {(d.concept, d.style, d.name) for d in drawings} == {
        ("dog", "noto", "dog"),
        ("dog", "noto", "poodle"),
        ("dog", "mdi", "dog"),
        ("cat", "emojione", "cat"),
    }


def test_an_alias_leads_to_the_icon_it_stands_for(icon_set: Callable[..., dict[str, Any]]) -> None:
    opened = icon_set("fox") | {"aliases": {"fox-face": {"parent": "fox"}}}
    drawings = list_drawings("fox\tnoto\tfox fox-face", {"noto": opened, "emojione": icon_set()})
    assert [drawing.name for drawing in drawings] == ["fox"]


def test_a_plain_pose_fills_the_picture(disc: Disc) -> None:
    alpha = np.asarray(render(disc(), 33, Pose()))[..., 3]
    assert alpha.shape == (33, 33)
    assert alpha[16].min() > 100  # the middle row, from edge to edge
    assert alpha[0, 0] == alpha[32, 32] == 0


def test_a_pose_moves_and_shrinks(disc: Disc) -> None:
    alpha = np.asarray(render(disc(), 40, Pose(scale=0.5, across=0.25, down=-0.25)))[..., 3]
    rows, columns = np.nonzero(alpha)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 19, 20, 39)


def test_a_mirrored_pose_shows_the_other_side(disc: Disc) -> None:
    half = replace(disc(), body='<rect width="8" height="16"/>')
    left = np.asarray(render(half, 20, Pose()))[..., 3]
    right = np.asarray(render(half, 20, Pose(mirror=True)))[..., 3]
    assert left[:, :10].all()
    assert not left[:, 10:].any()
    np.testing.assert_array_equal(right, left[:, ::-1])


def test_a_drawing_without_colours_takes_the_one_asked_for(disc: Disc) -> None:
    for fill in ("currentColor", "#2F88FF"):
        pixels = np.asarray(render(disc("icon-park", fill=fill), 9, Pose(), "#ff8000"))
        assert pixels[4, 4].tolist() == [255, 128, 0, 255]

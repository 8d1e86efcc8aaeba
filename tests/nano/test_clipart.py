import numpy as np

from pipelines.nano.clipart import as_icon, with_view
from pipelines.nano.icons import Drawing, Pose, render

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" width="20mm" height="2in">'
PAGE = HEAD + '<rect x="10" y="20" width="40" height="20" fill="#ff0000"/></svg>'


def test_a_document_without_a_view_gets_one_of_its_size_at_90_dots_an_inch() -> None:
    assert 'width="70.87" height="180.00" viewBox="0 0 70.87 180.00"' in with_view(PAGE)


def test_a_document_with_a_view_stays_as_it_is() -> None:
    svg = '<svg viewBox="0 0 3 5"><rect/></svg>'
    assert with_view(svg) == svg


def test_clip_art_is_cut_to_what_it_shows() -> None:
    icon = as_icon(PAGE.encode())
    assert abs(icon["width"] / icon["height"] - 2) < 0.02


def test_clip_art_renders_as_any_icon() -> None:
    icon = as_icon(PAGE.encode())
    drawing = Drawing(
        "key", "openclipart", "a", (0, 0, icon["width"], icon["height"]), icon["body"]
    )
    pixels = np.asarray(render(drawing, 40, Pose()))
    assert pixels[20, 20].tolist() == [255, 0, 0, 255]
    assert pixels[5, 20, 3] == 0  # half as high as wide: nothing above
